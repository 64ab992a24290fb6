// SPDX-License-Identifier: Apache-2.0

package canary_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/grpcauth/grpcauth/internal/canary"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

// sinks are all that is written anywhere, by where.
type sinks struct {
	mu    sync.Mutex
	parts map[string]*part // guarded by mu
}

// part is one of them. What was written before is not kept twice.
type part struct {
	bytes.Buffer

	seen map[string]bool
}

func newSinks() *sinks { return &sinks{parts: map[string]*part{}} }

// process is what the whole process writes, whichever test does.
var process = newSinks()

func (s *sinks) put(where string, texts ...string) {
	for _, text := range texts {
		_ = s.fresh(where, text)
	}
}

// fresh writes a text and reports whether it was not there before.
func (s *sinks) fresh(where, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parts[where]
	if p == nil {
		p = &part{seen: map[string]bool{}}
		s.parts[where] = p
	}
	if p.seen[text] {
		return false
	}
	p.seen[text] = true
	p.WriteString(text)
	p.WriteByte('\n')
	return true
}

// show writes values in all the ways in which programs write them, and of errors also what they wrap.
func (s *sinks) show(where string, values ...any) {
	for _, v := range values {
		all := []any{v}
		if err, ok := v.(error); ok {
			all = chain(err)
		}
		for _, one := range all {
			if s.fresh(where, fmt.Sprintf("%T %v %+v %#v", one, one, one, one)) {
				s.put(where, canary.Show(one))
			}
		}
	}
}

// chain is an error and all that it wraps.
func chain(err error) []any {
	if err == nil {
		return nil
	}
	all := []any{err}
	switch w := err.(type) {
	case interface{ Unwrap() error }:
		all = append(all, chain(w.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, one := range w.Unwrap() {
			all = append(all, chain(one)...)
		}
	}
	return all
}

// message prints a message as programs do; what encodes messages shows their secrets, since that is its task.
func (s *sinks) message(payload any) {
	m, ok := payload.(proto.Message)
	if !ok {
		return
	}
	m = withoutNames(m)
	s.put("messages", fmt.Sprintf("%v %+v %#v %s %q %x", m, m, m, m, m, m))
	for _, h := range s.handlers("messages") {
		slog.New(h).Info("a message", "message", m)
	}
}

// timeless leaves out of records what makes each of them another.
var timeless = &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "grpcauth.duration" || a.Key == "grpc.time_ms" || a.Key == "grpc.start_time" || strings.HasSuffix(a.Key, ".duration") || a.Key == "grpc.request.deadline" {
		return slog.Attr{}
	}
	return a
}}

// handlers are slog's own, which write to one of the sinks.
func (s *sinks) handlers(where string) []slog.Handler {
	return []slog.Handler{slog.NewTextHandler(s.writer(where), timeless), slog.NewJSONHandler(s.writer(where), timeless)}
}

// withoutNames is a message without the names and IDs in it, which are shown as such, whatever somebody typed there.
func withoutNames(m proto.Message) proto.Message {
	m = proto.Clone(m)
	switch m := m.(type) {
	case *grpcauthv1.LoginRequest:
		m.Username = ""
	case *grpcauthv1.RevokeAPIKeyRequest:
		m.Id = ""
	case *grpcauthv1.RevokeSessionRequest:
		m.Handle = ""
	}
	return m
}

// answer keeps what a caller was told.
func (s *sinks) answer(err error, headers ...metadata.MD) {
	st := status.Convert(err)
	s.put("statuses", st.Proto().String(), fmt.Sprintf("%v %+v %#v", err, err, st.Proto()), st.String())
	for _, detail := range st.Details() {
		s.put("statuses", fmt.Sprintf("%v %+v", detail, detail))
	}
	for _, md := range headers {
		md = md.Copy()
		delete(md, "set-cookie") // book.received looks at these
		s.put("headers", fmt.Sprint(map[string][]string(md)))
	}
}

// writer writes to one of the sinks.
func (s *sinks) writer(where string) io.Writer { return writer{s, where} }

type writer struct {
	s     *sinks
	where string
}

func (w writer) Write(p []byte) (int, error) {
	w.s.put(w.where, string(p))
	return len(p), nil
}

// each calls f with each sink, in the order of their names.
func (s *sinks) each(f func(where string, text []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, where := range slices.Sorted(maps.Keys(s.parts)) {
		f(where, s.parts[where].Bytes())
	}
}

// grpclogger is gRPC's own log. It is not the library's, but shows whether what the library returns or sets is logged by it.
type grpclogger struct{ s *sinks }

func (l grpclogger) log(args ...any) { l.s.put("gRPC's own log", fmt.Sprint(args...)) }

func (l grpclogger) logf(f string, args ...any)     { l.s.put("gRPC's own log", fmt.Sprintf(f, args...)) }
func (l grpclogger) Info(args ...any)               { l.log(args...) }
func (l grpclogger) Infoln(args ...any)             { l.log(args...) }
func (l grpclogger) Infof(f string, args ...any)    { l.logf(f, args...) }
func (l grpclogger) Warning(args ...any)            { l.log(args...) }
func (l grpclogger) Warningln(args ...any)          { l.log(args...) }
func (l grpclogger) Warningf(f string, args ...any) { l.logf(f, args...) }
func (l grpclogger) Error(args ...any)              { l.log(args...) }
func (l grpclogger) Errorln(args ...any)            { l.log(args...) }
func (l grpclogger) Errorf(f string, args ...any)   { l.logf(f, args...) }
func (l grpclogger) Fatal(args ...any)              { panic(fmt.Sprint(args...)) }
func (l grpclogger) Fatalln(args ...any)            { panic(fmt.Sprint(args...)) }
func (l grpclogger) Fatalf(f string, args ...any)   { panic(fmt.Sprintf(f, args...)) }
func (l grpclogger) V(int) bool                     { return true }

// redislogger is that of go-redis.
type redislogger struct{ s *sinks }

func (l redislogger) Printf(_ context.Context, f string, args ...any) {
	l.s.put("go-redis' own log", fmt.Sprintf(f, args...))
}

var errOwn = errors.New("an error that holds no secret")
