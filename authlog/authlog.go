// SPDX-License-Identifier: Apache-2.0

// Package authlog writes one record for each decision to a [slog.Handler]: who called what, and whether and why she was let in.
//
// The keys are fixed. Those of OpenTelemetry's semantic conventions have its names, the others begin with "grpcauth.":
//
//	grpcauth.outcome          accepted, anonymous (let in without a user), public, refused, undecided, abandoned (the caller gave up), ended (an open stream)
//	rpc.method                the method, without its first slash
//	rpc.response.status_code  the gRPC status: OK, UNAUTHENTICATED, ...
//	error.type                the reason of a refusal, as in its ErrorInfo: CREDENTIALS_INVALID; not there if the call was let in
//	grpcauth.rule             the policy's key for the method; not there if no rule names it
//	grpcauth.backend          the backend that decided; not there if none found a credential
//	user.id                   the user, if there is one
//	grpcauth.issuer           who vouches for the user; not there for the service's own
//	grpcauth.key.hash         [KeyHash] of the API key that was shown, alone or beside another credential; not there without one
//	network.peer.address      the other end of the connection: the proxy's address behind one
//	grpcauth.duration         how long the decision took
//	grpcauth.remembered       true if the verdict came from memory
//	grpcauth.recheck          true if an open stream was judged again
//	grpcauth.sampled          how many decisions the record stands for, if that is not one
//	grpcauth.cause            why, for the server's own eyes; only with Options.Causes
//
// A record holds no credential: a [grpcauth.Event] has none, and nothing else can be given to a [Logger]. Text that callers choose is cut off at 256 bytes
// and escaped, so that it is one line of printable characters in whatever a handler writes.
package authlog

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/grpcauth/grpcauth"
)

// Message is the message of every record.
const Message = "grpcauth decision"

// Options say where records go and how many. Handler is required.
type Options struct {
	// Handler writes the records. It is given the context of the call, and so can add what a trace needs.
	Handler slog.Handler
	// Sample has one of so many calls that were let in written, the first of them first; all by default. Each outcome is counted by itself, and rechecks
	// are too, so that none hides another. What is refused, cannot be decided, is given up, or ends a stream is always written.
	Sample int
	// Causes adds the private cause of a refusal. What backends and hooks of your own put into their errors is then in the log.
	Causes bool
	// OnError is told that the handler failed. If it returns nil, the call goes on without its record; otherwise, and by default, the call is INTERNAL.
	// A handler that panics is not forgiven.
	OnError func(ctx context.Context, err error) error
	// Now replaces time.Now.
	Now func() time.Time
}

// Logger is a [grpcauth.Observer]. It is safe for concurrent use if its handler is.
type Logger struct {
	opts   Options
	sample uint64

	accepted, anonymous, public, rechecked atomic.Uint64 // how many were let in
}

var _ grpcauth.Observer = (*Logger)(nil)

