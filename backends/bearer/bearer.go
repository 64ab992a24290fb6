// SPDX-License-Identifier: Apache-2.0

// Package bearer takes bearer tokens off calls (RFC 6750, section 2.1), has a [Verifier] judge them, and remembers the verdicts.
//
// It is what jwt stands on, and what a verifier of one's own needs to become a backend.
package bearer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/remember"
	"github.com/grpcauth/grpcauth/throttle"
)

// Verifier judges a token, by its text alone.
//
// Verify returns the user, with [grpcauth.User].Binding filled but not checked. Its errors are a [*grpcauth.AuthenticationError] if the token is
// refused, and any other error if that could not be decided. It is safe for concurrent use, and keeps no reference to the user.
type Verifier interface {
	Verify(ctx context.Context, token string) (*grpcauth.User, error)
}

// Proof is what a verdict rests on beside the token, such as the key that checked its signature.
type Proof interface {
	// Holds returns nil as long as the verdict may be used again. It is called for each remembered verdict, so it must be fast.
	Holds(ctx context.Context) error
}

// Prover is a [Verifier] whose verdicts rest on something that can change before the token expires. A nil Proof holds for ever.
type Prover interface {
	Verifier
	VerifyProof(ctx context.Context, token string) (*grpcauth.User, Proof, error)
}

// Options are how tokens are read and how verdicts are remembered. The zero value is a good choice.
type Options struct {
	// Name is the kind of token, reported as [grpcauth.User].Method; "bearer" by default.
	Name string
	// Realm is the realm of the challenge; the server's error domain by default.
	Realm string
	// MaxTokenBytes is the size of the longest token that is looked at; 16 KiB by default.
	MaxTokenBytes int
	// MaxRemembered is how many accepted tokens are remembered; 10,000 by default, none if negative.
	// Each takes about 700 bytes and the size of its claims.
	MaxRemembered int
	// RememberFor is how long an accepted token is remembered at the most; until it expires, but not longer than 5 minutes, by default.
	RememberFor time.Duration
	// MaxRefused is how many refused tokens are remembered; 1,000 by default, none if negative.
	MaxRefused int
	// RefuseFor is how long a refused token is remembered; 10 seconds by default.
	RefuseFor time.Duration
	// RequireBinding refuses tokens that are bound neither to a certificate (RFC 8705) nor to a DPoP key. Those that are bound are always checked.
	RequireBinding bool
	// DPoP takes tokens that are bound to a key of their callers; by default they are refused, since nothing else can prove that.
	DPoP *DPoP
	// Limiter refuses tokens that are not remembered from an address that too many wrong ones came from lately. Those that have expired or were revoked
	// are not counted: they were right once. No limit by default.
	Limiter *throttle.Limiter
	// Now replaces time.Now.
	Now func() time.Time
}

// Backend is a [grpcauth.Backend] for bearer tokens. It is safe for concurrent use.
type Backend struct {
	verifier   Verifier
	opts       Options
	schemes    []grpcauth.Scheme
	possession *possession // nil: no DPoP
	keyer      *remember.Keyer
	accepted   *remember.Cache[*verdict]
	refused    *remember.Cache[error]
	flight     *remember.Flight[*verdict]

	mu         sync.RWMutex // guards generation, and is held while an acceptance of that generation is remembered
	generation uint64       // changes with each Invalidate, so that a judgement under way counts for nothing after it
}

var (
	_ grpcauth.Backend   = (*Backend)(nil)
	_ grpcauth.Describer = (*Backend)(nil)
)

// verdict is never changed once it is made: it is shared by all calls with the token.
type verdict struct {
	user  *grpcauth.User
	proof Proof
}

