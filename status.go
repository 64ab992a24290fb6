// SPDX-License-Identifier: Apache-2.0

package grpcauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/grpcauth/grpcauth/internal/wire"
)

// Code is why a call is refused; it decides all that the caller is told.
type Code uint8

// The reasons to refuse a call. The gRPC status and the HTTP status of each are in parentheses.
const (
	// CodeInternal: a backend panicked or broke its contract (INTERNAL, 500). It is the zero Code.
	CodeInternal Code = iota
	// CodeMissing: the method needs a user and the call has no credential (UNAUTHENTICATED, 401).
	CodeMissing
	// CodeMalformed: a credential is not well-formed (UNAUTHENTICATED, 401).
	CodeMalformed
	// CodeAmbiguous: a credential was given twice, or two kinds of credentials in one call (UNAUTHENTICATED, 401).
	CodeAmbiguous
	// CodeInvalid: a credential is wrong, or nobody's (UNAUTHENTICATED, 401).
	CodeInvalid
	// CodeExpired: an authentic credential has expired (UNAUTHENTICATED, 401).
	CodeExpired
	// CodeRevoked: an authentic credential was revoked (UNAUTHENTICATED, 401).
	CodeRevoked
	// CodeStepUp: the method needs a fresher or stronger login, RFC 9470 (UNAUTHENTICATED, 401).
	CodeStepUp
	// CodeForbidden: the user may not call the method (PERMISSION_DENIED, 403).
	CodeForbidden
	// CodeInsecure: credentials are not taken over this connection (PERMISSION_DENIED, 403).
	CodeInsecure
	// CodeThrottled: too many attempts (RESOURCE_EXHAUSTED with RetryInfo, 429).
	CodeThrottled
	// CodeUnavailable: a store or an identity provider could not be asked (UNAVAILABLE with RetryInfo, 503).
	CodeUnavailable
)

// maxMethod bounds what is said of a method name; that of an unknown method is the caller's text.
const maxMethod = 256

// table is the whole of what a code puts on the wire. The oauth column is the error parameter of challenges (RFC 6750,
// section 3.1, and RFC 9470, section 3), for the schemes that define it.
var table = [...]struct {
	grpc                   codes.Code
	http                   int
	reason, message, oauth string
	retry                  time.Duration
}{
	CodeInternal:    {codes.Internal, 500, "AUTHENTICATION_FAILED", "authentication failed", "", 0},
	CodeMissing:     {codes.Unauthenticated, 401, "CREDENTIALS_MISSING", "credentials are required", "", 0},
	CodeMalformed:   {codes.Unauthenticated, 401, "CREDENTIALS_MALFORMED", "credentials are malformed", "invalid_request", 0},
	CodeAmbiguous:   {codes.Unauthenticated, 401, "CREDENTIALS_AMBIGUOUS", "credentials are ambiguous", "invalid_request", 0},
	CodeInvalid:     {codes.Unauthenticated, 401, "CREDENTIALS_INVALID", "credentials are invalid", "invalid_token", 0},
	CodeExpired:     {codes.Unauthenticated, 401, "CREDENTIALS_EXPIRED", "credentials have expired", "invalid_token", 0},
	CodeRevoked:     {codes.Unauthenticated, 401, "CREDENTIALS_REVOKED", "credentials were revoked", "invalid_token", 0},
	CodeStepUp:      {codes.Unauthenticated, 401, "STEP_UP_REQUIRED", "a new login is required", "insufficient_user_authentication", 0},
	CodeForbidden:   {codes.PermissionDenied, 403, "PERMISSION_DENIED", "permission denied", "", 0},
	CodeInsecure:    {codes.PermissionDenied, 403, "TRANSPORT_INSECURE", "credentials are not accepted over this connection", "", 0},
	CodeThrottled:   {codes.ResourceExhausted, 429, "TOO_MANY_ATTEMPTS", "too many attempts", "", time.Second},
	CodeUnavailable: {codes.Unavailable, 503, "AUTHENTICATION_UNAVAILABLE", "authentication is unavailable", "", time.Second},
}

func (c Code) known() Code {
	if int(c) < len(table) {
		return c
	}
	return CodeInternal
}

