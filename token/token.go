// SPDX-License-Identifier: Apache-2.0

// Package token issues access tokens, rotates refresh tokens, and takes both back.
//
// An [Issuer] signs access tokens (RFC 9068) with the keys of a [Ring], which publishes them for whoever verifies the tokens. A [Refresher] keeps
// families of refresh tokens in a store: each token is good once, and a second use ends the family. A [Denylist] stops access tokens before
// they expire.
package token

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/grpcauth/grpcauth/internal/strictjson"
)

const (
	maxIssuer   = 2048
	maxSubject  = 255 // OpenID Connect Core, section 2
	maxText     = 1024
	maxLifetime = 24 * time.Hour
	maxToken    = 16 << 10 // what verifiers look at by default
)

// Options say what all access tokens of an issuer have in common. Issuer, Audiences and Ring are required.
type Options struct {
	// Issuer is the iss claim, the same text that verifiers are configured with.
	Issuer string
	// Audiences are the services that tokens may be for. A token is for all of them unless [Claims].Audiences says which.
	Audiences []string
	// Ring has the key that signs.
	Ring *Ring
	// Lifetime is how long tokens are good for; 10 minutes by default, at most [RingOptions].TokenLifetime of the ring.
	Lifetime time.Duration
	// Now replaces time.Now. Give the ring the same clock.
	Now func() time.Time
}

// Issuer signs access tokens. It is safe for concurrent use.
type Issuer struct{ opts Options }

// New returns an issuer. An error names the option that is wrong and says what to write.
func New(opts Options) (*Issuer, error) {
	opts.Audiences = slices.Clone(opts.Audiences)
	if opts.Lifetime == 0 {
		opts.Lifetime = 10 * time.Minute
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	switch {
	case opts.Issuer == "" || len(opts.Issuer) > maxIssuer || !utf8.ValidString(opts.Issuer):
		return nil, fmt.Errorf("token: Options.Issuer is empty, not UTF-8 or longer than %d bytes: write the URL that verifiers know the issuer by", maxIssuer)
	case len(opts.Audiences) == 0 || slices.ContainsFunc(opts.Audiences, bad(maxText)):
		return nil, errors.New("token: Options.Audiences is empty or has an entry that is empty, too long or not UTF-8: name the services that tokens are for")
	case opts.Ring == nil:
		return nil, errors.New("token: Options.Ring is nil: make one with NewRing")
	case opts.Lifetime < time.Second || opts.Lifetime > opts.Ring.lifetime:
		return nil, fmt.Errorf("token: Options.Lifetime is %v: write a value from 1s to the %v of RingOptions.TokenLifetime", opts.Lifetime, opts.Ring.lifetime)
	}
	return &Issuer{opts}, nil
}

// Format prints whose tokens it signs, whatever the verb.
func (i *Issuer) Format(f fmt.State, _ rune) {
	if i == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(f, "Issuer(%q)", i.opts.Issuer)
}

// Claims are what one access token says. Subject and ClientID are required.
type Claims struct {
	// Subject is whom the token stands for, at most 255 bytes: the sub claim.
	Subject string
	// ClientID is the program that gets the token: the client_id claim.
	ClientID string
	// Audiences are whom the token is for, out of [Options].Audiences; all of them by default.
	Audiences []string
	// Scopes become the scope claim. Each is a scope-token of RFC 6749, section 3.3: printable ASCII without space, quotation mark and backslash.
	Scopes []string
	// AuthTime is when the person last proved herself: the auth_time claim.
	AuthTime time.Time
	// ACR is how: the acr claim.
	ACR string
	// CertSHA256 binds the token to a certificate and JKT to a DPoP key, by their SHA-256 thumbprints in unpadded base64url: the cnf claim.
	CertSHA256, JKT string
	// Name is for display: the name claim.
	Name string
	// Family is the family of refresh tokens that the token goes with. It becomes the sid claim and the beginning of the jti, so that revoking the
	// family revokes the token through the [Denylist].
	Family string
	// NotAfter ends the token if it would live longer; [Grant.Claims] sets it to the end of the family.
	NotAfter time.Time
	// Extra are claims of one's own. One that has the name of a claim that the issuer may set, whatever its case, is an error.
	Extra map[string]any
}

// Token is what is known of a token that was signed.
type Token struct {
	// ID is the jti claim.
	ID              string
	Issuer, Subject string
	// IssuedAt and Expiry are the iat and exp claims, in whole seconds.
	IssuedAt, Expiry time.Time
}

// reserved are the claims that the issuer sets, or that decide about a token wherever it is verified.
var reserved = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "scp", "auth_time", "acr", "amr", "azp", "nonce", "cnf", "act", "may_act", "sid", "name",
}

// Sign returns an access token (RFC 9068) that is signed by the ring's current key. An error names the claim that is wrong.
func (i *Issuer) Sign(_ context.Context, c Claims) (text string, t Token, err error) {
	key, err := i.opts.Ring.current()
	if err != nil {
		return "", Token{}, err
	}
	claims, t, err := i.claims(c)
	if err != nil {
		return "", Token{}, fmt.Errorf("token: Claims.%w", err)
	}
	payload, err := json.Marshal(claims, json.Deterministic(true))
	if err == nil { // what strict verifiers would refuse is refused here
		err = strictjson.Object(payload, func(string, strictjson.Value) error { return nil })
	}
	if err != nil {
		return "", Token{}, errors.New("token: Claims.Extra has a value that is no JSON, text that is not UTF-8, or two members of one name")
	}
	if text, err = key.sign(payload); err != nil {
		return "", Token{}, err
	}
	if len(text) > maxToken {
		return "", Token{}, fmt.Errorf("token: the token would have %d bytes, more than %d: put less into Claims", len(text), maxToken)
	}
	return text, t, nil
}