// New returns a backend that has verifier judge tokens. An error names the option that is wrong.
func New(verifier Verifier, opts Options) (*Backend, error) {
	if verifier == nil {
		return nil, errors.New("bearer: the verifier is nil")
	}
	for name, v := range map[string]int64{
		"MaxTokenBytes": int64(opts.MaxTokenBytes), "RememberFor": int64(opts.RememberFor), "RefuseFor": int64(opts.RefuseFor),
	} {
		if v < 0 {
			return nil, fmt.Errorf("bearer: Options.%s is negative: write a positive value, or zero for the default", name)
		}
	}
	setDefault(&opts.Name, "bearer")
	setDefault(&opts.MaxTokenBytes, 16<<10)
	setDefault(&opts.MaxRemembered, 10_000)
	setDefault(&opts.RememberFor, 5*time.Minute)
	setDefault(&opts.MaxRefused, 1_000)
	setDefault(&opts.RefuseFor, 10*time.Second)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	scheme := grpcauth.Scheme{Name: opts.Name, Header: "authorization", AuthScheme: "Bearer"}
	if opts.Realm != "" {
		scheme.Params = map[string]string{"realm": opts.Realm}
	}
	schemes := []grpcauth.Scheme{scheme}
	var proofs *possession
	if opts.DPoP != nil {
		var err error
		if proofs, err = newPossession(*opts.DPoP, opts.Now); err != nil {
			return nil, fmt.Errorf("bearer: Options.%w", err)
		}
		scheme.AuthScheme, scheme.Params = dpopScheme, maps.Clone(scheme.Params)
		if scheme.Params == nil {
			scheme.Params = map[string]string{}
		}
		scheme.Params["algs"] = strings.Join(proofs.Algorithms, " ")
		schemes = append(schemes, scheme)
		opts.DPoP = nil // it holds a secret
	}
	return &Backend{
		verifier: verifier, opts: opts, schemes: schemes, possession: proofs, keyer: remember.NewKeyer(),
		accepted: remember.New[*verdict](opts.MaxRemembered), refused: remember.New[error](opts.MaxRefused),
		flight: remember.NewFlight[*verdict](func(err error) bool { return !errors.As(err, new(*abandoned)) }),
	}, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Format prints the kind of token, whatever the verb: a verifier may hold tokens.
func (b *Backend) Format(f fmt.State, _ rune) {
	if b == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(f, "Backend(%q)", b.opts.Name)
}

// Schemes says that the backend reads bearer tokens.
func (b *Backend) Schemes() []grpcauth.Scheme { return b.schemes }

// Authenticate judges the call's bearer token, or remembers the verdict on it. What depends on the call, its binding, is checked every time.
//
// On a recheck of a stream the token is judged anew.
func (b *Backend) Authenticate(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	scheme, token, err := b.credential(req)
	if err != nil {
		return nil, err
	}
	if len(token) > b.opts.MaxTokenBytes {
		return nil, grpcauth.Errorf(grpcauth.CodeMalformed, "the token has %d bytes, more than %d", len(token), b.opts.MaxTokenBytes)
	}
	key := b.keyer.Key(token)
	v, err := b.recall(ctx, req, key)
	if v == nil && b.opts.Limiter != nil && !req.Recheck() {
		v, err = b.lookLimited(ctx, key, token, err)
	} else if v == nil && err == nil {
		v, err = b.look(ctx, key, token)
	}
	switch {
	case errors.Is(err, remember.ErrAborted):
		return nil, grpcauth.Errorf(grpcauth.CodeInternal, "the verifier panicked: %w", err)
	case err != nil:
		return nil, err
	}
	if err := b.checkBinding(ctx, req, scheme, token, v.user.Binding); err != nil {
		return nil, err
	}
	return req.Own(v.user), nil
}

// credential takes the token off the call, under either scheme.
func (b *Backend) credential(req *grpcauth.Request) (scheme, token string, err error) {
	for i := range b.schemes {
		scheme = b.schemes[i].AuthScheme
		if token, err = req.Authorization(scheme); !errors.Is(err, grpcauth.ErrNoCredentials) {
			break
		}
	}
	return scheme, token, err
}

// look judges a token that is not remembered; concurrent callers with the same one share the judgement, unless it began before an Invalidate that
// only some of them came after. Its characters are checked only here: a remembered token had the right ones.
func (b *Backend) look(ctx context.Context, key remember.Key, token string) (*verdict, error) {
	if err := wellFormed(token); err != nil {
		return nil, err
	}
	b.mu.RLock()
	generation := b.generation
	b.mu.RUnlock()
	shared := key
	binary.LittleEndian.PutUint64(shared[:], binary.LittleEndian.Uint64(shared[:])^generation)
	v, another, err := b.flight.Do(ctx, shared, func() (*verdict, error) { return b.judge(ctx, key, token, generation) })
	if another && err == nil && v.proof != nil && v.proof.Holds(ctx) != nil {
		return b.judge(ctx, key, token, generation) // the other caller's judgement began before this call
	}
	return v, err
}

// lookLimited looks at a token that is not known to be good, unless its address is blocked. Failures count also when they are remembered.
func (b *Backend) lookLimited(ctx context.Context, key remember.Key, token string, refused error) (v *verdict, err error) {
	address := b.opts.Limiter.Address(ctx)
	if err := b.opts.Limiter.Blocked(address); err != nil {
		refusal := grpcauth.Errorf(grpcauth.CodeThrottled, "%w", err)
		if blocked, ok := errors.AsType[*throttle.Error](err); ok {
			refusal = refusal.WithRetryDelay(blocked.RetryAfter)
		}
		return nil, refusal
	}
	if err = refused; err == nil {
		v, err = b.look(ctx, key, token)
	}
	if err != nil && (grpcauth.CodeOf(err) == grpcauth.CodeInvalid || grpcauth.CodeOf(err) == grpcauth.CodeMalformed) {
		b.opts.Limiter.Fail(ctx, address)
	}
	return v, err
}

// recall returns the remembered verdict on a token: a user, a refusal, or neither.
func (b *Backend) recall(ctx context.Context, req *grpcauth.Request, key remember.Key) (*verdict, error) {
	if req.Recheck() {
		return nil, nil //nolint:nilnil // nothing is remembered
	}
	now := b.opts.Now()
	if v, ok := b.accepted.Get(key, now); ok {
		if v.proof == nil || v.proof.Holds(ctx) == nil {
			req.Remembered()
			return v, nil
		}
		b.accepted.Delete(key)
	}
	if refusal, ok := b.refused.Get(key, now); ok {
		req.Remembered()
		return nil, refusal
	}
	return nil, nil //nolint:nilnil // nothing is remembered
}

// judge has the verifier look at a token and remembers what it found, if that is final and nothing was invalidated meanwhile.
func (b *Backend) judge(ctx context.Context, key remember.Key, token string, generation uint64) (*verdict, error) {
	v, err := b.verify(ctx, token)
	now := b.opts.Now()
	if err != nil {
		code := grpcauth.CodeOf(err)
		if ctx.Err() != nil && code == grpcauth.CodeUnavailable {
			return nil, &abandoned{err}
		}
		if code.GRPC() == codes.Unauthenticated { // a recheck found out what is remembered otherwise
			b.accepted.Delete(key)
		}
		if isFinal(err) {
			b.refused.Put(key, err, now, now.Add(b.opts.RefuseFor))
		}
		return nil, err
	}
	expiry := now.Add(b.opts.RememberFor)
	if !v.user.Expiry.IsZero() && v.user.Expiry.Before(expiry) {
		expiry = v.user.Expiry
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.generation == generation {
		b.accepted.Put(key, v, now, expiry)
	}
	return v, nil
}

func (b *Backend) verify(ctx context.Context, token string) (*verdict, error) {
	v := &verdict{}
	var err error
	if p, ok := b.verifier.(Prover); ok {
		v.user, v.proof, err = p.VerifyProof(ctx, token)
	} else {
		v.user, err = b.verifier.Verify(ctx, token)
	}
	switch {
	case grpcauth.CodeOf(err) == grpcauth.CodeMissing && err != nil && errors.Is(err, grpcauth.ErrNoCredentials):
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "the verifier does not know the token")
	case err != nil:
		return nil, err
	case v.user == nil:
		return nil, grpcauth.Errorf(grpcauth.CodeInternal, "the verifier returned neither a user nor an error")
	}
	if v.user.Method == "" {
		v.user.Method = b.opts.Name
	}
	return v, nil
}

// Invalidate forgets every remembered user for which match is true, so that their tokens are judged anew. It is for news of revocations;
// without it an accepted token is remembered for Options.RememberFor at the most.
func (b *Backend) Invalidate(match func(*grpcauth.User) bool) {
	b.mu.Lock()
	b.generation++
	b.mu.Unlock()
	b.accepted.DeleteFunc(func(_ remember.Key, v *verdict) bool { return match(v.user.Clone()) })
}

// Fleeting marks a refusal that may be different in a moment, as of a key that is not known yet, so that it is not remembered.
func Fleeting(refusal *grpcauth.AuthenticationError) error { return &fleeting{refusal} }

type fleeting struct{ refusal *grpcauth.AuthenticationError }

func (f *fleeting) Error() string { return f.refusal.Error() }
func (f *fleeting) Unwrap() error { return f.refusal }

// abandoned is what became of a judgement whose caller gave up. It says nothing to others who wait for the same token.
type abandoned struct{ error }

func (a *abandoned) Unwrap() error { return a.error }

// isFinal reports whether a refusal of the very same text would be the same a moment later.
func isFinal(err error) bool {
	var f *fleeting
	return grpcauth.CodeOf(err) == grpcauth.CodeInvalid && !errors.As(err, &f)
}

// wellFormed checks that a token is a b64token (RFC 6750, section 2.1).
func wellFormed(token string) error {
	end := len(token)
	for end > 0 && token[end-1] == '=' {
		end--
	}
	if end == 0 {
		return grpcauth.Errorf(grpcauth.CodeMalformed, "the token is empty")
	}
	for i := range end {
		if !isTokenByte[token[i]] {
			return grpcauth.Errorf(grpcauth.CodeMalformed, "the token has a character that no token has, at byte %d", i)
		}
	}
	return nil
}

var isTokenByte = func() (table [math.MaxUint8 + 1]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/") {
		table[c] = true
	}
	return table
}()