// String is the reason that ErrorInfo carries: "CREDENTIALS_INVALID".
func (c Code) String() string { return table[c.known()].reason }

// GRPC is the gRPC status code of the answer.
func (c Code) GRPC() codes.Code { return table[c.known()].grpc }

// HTTP is the HTTP status code of the answer, for gateways.
func (c Code) HTTP() int { return table[c.known()].http }

// AuthenticationError is the refusal of a call: a code that decides the answer, and a cause that stays on the server.
//
// It is immutable and safe to share; the With methods return a changed copy. Its text is for the server's logs and includes the cause,
// which must therefore hold no credential. The zero AuthenticationError has [CodeInternal].
type AuthenticationError struct {
	code    Code
	cause   error
	message string
	header  metadata.MD
	retry   time.Duration
	scheme  string // the one whose challenge says oauth, if it is set
	oauth   string
}

// Errorf returns a refusal with a private cause, formatted as by fmt.Errorf. Callers never see the cause.
func Errorf(code Code, format string, args ...any) *AuthenticationError {
	return &AuthenticationError{code: code.known(), cause: fmt.Errorf(format, args...)}
}

// FromHTTPStatus returns a refusal for an HTTP status: 400 is [CodeMalformed], 401 [CodeInvalid], 403 [CodeForbidden],
// 429 [CodeThrottled], 503 [CodeUnavailable], and anything else [CodeInternal].
//
// detail is the private cause; add [AuthenticationError.WithPublicMessage] for a text that callers are to read.
func FromHTTPStatus(httpStatus int, detail string) *AuthenticationError {
	known := map[int]Code{400: CodeMalformed, 401: CodeInvalid, 403: CodeForbidden, 429: CodeThrottled, 503: CodeUnavailable}
	return Errorf(known[httpStatus], "%s", detail)
}

// CodeOf returns the code that an error of a backend or an interceptor is answered with.
//
// An error that is neither an [AuthenticationError] nor [ErrNoCredentials], which has [CodeMissing], means that nothing could be
// decided: [CodeUnavailable]. There is no code for success: CodeOf(nil) is [CodeInternal].
func CodeOf(err error) Code {
	var refusal *AuthenticationError
	switch {
	case err == nil:
		return CodeInternal
	case notMine(err):
		return CodeMissing
	case errors.As(err, &refusal):
		return refusal.Code()
	default:
		return CodeUnavailable
	}
}

// Code is the reason of the refusal.
func (e *AuthenticationError) Code() Code {
	if e == nil {
		return CodeInternal
	}
	return e.code
}

// Error is the text for the server's own logs.
func (e *AuthenticationError) Error() string {
	if e == nil || e.cause == nil {
		return e.Code().String()
	}
	return e.code.String() + ": " + e.cause.Error()
}

// Unwrap returns the private cause.
func (e *AuthenticationError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.cause
}

// WithHeader returns a copy that adds response metadata. Challenges given as www-authenticate replace the server's own.
func (e *AuthenticationError) WithHeader(key, value string) *AuthenticationError {
	c := *e
	c.header = e.header.Copy()
	if key = strings.ToLower(key); wire.ValidHeader(key, value) {
		c.header = metadata.Join(c.header, metadata.Pairs(key, value))
	} else {
		c.code, c.cause = CodeInternal, fmt.Errorf("the response header %q is not valid", key)
	}
	return &c
}

// WithPublicMessage returns a copy whose status message is the given one instead of the code's.
func (e *AuthenticationError) WithPublicMessage(message string) *AuthenticationError {
	c := *e
	c.message = strings.ToValidUTF8(message, "\uFFFD")
	return &c
}

// WithRetryDelay returns a copy that tells callers how long to wait. It counts for [CodeThrottled] and [CodeUnavailable].
func (e *AuthenticationError) WithRetryDelay(delay time.Duration) *AuthenticationError {
	c := *e
	c.retry = delay
	return &c
}

// WithChallengeError returns a refusal whose challenge of one scheme has another error parameter than the code's, such as "use_dpop_nonce" for
// DPoP (RFC 9449, section 8). The challenges of other schemes then have none. Values that are not printable ASCII make no difference.
func (e *AuthenticationError) WithChallengeError(authScheme, value string) *AuthenticationError {
	c := *e
	if wire.ValidHeader("x", value) {
		c.scheme, c.oauth = authScheme, value
	}
	return &c
}

