// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer/internal/dpop"
)

// DPoP says which proofs of possession are taken along with tokens of the scheme DPoP (RFC 9449). Origins is required.
//
// Such a token is bound to a key, and each call proves anew that its caller has the key, by a signed proof in the metadata key dpop. A token that is
// bound to a key is refused under the scheme Bearer, with this option or without, and one that is not bound under DPoP.
type DPoP struct {
	// Origins are the addresses that callers know the server by, each with its scheme: "https://orders.example.com", "https://10.0.0.7:8443". A proof must be
	// made for one of them with the full method as its path. They are not taken from the call, whose authority its caller writes: whoever got a
	// proof that was meant for another server could use it here.
	Origins []string
	// Target returns the HTTP method and the URL that the caller used, if the call came through a gateway that can be trusted to say so; an empty
	// URL if it did not, which means POST and one of Origins. A URL that is none refuses the call. It may be nil.
	Target func(*grpcauth.Request) (method, url string)
	// Algorithms are what proofs are signed by: "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256" and "RS256", all of them by default.
	Algorithms []string
	// MaxAge is how old a proof may be, and MaxAhead how far the caller's clock may be ahead; 1 minute and 5 seconds by default,
	// an hour at the most.
	MaxAge, MaxAhead time.Duration
	// RequireNonce demands that proofs have a nonce of the server's, which it sends with the refusal of one that has none, in the metadata key
	// dpop-nonce (RFC 9449, section 9). Proofs can then not be made in advance.
	RequireNonce bool
	// NonceFor is how long a nonce is given out, and after that taken; 5 minutes by default, an hour at the most.
	NonceFor time.Duration
	// NonceSecret lets several servers take each other's nonces; at least 32 random bytes. By default each process makes its own.
	NonceSecret []byte
	// Replays remembers the proofs that were used. By default each process does so by itself, up to a million of the last
	// minute or two in 75 MB at the most, and for one key up to a sixteenth of that, so that no key can fill the memory alone; servers that share their callers
	// need a memory that they share.
	Replays ReplayMemory
}

// Format prints the origins, whatever the verb: the secret of nonces is not for logs.
func (d DPoP) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "DPoP(%q)", d.Origins) }

// MarshalText gives the same as Format, for JSON and its like.
func (d DPoP) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(d)), nil }

// MarshalBinary gives the same as Format, for gob and its like.
func (d DPoP) MarshalBinary() ([]byte, error) { return []byte(fmt.Sprint(d)), nil }

// ReplayMemory knows which proofs were used. It is safe for concurrent use.
type ReplayMemory interface {
	// Use notes that a proof is used, and reports whether it is for the first time. It may forget the proof after until, which leaves room for
	// servers whose clocks differ by MaxAhead. The key is printable ASCII, and begins with the 43 bytes of the thumbprint of the caller's key.
	// An error means that it could not be decided.
	Use(ctx context.Context, key string, until time.Time) (first bool, err error)
}

// possession checks proofs.
type possession struct {
	DPoP
	nonces nonces
	now    func() time.Time
}

const dpopScheme = "DPoP"

func newPossession(opts DPoP, now func() time.Time) (*possession, error) {
	p := &possession{DPoP: opts, now: now}
	if len(opts.Origins) == 0 {
		return nil, errors.New(`DPoP.Origins is empty: write what callers know the server by, such as "https://orders.example.com"`)
	}
	p.Origins = make([]string, len(opts.Origins))
	for i, origin := range opts.Origins {
		normal := dpop.NormalURL(origin)
		if normal == "" || strings.Count(normal, "/") != 3 || !strings.HasSuffix(normal, "/") || strings.ContainsAny(origin, "?#") {
			return nil, fmt.Errorf(`DPoP.Origins[%d] is no origin: write a scheme, a host and perhaps a port, such as "https://orders.example.com:8443"`, i)
		}
		p.Origins[i] = strings.TrimSuffix(normal, "/")
	}
	known := dpop.Algorithms()
	if len(opts.Algorithms) == 0 {
		p.Algorithms = known
	}
	for _, alg := range opts.Algorithms {
		if !slices.Contains(known, alg) {
			return nil, fmt.Errorf("DPoP.Algorithms has %q: write any of %s", alg, strings.Join(known, ", "))
		}
	}
	p.Algorithms = slices.Clone(p.Algorithms)
	for name, d := range map[string]time.Duration{"MaxAge": opts.MaxAge, "MaxAhead": opts.MaxAhead, "NonceFor": opts.NonceFor} {
		if d < 0 || d > time.Hour {
			return nil, fmt.Errorf("DPoP.%s is %v: write a duration up to an hour, or zero for the default", name, d)
		}
	}
	setDefault(&p.MaxAge, time.Minute)
	setDefault(&p.MaxAhead, 5*time.Second)
	setDefault(&p.NonceFor, 5*time.Minute)
	if n := len(opts.NonceSecret); n > 0 && n < sha256.Size {
		return nil, fmt.Errorf("DPoP.NonceSecret has %d bytes: write %d random ones, or none", n, sha256.Size)
	}
	p.nonces = newNonces(opts.NonceSecret, p.NonceFor)
	p.NonceSecret = nil
	if p.Replays == nil {
		p.Replays = newUsed(p.MaxAge+p.MaxAhead, now)
	}
	return p, nil
}

