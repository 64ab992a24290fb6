// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/grpcauth/grpcauth/internal/wire"
)

func (c *config) handleError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	c.write(ctx, w, err)
}

// handleStreamError answers what happens once a stream has begun, or before its first message: headers were set by then, but for the delay.
func (c *config) handleStreamError(ctx context.Context, err error) *status.Status {
	st, info := public(err)
	if cl, ok := ctx.Value(callKey{}).(*call); ok {
		setRetryAfter(cl.w.Header(), info.retry)
		if st.Code() == codes.Unauthenticated && len(cl.w.Header()["Www-Authenticate"]) == 0 {
			c.setChallenges(cl.w.Header(), info)
		}
	}
	return st
}

// soon is when to try again where nobody knows.
const soon = time.Second

// write answers with an error.
func (c *config) write(ctx context.Context, w http.ResponseWriter, err error) {
	httpStatus := 0
	if custom, ok := errors.AsType[*runtime.HTTPStatusError](err); ok {
		httpStatus, err = custom.HTTPStatus, custom.Err
	}
	st, info := public(err)
	if httpStatus == 0 {
		httpStatus = runtime.HTTPStatusFromCode(st.Code())
	}
	header := w.Header()
	header.Del("Trailer")
	header.Del("Transfer-Encoding")
	if md, ok := runtime.ServerMetadataFromContext(ctx); ok {
		c.forward(header, md.HeaderMD)
	}
	if httpStatus == http.StatusUnauthorized && len(header["Www-Authenticate"]) == 0 {
		c.setChallenges(header, info)
	}
	if httpStatus == http.StatusServiceUnavailable && info.retry == 0 {
		info.retry = soon
	}
	setRetryAfter(header, info.retry)
	header.Set("Cache-Control", "no-store")
	kind, body := "application/json", shape(st)
	if c.Problems {
		kind, body = "application/problem+json", problem(httpStatus, st, info)
	}
	header.Set("Content-Type", kind)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(httpStatus)
	_, _ = w.Write(body) //nolint:gosec // it is JSON, by its type; of an error there is nobody to tell
}

// forward adds the response metadata that callers may see.
func (c *config) forward(header http.Header, md metadata.MD) {
	for key, name := range c.responses {
		values := md[key]
		if len(values) > 0 && key != "set-cookie" {
			header.Del(name)
		}
		for _, value := range values {
			if wire.ValidHeader(key, value) {
				header.Add(name, value)
			}
		}
	}
}

// setChallenges asks for credentials as the server does, which says it in the status too, or as it is known to.
func (c *config) setChallenges(header http.Header, info details) {
	if info.challenge != "" && wire.ValidHeader("www-authenticate", info.challenge) {
		header["Www-Authenticate"] = []string{info.challenge}
		return
	}
	header["Www-Authenticate"] = append([]string(nil), c.challenge...)
}

func setRetryAfter(header http.Header, delay time.Duration) {
	if delay > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(delay.Seconds())), 10))
	}
}

// details are what a status says beside its text.
type details struct {
	reason, challenge string
	retry             time.Duration
}

// public is the status that callers may see. What went wrong inside is not for them, and of the connection to the server they know nothing.
func public(err error) (*status.Status, details) {
	from := status.Convert(err).Proto()
	st := &spb.Status{Code: from.GetCode(), Message: printable(from.GetMessage())}
	var info details
	for _, detail := range from.GetDetails() {
		m, err := detail.UnmarshalNew()
		if err != nil {
			continue // nobody here knows what it says
		}
		switch m := m.(type) {
		case *errdetails.ErrorInfo:
			info.reason, info.challenge = m.GetReason(), m.GetMetadata()["www-authenticate"]
		case *errdetails.RetryInfo:
			info.retry = m.GetRetryDelay().AsDuration()
		case *errdetails.DebugInfo:
			continue
		}
		st.Details = append(st.Details, detail)
	}
	if text, inside := internal[codes.Code(from.GetCode())]; inside && info.reason == "" { //nolint:gosec // a code is what it is
		st.Message, st.Details = text, nil
	}
	return status.FromProto(st), info
}

// internal are the codes whose texts are about the server, unless it says by a reason that they are meant for callers.
var internal = map[codes.Code]string{
	codes.Unknown: "unknown error", codes.Internal: "internal error", codes.DataLoss: "data loss", codes.Unavailable: "the service is unavailable",
}

// printable is a text in one line.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, text)
}

// shape is the body as grpc-gateway writes it.
func shape(st *status.Status) []byte {
	body, err := protojson.Marshal(st.Proto())
	if err != nil { // a detail of a type that is not linked in
		body, _ = protojson.Marshal(&spb.Status{Code: st.Proto().GetCode(), Message: st.Message()})
	}
	return body
}

// problem is the body of problem details (RFC 9457, section 3).
func problem(httpStatus int, st *status.Status, info details) []byte {
	body, _ := json.Marshal(struct { //nolint:errchkjson // of strings and a number, it cannot fail
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
		Code   string `json:"code"`
		Reason string `json:"reason,omitempty"`
	}{"about:blank", http.StatusText(httpStatus), httpStatus, st.Message(), code.Code(st.Code()).String(), info.reason}) //nolint:gosec // a code is what it is
	return body
}