// claims checks what the caller wants to have signed. Its errors begin with the name of a field.
func (i *Issuer) claims(c Claims) (map[string]any, Token, error) {
	if err := c.check(i.opts.Audiences); err != nil {
		return nil, Token{}, err
	}
	now := time.Unix(i.opts.Now().Unix(), 0)
	t := Token{ID: random(16), Issuer: i.opts.Issuer, Subject: c.Subject, IssuedAt: now, Expiry: now.Add(i.opts.Lifetime)}
	if c.Family != "" {
		t.ID = c.Family + "." + t.ID
	}
	if !c.NotAfter.IsZero() && c.NotAfter.Before(t.Expiry) {
		t.Expiry = time.Unix(c.NotAfter.Unix(), 0)
	}
	if !t.Expiry.After(now) {
		return nil, Token{}, errors.New("NotAfter has passed")
	}
	claims := map[string]any{
		"iss": t.Issuer, "sub": t.Subject, "iat": t.IssuedAt.Unix(), "exp": t.Expiry.Unix(), "jti": t.ID, "client_id": c.ClientID, "aud": audience(c.Audiences, i.opts.Audiences),
	}
	for name, text := range map[string]string{"scope": strings.Join(c.Scopes, " "), "acr": c.ACR, "name": c.Name, "sid": c.Family} {
		if text != "" {
			claims[name] = text
		}
	}
	if !c.AuthTime.IsZero() {
		claims["auth_time"] = c.AuthTime.Unix()
	}
	confirmation := map[string]any{}
	for name, thumbprint := range map[string]string{"x5t#S256": c.CertSHA256, "jkt": c.JKT} {
		if thumbprint != "" {
			confirmation[name] = thumbprint
			claims["cnf"] = confirmation
		}
	}
	for name, value := range c.Extra {
		if slices.ContainsFunc(reserved, func(r string) bool { return strings.EqualFold(r, name) }) {
			return nil, Token{}, fmt.Errorf("Extra has %q, which is the issuer's to set: use the field for it, or another name", name)
		}
		claims[name] = value
	}
	return claims, t, nil
}

func (c *Claims) check(audiences []string) error {
	outside := func(a string) bool { return !slices.Contains(audiences, a) }
	switch {
	case bad(maxSubject)(c.Subject):
		return fmt.Errorf("Subject is empty, not UTF-8 or longer than %d bytes", maxSubject)
	case bad(maxText)(c.ClientID):
		return fmt.Errorf("ClientID is empty, not UTF-8 or longer than %d bytes: an access token names the program that it was given to", maxText)
	case slices.ContainsFunc(c.Audiences, outside):
		return errors.New("Audiences has one that is not in Options.Audiences")
	case slices.ContainsFunc(c.Scopes, func(s string) bool { return !isScope(s) }):
		return errors.New("Scopes has one that is empty or has a character that scopes do not have")
	case c.ACR != "" && bad(maxText)(c.ACR), c.Name != "" && bad(maxText)(c.Name):
		return fmt.Errorf("ACR or Name is not UTF-8 or longer than %d bytes", maxText)
	case !c.AuthTime.IsZero() && c.AuthTime.Unix() < 0:
		return errors.New("AuthTime is before 1970")
	case c.CertSHA256 != "" && !isThumbprint(c.CertSHA256):
		return errors.New("CertSHA256 is not the unpadded base64url of a SHA-256 digest")
	case c.JKT != "" && !isThumbprint(c.JKT):
		return errors.New("JKT is not the unpadded base64url of a SHA-256 digest")
	case c.Family != "" && !isFamily(c.Family):
		return errors.New("Family is not one of a Refresher")
	}
	return nil
}

// audience is a string or an array, as the aud claim is (RFC 7519, section 4.1.3).
func audience(chosen, all []string) any {
	if len(chosen) == 0 {
		chosen = all
	}
	if len(chosen) == 1 {
		return chosen[0]
	}
	return chosen
}

// bad reports whether a required text is empty, too long or not UTF-8.
func bad(most int) func(string) bool {
	return func(s string) bool { return s == "" || len(s) > most || !utf8.ValidString(s) }
}

// isScope reports whether a text is a scope-token (RFC 6749, section 3.3).
func isScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

var base64url = base64.RawURLEncoding.Strict()

// decode takes canonical unpadded base64url of that many bytes; nil if it is anything else.
func decode(text string, size int) []byte {
	if len(text) != base64url.EncodedLen(size) {
		return nil
	}
	b, err := base64url.DecodeString(text)
	if err != nil || len(b) != size { // the decoder skips line breaks
		return nil
	}
	return b
}

func isThumbprint(s string) bool { return decode(s, 32) != nil }

// random is the text of that many random bytes.
func random(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b) // it never fails: the process ends before that
	return base64url.EncodeToString(b)
}
