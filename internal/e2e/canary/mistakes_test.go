// SPDX-License-Identifier: Apache-2.0

package canary_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/basic"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/backends/introspect"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/backends/oidc"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/clientauth"
	"github.com/grpcauth/grpcauth/jwks"
	"github.com/grpcauth/grpcauth/password"
	"github.com/grpcauth/grpcauth/store/redisstore"
	"github.com/grpcauth/grpcauth/store/sqlstore"
	"github.com/grpcauth/grpcauth/token"
)

func mac(secret, text string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = h.Write([]byte(text))
	return h.Sum(nil)
}

// verifiers ask the provider in all the ways of proving who asks, and in one that does not reach it.
func (w *site) verifiers(t *testing.T) []*introspect.Verifier {
	t.Helper()
	inBody, byKey, byToken, failing, lost := w.provider.options(), w.provider.options(), w.provider.options(), w.provider.options(), w.provider.options()
	inBody.ClientSecret, inBody.SecretInBody = w.clientSecret, true
	byKey.PrivateKey, byKey.KeyID = w.newKey(t, "the key of a client"), "1"
	own := w.book.mark("own-token")
	byToken.AccessToken = func(context.Context) (string, error) { return own, nil }
	failing.AccessToken = func(context.Context) (string, error) { return "", errOwn }
	lost.URL, lost.ClientSecret = "https://127.0.0.1:1/introspect", w.clientSecret
	var all []*introspect.Verifier
	for _, opts := range []introspect.Options{inBody, byKey, byToken, failing, lost} {
		v := must(introspect.NewVerifier(opts))(t)
		w.show("values", opts, &opts, v)
		all = append(all, v)
	}
	return all
}

// print shows everything that was made and can hold a secret, in whatever it may lie, and what it is made of.
func (w *site) print(t *testing.T) {
	t.Helper()
	private := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	w.book.key(t, "an RSA key", private)
	_, signer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.book.key(t, "an Ed25519 key", signer)
	secret := jwks.Key{ID: "a", Algorithm: "HS256", Secret: []byte(w.hmac)}
	proofs := bearer.DPoP{Origins: []string{origin}, NonceSecret: []byte(w.hmac)}
	ring := token.RingOptions{Keys: []token.SigningKey{{ID: "rsa", Key: private}, {ID: "ed", Key: signer}, {ID: "hs", Algorithm: "HS256", Secret: []byte(w.hmac)}, {ID: "ec", Key: w.key}}}
	asked := introspect.Options{URL: "https://idp.example.com/introspect", ClientID: "shop", ClientSecret: w.clientSecret, Audiences: []string{audience}, Bearer: bearer.Options{DPoP: &proofs}}
	byKey := introspect.Options{URL: "https://idp.example.com/introspect", ClientID: "shop", PrivateKey: private}
	issuer := jwt.Issuer{URL: issuerURL, Keys: must(jwks.Static(secret))(t)}
	account := basic.Account{User: &grpcauth.User{ID: "alice"}, PasswordHash: w.accounts.hash}
	w.accounts.mu.Lock()
	w.values = append(w.values, secret, proofs, bearer.Options{DPoP: &proofs}, ring, ring.Keys, asked, byKey, issuer, jwt.Options{Issuers: []jwt.Issuer{issuer}, Bearer: asked.Bearer},
		account, clientauth.Token{Value: w.wrong}, w.hasher.Dummy)
	w.accounts.mu.Unlock()
	for _, k := range ring.Keys {
		w.values = append(w.values, k)
	}
	handlers := w.handlers("values")
	for _, v := range w.values {
		w.show("values", v, &v, []any{v}, map[string]any{"a": v}, struct{ A any }{v}, fmt.Errorf("wrapped: %w, %v", errOwn, v))
		for _, h := range handlers {
			slog.New(h).Info("a value", "value", v, "list", []any{v})
		}
	}
	w.show("values", &secret, &proofs, &ring, &asked, &byKey, &account, &ring.Keys[0], struct{ K jwks.Key }{secret}, struct{ K token.SigningKey }{ring.Keys[0]}, struct{ K bearer.DPoP }{proofs}, struct{ O introspect.Options }{asked},
		struct{ A basic.Account }{account}, struct{ T clientauth.Token }{clientauth.Token{Value: w.wrong}})
}