// check refuses a call whose caller does not prove that it has the key that the token is bound to.
func (p *possession) check(ctx context.Context, req *grpcauth.Request, token, thumbprint string) error {
	text, err := req.Value("dpop")
	switch {
	case errors.Is(err, grpcauth.ErrNoCredentials):
		return badProof(grpcauth.CodeInvalid, errors.New("there is no proof"))
	case err != nil:
		return badProof(grpcauth.CodeOf(err), err)
	}
	proof, err := dpop.Parse(text, p.Algorithms)
	if err != nil {
		return badProof(grpcauth.CodeMalformed, err)
	}
	now, nonce := p.now(), nonceCurrent
	if err := p.fits(req, proof, now, token, thumbprint); err != nil {
		return badProof(grpcauth.CodeInvalid, err)
	}
	if p.RequireNonce {
		nonce = p.nonces.state(proof.Nonce, now)
	}
	if nonce == nonceUnknown {
		return grpcauth.Errorf(grpcauth.CodeInvalid, "DPoP: the proof has no nonce of now").
			WithChallengeError(dpopScheme, "use_dpop_nonce").WithHeader("dpop-nonce", p.nonces.current(now))
	}
	if err := proof.Verify(); err != nil {
		return badProof(grpcauth.CodeInvalid, err)
	}
	id := sha256.Sum256([]byte(proof.ID))
	until := time.Unix(proof.IssuedAt, 0).Add(p.MaxAge + p.MaxAhead)
	first, err := p.Replays.Use(ctx, thumbprint+"."+base64.RawURLEncoding.EncodeToString(id[:]), until)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errReplays, err)
	case !first:
		return badProof(grpcauth.CodeInvalid, errors.New("the proof was used before"))
	}
	if nonce == nonceEnding {
		req.SetHeader("dpop-nonce", p.nonces.current(now))
	}
	return nil
}

// errReplays is joined with the error of a memory, so that what that wraps, such as ErrNoCredentials, does not pass for the backend's own answer.
var errReplays = errors.New("DPoP: the memory of proofs")

// fits compares what a proof says with the call. It costs little, so it comes before the cryptography.
func (p *possession) fits(req *grpcauth.Request, proof *dpop.Proof, now time.Time, token, thumbprint string) error {
	method, public := "POST", ""
	if p.Target != nil {
		if m, u := p.Target(req); u != "" {
			method, public = m, u
		}
	}
	issued, claimed := time.Unix(proof.IssuedAt, 0), dpop.NormalURL(proof.URL)
	switch {
	case proof.Method != method:
		return errors.New("the method is another one")
	case claimed == "", public == "" && !p.isOwn(claimed, req.Method()), public != "" && claimed != dpop.NormalURL(public):
		return errors.New("the URL is another one")
	case issued.After(now.Add(p.MaxAhead)):
		return errors.New("the proof is from the future")
	case !now.Before(issued.Add(p.MaxAge)):
		return errors.New("the proof is too old")
	case subtle.ConstantTimeCompare([]byte(proof.TokenHash), []byte(dpop.TokenHash(token))) != 1:
		return errors.New("the proof was made for another token")
	case subtle.ConstantTimeCompare([]byte(proof.Key.Thumbprint()), []byte(thumbprint)) != 1:
		return errors.New("the token is bound to another key")
	}
	return nil
}

func (p *possession) isOwn(url, method string) bool {
	origin, ok := strings.CutSuffix(url, method)
	return ok && slices.Contains(p.Origins, origin)
}

func badProof(code grpcauth.Code, cause error) error {
	return grpcauth.Errorf(code, "DPoP: %w", cause).WithChallengeError(dpopScheme, "invalid_dpop_proof")
}