// New returns a Logger. An error names the option that is wrong.
func New(opts Options) (*Logger, error) {
	switch {
	case opts.Handler == nil:
		return nil, errors.New("authlog: Options.Handler is nil: write where records go, such as slog.NewJSONHandler(os.Stdout, nil)")
	case opts.Sample < 0:
		return nil, errors.New("authlog: Options.Sample is negative: write 100 for one call of a hundred, or zero for all")
	}
	if opts.OnError == nil {
		opts.OnError = func(_ context.Context, err error) error { return err }
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Logger{opts: opts, sample: uint64(max(opts.Sample, 1))}, nil
}

// errWrite says no more: what a handler says of its failure may hold anything.
var errWrite = errors.New("authlog: the record of a decision could not be written")

// Observe writes the record of a decision. It panics if the handler fails, unless Options.OnError forgives it: the interceptor makes INTERNAL of that, since a
// decision that is not on record is not carried out.
func (l *Logger) Observe(ctx context.Context, e grpcauth.Event) {
	outcome := outcomeOf(&e)
	level := slog.LevelWarn
	stands := uint64(1) // how many decisions the record is for
	switch outcome {
	case accepted, anonymous, public:
		level = slog.LevelInfo
		if stands = l.sample; (l.count(outcome, e.Recheck).Add(1)-1)%l.sample != 0 {
			return
		}
	case undecided:
		level = slog.LevelError
	case ended:
		if isUndecided(e.Code) {
			level = slog.LevelError
		}
	}
	if !l.opts.Handler.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(l.opts.Now(), level, Message, 0)
	var room [maxAttrs]slog.Attr
	r.AddAttrs(l.attrs(room[:0], &e, outcome, stands)...)
	if err := l.opts.Handler.Handle(ctx, r); err != nil && l.opts.OnError(ctx, err) != nil {
		panic(errWrite)
	}
}

// count is the counter of what is let in that way. One for all would have callers in step with each other, such as a probe before each call, be the only ones
// that are written, or never be.
func (l *Logger) count(outcome string, recheck bool) *atomic.Uint64 {
	switch {
	case recheck:
		return &l.rechecked
	case outcome == public:
		return &l.public
	case outcome == anonymous:
		return &l.anonymous
	}
	return &l.accepted
}

const (
	accepted  = "accepted"
	anonymous = "anonymous"
	public    = "public"
	refused   = "refused"
	undecided = "undecided"
	abandoned = "abandoned"
	ended     = "ended"
)

func outcomeOf(e *grpcauth.Event) string {
	switch {
	case e.Err == nil && e.Access == grpcauth.Public:
		return public
	case e.Err == nil && e.User == nil:
		return anonymous
	case e.Err == nil:
		return accepted
	case e.Status == codes.Canceled || e.Status == codes.DeadlineExceeded:
		return abandoned // also a stream that its caller left while it was judged again: its credential did not end it
	case e.Recheck:
		return ended
	case isUndecided(e.Code):
		return undecided
	}
	return refused
}

func isUndecided(code grpcauth.Code) bool {
	return code == grpcauth.CodeUnavailable || code == grpcauth.CodeInternal
}

// maxAttrs is how many attributes a record has at the most.
const maxAttrs = 15

func (l *Logger) attrs(attrs []slog.Attr, e *grpcauth.Event, outcome string, stands uint64) []slog.Attr {
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, line(value)))
		}
	}
	text("grpcauth.outcome", outcome)
	text("rpc.method", strings.TrimPrefix(e.Method, "/"))
	text("rpc.response.status_code", statusName(e.Status))
	if e.Err != nil && outcome != abandoned {
		text("error.type", e.Code.String())
	}
	text("grpcauth.rule", e.Rule)
	text("grpcauth.backend", e.Backend)
	// The two texts that have to be made share their memory.
	made := appendAddress(make([]byte, 0, 64), e.Peer)
	n := len(made)
	made = appendKeyHash(made, e.User)
	peer := string(made)
	if e.User != nil {
		text("user.id", e.User.ID)
		text("grpcauth.issuer", e.User.Issuer)
		text("grpcauth.key.hash", peer[n:])
	}
	text("network.peer.address", peer[:n])
	attrs = append(attrs, slog.Duration("grpcauth.duration", e.Latency))
	if e.Remembered {
		attrs = append(attrs, slog.Bool("grpcauth.remembered", true))
	}
	if e.Recheck {
		attrs = append(attrs, slog.Bool("grpcauth.recheck", true))
	}
	if stands > 1 {
		attrs = append(attrs, slog.Uint64("grpcauth.sampled", stands))
	}
	if l.opts.Causes && e.Err != nil {
		text("grpcauth.cause", e.Err.Error())
	}
	return attrs
}

// statusNames are the codes as the protocol spells them.
var statusNames = map[codes.Code]string{
	codes.OK: "OK", codes.Canceled: "CANCELLED", codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.Unauthenticated: "UNAUTHENTICATED",
	codes.PermissionDenied: "PERMISSION_DENIED", codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.Unavailable: "UNAVAILABLE", codes.Internal: "INTERNAL",
}

func statusName(c codes.Code) string { return cmp.Or(statusNames[c], "UNKNOWN") }

// KeyHash is what a record says of an API key: the first 16 hexadecimal digits of the SHA-256 of its ID.
func KeyHash(id string) string { return string(appendHash(nil, []byte(id))) }

func appendHash(to, id []byte) []byte {
	sum := sha256.Sum256(id)
	return hex.AppendEncode(to, sum[:8])
}

// appendKeyHash appends the hash of a user's API key, if one proved her or is among her factors.
func appendKeyHash(to []byte, u *grpcauth.User) []byte {
	if u == nil {
		return to
	}
	if u.Method == "apikey" {
		if id := keyID(u); len(id) > 0 {
			return appendHash(to, id)
		}
	}
	for _, factor := range u.Factors {
		if out := appendKeyHash(to, factor); len(out) > len(to) {
			return out
		}
	}
	return to
}

// keyID is the member "key_id" of the claims. They are only read as JSON if they are more than that.
func keyID(u *grpcauth.User) []byte {
	if rest, ok := bytes.CutPrefix(u.RawClaims, []byte(`{"key_id":"`)); ok {
		if id, ok := bytes.CutSuffix(rest, []byte(`"}`)); ok && !bytes.ContainsAny(id, `"\`) {
			return id
		}
	}
	var claims struct {
		ID string `json:"key_id"`
	}
	if u.Claims(&claims) != nil {
		return nil
	}
	return []byte(claims.ID)
}

// appendAddress appends a peer without its port.
func appendAddress(to []byte, peer net.Addr) []byte {
	switch a := peer.(type) {
	case nil:
		return to
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().AppendTo(to)
	}
	text := peer.String()
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	return append(to, text...)
}