// mistakes makes everything wrongly that can be made with a secret, also where the secret was written in the wrong place.
func (w *site) mistakes(t *testing.T) {
	t.Helper()
	private := w.newKey(t, "a private key in the wrong place")
	der := must(x509.MarshalPKCS8PrivateKey(private))(t)
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	base64url := base64.RawURLEncoding.EncodeToString
	short := []byte(w.hmac)[:20]
	w.book.add("a short secret", string(short))
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(w.wrong+" and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	shared := must(jwks.Static(jwks.Key{ID: "a", Algorithm: "HS256", Secret: []byte(w.hmac)}))(t)
	apiKey := "canary_live_" + strings.Repeat("A", 16) + "_" + w.book.mark("pasted") + "_000000"
	withUser := "https://user:" + w.wrong + "@idp.example.com/path"
	wrong := w.provider.options()
	wrong.URL, wrong.ClientSecret = withUser, w.clientSecret
	twice := w.provider.options()
	twice.ClientSecret, twice.PrivateKey = w.clientSecret, private
	w.show("values", wrong, &wrong, twice)
	jwk := func(members map[string]string) []byte { return must(json.Marshal(members))(t) }
	public := must(private.PublicKey.Bytes())(t)
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Password: w.wrong})
	defer client.Close()
	for name, create := range map[string]func() (any, error){
		"introspect: user info": func() (any, error) { return introspect.New(wrong) },
		"introspect: two ways":  func() (any, error) { return introspect.New(twice) },
		"introspect: secret as an ID": func() (any, error) {
			return introspect.New(introspect.Options{URL: w.clientSecret, ClientID: w.clientSecret, Audiences: []string{"a"}})
		},
		"jwks: a private PEM": func() (any, error) { return jwks.Parse(block) },
		"jwks: a damaged PEM": func() (any, error) { return jwks.Parse(block[:len(block)-30]) },
		"jwks: an odd PEM": func() (any, error) {
			return jwks.Parse(pem.EncodeToMemory(&pem.Block{Type: strings.ToUpper(w.wrong), Bytes: der}))
		},
		"jwks: PEM as a public key": func() (any, error) { return jwks.Parse(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})) },
		"jwks: a secret JWK": func() (any, error) {
			return jwks.Parse(jwk(map[string]string{"kty": "oct", "k": base64url([]byte(w.hmac)), "alg": "HS256"}))
		},
		"jwks: a private JWK": func() (any, error) {
			return jwks.Parse(jwk(map[string]string{"kty": "EC", "crv": "P-256", "x": base64url(public[1:33]), "y": base64url(public[33:]), "d": base64url(must(private.Bytes())(t))}))
		},
		"jwks: text":                    func() (any, error) { return jwks.Parse([]byte(w.hmac)) },
		"jwks: a short secret":          func() (any, error) { return jwks.Static(jwks.Key{Algorithm: "HS256", Secret: short}) },
		"jwks: a secret as algorithm":   func() (any, error) { return jwks.Static(jwks.Key{Algorithm: "HS999", Secret: []byte(w.hmac)}) },
		"jwks: a private key as public": func() (any, error) { return jwks.Static(jwks.Key{ID: "a", Public: private}) },
		"jwks: both": func() (any, error) {
			return jwks.Static(jwks.Key{ID: "a", Public: private.Public(), Secret: []byte(w.hmac)})
		},
		"jwks: user info": func() (any, error) { return jwks.Remote(withUser, jwks.Options{}) },
		"jwt: another algorithm": func() (any, error) {
			return jwt.New(jwt.Options{Issuers: []jwt.Issuer{{URL: issuerURL, Audiences: []string{"a"}, Algorithms: []string{"RS256"}, Keys: shared}}})
		},
		"jwt: user info": func() (any, error) {
			return jwt.New(jwt.Options{Issuers: []jwt.Issuer{{URL: withUser, Audiences: []string{"a"}, Algorithms: []string{"HS999"}, Keys: shared}}})
		},
		"jwt: a secret as algorithm": func() (any, error) {
			return jwt.New(jwt.Options{Issuers: []jwt.Issuer{{URL: issuerURL, Audiences: []string{"a"}, Algorithms: []string{"none"}, Keys: shared}}})
		},
		"oidc: user info": func() (any, error) {
			return oidc.New(jwt.Issuer{URL: withUser, Audiences: []string{"a"}, Algorithms: []string{"RS256"}}, oidc.Options{})
		},
		"oidc: elsewhere": func() (any, error) {
			return oidc.New(jwt.Issuer{URL: issuerURL, Audiences: []string{"a"}, Algorithms: []string{"RS256"}}, oidc.Options{DiscoveryURL: withUser})
		},
		"token: a short secret": func() (any, error) {
			return token.NewRing(token.RingOptions{Keys: []token.SigningKey{{ID: "a", Algorithm: "HS256", Secret: short}}})
		},
		"token: no ID": func() (any, error) {
			return token.NewRing(token.RingOptions{Keys: []token.SigningKey{{Algorithm: "HS256", Secret: []byte(w.hmac)}}})
		},
		"token: both": func() (any, error) {
			return token.NewRing(token.RingOptions{Keys: []token.SigningKey{{ID: "a", Key: private, Secret: []byte(w.hmac)}}})
		},
		"token: another algorithm": func() (any, error) {
			return token.NewRing(token.RingOptions{Keys: []token.SigningKey{{ID: "a", Algorithm: "RS256", Key: private}}})
		},
		"bearer: a short nonce secret": func() (any, error) {
			return jwt.New(jwt.Options{Issuers: []jwt.Issuer{{URL: issuerURL, Audiences: []string{"a"}, Algorithms: []string{"HS256"}, Keys: shared}}, Bearer: bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}, NonceSecret: short}}})
		},
		"bearer: user info": func() (any, error) {
			return jwt.New(jwt.Options{Issuers: []jwt.Issuer{{URL: issuerURL, Audiences: []string{"a"}, Algorithms: []string{"HS256"}, Keys: shared}}, Bearer: bearer.Options{DPoP: &bearer.DPoP{Origins: []string{withUser}}}})
		},
		"apikey: a key as prefix": func() (any, error) { return apikey.New(apikey.Options{Store: w.store, Prefix: apiKey}) },
		"apikey: a key as header": func() (any, error) {
			return apikey.New(apikey.Options{Store: w.store, Prefix: "canary_test", Header: apiKey})
		},
		"session: an id as a key": func() (any, error) {
			return session.New(session.Options{Store: w.store, MetadataKey: "-" + w.wrong + "-bin"})
		},
		"session: an id as a cookie":  func() (any, error) { return session.New(session.Options{Store: w.store, Cookie: w.wrong + "="}) },
		"clientauth: a key as header": func() (any, error) { return clientauth.APIKey(w.wrong+" ", "x-api-key", clientauth.Options{}) },
		"clientauth: an odd key":      func() (any, error) { return clientauth.APIKey("x-api-key", " "+w.wrong, clientauth.Options{}) },
		"clientauth: the other way":   func() (any, error) { return clientauth.Basic(w.password+":", "alice", clientauth.Options{}) },
		"clientauth: an odd password": func() (any, error) { return clientauth.Basic("alice", w.password+"\n", clientauth.Options{}) },
		"clientauth: an odd token":    func() (any, error) { return clientauth.Bearer(w.wrong+" ", clientauth.Options{}) },
		"clientauth: an odd file":     func() (any, error) { return clientauth.File(file, clientauth.Options{}) },
		"clientauth: an odd source": func() (any, error) {
			odd := clientauth.SourceFunc(func(context.Context) (clientauth.Token, error) { return clientauth.Token{Value: w.wrong + "!"}, nil })
			return must(clientauth.NewRefreshing(odd, clientauth.Options{}))(t).Token(t.Context())
		},
		"password: an odd hash":    func() (any, error) { return nil, w.hasher.Verify(t.Context(), w.accounts.hash+"!", w.password) },
		"password: no hash":        func() (any, error) { return nil, w.hasher.Verify(t.Context(), w.password, w.password) },
		"password: a long one":     func() (any, error) { return w.hasher.Hash(t.Context(), strings.Repeat(w.password, 100)) },
		"password: another":        func() (any, error) { return nil, w.hasher.Verify(t.Context(), w.accounts.hash, w.wrong) },
		"redisstore: no deadlines": func() (any, error) { return redisstore.New(redisstore.Options{Client: client}) },
		"sqlstore: no such server": func() (any, error) {
			return sqlstore.New(t.Context(), sqlstore.Options{DB: openDB(t, "pgx", "postgres://u:"+w.wrong+"@127.0.0.1:1/x"), Dialect: sqlstore.PostgreSQL})
		},
		"sqlstore: a secret as name": func() (any, error) {
			return sqlstore.New(t.Context(), sqlstore.Options{DB: openDB(t, "pgx", "postgres://u:"+w.wrong+"@127.0.0.1:1/x"), Dialect: sqlstore.PostgreSQL, Table: w.wrong})
		},
		"grpcauth: a secret as name": func() (_ any, err error) {
			defer func() { err = fmt.Errorf("a panic: %v", recover()) }()
			return grpcauth.New(grpcauth.Chain(), grpcauth.WithErrorDomain(w.wrong+"\n")), nil
		},
		"password: bcrypt": func() (any, error) {
			return nil, must(password.New(password.Options{Algorithm: password.Bcrypt, Cost: 4}))(t).Verify(t.Context(), "$2a$04$"+w.wrong, w.password)
		},
	} {
		made, err := create()
		if err == nil {
			t.Errorf("%s: there is no error", name)
		}
		w.show("errors of configuration", err)
		w.show("values", made)
	}
	var noKey *ecdsa.PrivateKey
	w.show("values", noKey, (*jwks.StaticSet)(nil))
}