// GRPCStatus is what a caller sees where a handler returns the error itself: the code's status without challenges.
func (e *AuthenticationError) GRPCStatus() *status.Status {
	return e.status(&errdetails.ErrorInfo{Reason: e.Code().String(), Domain: defaultDomain})
}

func (e *AuthenticationError) status(info *errdetails.ErrorInfo) *status.Status {
	message := table[e.Code()].message
	if e != nil && e.message != "" {
		message = e.message
	}
	st := status.New(e.Code().GRPC(), message)
	details := []protoadapt.MessageV1{info}
	if d := e.retryDelay(); d > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(d)})
	}
	if with, err := st.WithDetails(details...); err == nil {
		return with
	}
	return st
}

// retryDelay is zero for codes that a retry does not help.
func (e *AuthenticationError) retryDelay() time.Duration {
	d := table[e.Code()].retry
	if e != nil && d > 0 && e.retry > 0 {
		d = e.retry
	}
	return d
}

// answer is the error that leaves an interceptor. It is always the outermost, since gRPC would put a wrapper's text on the wire.
type answer struct {
	st    *status.Status
	cause error
}

func (a *answer) GRPCStatus() *status.Status { return a.st }
func (a *answer) Unwrap() error              { return a.cause }
func (a *answer) Error() string              { return a.st.Code().String() + ": " + a.cause.Error() }

// answer turns the error of a judgement into the status of the call, and sets its headers while they can be set.
func (i *Interceptor) answer(ctx context.Context, method string, r *rule, err error) error {
	if callerGone(ctx, err) {
		return &answer{status.FromContextError(ctx.Err()), err}
	}
	refusal := refusalOf(err)
	info := &errdetails.ErrorInfo{Reason: refusal.code.String(), Domain: i.domain, Metadata: map[string]string{"method": wire.Printable(method, maxMethod)}}
	header := refusal.header.Copy()
	if refusal.code.GRPC() == codes.Unauthenticated {
		if len(header["www-authenticate"]) == 0 {
			header = metadata.Join(header, metadata.MD{"www-authenticate": i.challenges(r, refusal)})
		}
		info.Metadata["www-authenticate"] = strings.Join(header["www-authenticate"], ", ")
	}
	setHeader(ctx, header)
	if d := refusal.retryDelay(); d > 0 {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(max(d.Milliseconds(), 1), 10)))
	}
	return &answer{refusal.status(info), err}
}

// callerGone reports whether nothing was decided because the caller cancelled or its deadline passed.
func callerGone(ctx context.Context, err error) bool {
	var refusal *AuthenticationError
	return ctx.Err() != nil && !errors.As(err, &refusal)
}

// refusalOf is the refusal that an error stands for; every error has one.
func refusalOf(err error) *AuthenticationError {
	var refusal *AuthenticationError
	if !notMine(err) && errors.As(err, &refusal) && refusal != nil {
		return refusal
	}
	return &AuthenticationError{code: CodeOf(err), cause: err}
}

// oauthError is the error parameter of a scheme's challenge; empty for none, and for schemes that do not define it.
func (e *AuthenticationError) oauthError(authScheme string) string {
	if !wire.DefinesError(authScheme) || e.scheme != "" && e.scheme != authScheme {
		return ""
	}
	return cmp.Or(e.oauth, table[e.code].oauth)
}

// challenges lists how the schemes of a rule ask for credentials, each text once.
func (i *Interceptor) challenges(r *rule, refusal *AuthenticationError) []string {
	var out []string
	for k := range r.schemes {
		s := &r.schemes[k]
		if s.AuthScheme == "" {
			continue
		}
		var extra []wire.Param
		if e := refusal.oauthError(s.AuthScheme); e != "" {
			extra = append(extra, wire.Param{Name: "error", Value: e})
			if refusal.code == CodeStepUp {
				extra = append(extra, wire.StepUp(r.ACR, r.MaxAge)...)
			}
		}
		if text := wire.Challenge(s.AuthScheme, i.domain, s.Params, extra...); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}
