// SPDX-License-Identifier: Apache-2.0

package benchmarks

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	golangjwt "github.com/golang-jwt/jwt/v5"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"github.com/lestrrat-go/jwx/v3/jwa"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// userKey is where the peers' servers put their user.
type userKey struct{}

// golangJWT checks tokens as golang-jwt's documentation recommends: the algorithm, issuer and audience are fixed and an expiry is needed.
func (w *world) golangJWT(alg string) func(token string) (*golangjwt.Token, error) {
	parser := golangjwt.NewParser(golangjwt.WithValidMethods([]string{alg}), golangjwt.WithIssuer(issuerURL), golangjwt.WithAudience(audience),
		golangjwt.WithExpirationRequired(), golangjwt.WithIssuedAt())
	key := w.keys[alg]
	find := func(t *golangjwt.Token) (any, error) {
		if t.Header["kid"] != key.ID {
			return nil, errors.New("unknown key")
		}
		return key.Public, nil
	}
	return func(token string) (*golangjwt.Token, error) {
		return parser.ParseWithClaims(token, golangjwt.MapClaims{}, find)
	}
}

// middleware is go-grpc-middleware's interceptor with golang-jwt behind it.
func (w *world) middleware(alg string) grpc.UnaryServerInterceptor {
	parse := w.golangJWT(alg)
	return auth.UnaryServerInterceptor(func(ctx context.Context) (context.Context, error) {
		raw, err := auth.AuthFromMD(ctx, "bearer")
		if err != nil {
			return nil, err
		}
		token, err := parse(raw)
		if err != nil {
			return nil, status.Error(codes.Unauthenticated, "invalid token")
		}
		return context.WithValue(ctx, userKey{}, token.Claims), nil
	})
}

// basicMiddleware is go-grpc-middleware's interceptor with a password check behind it.
func basicMiddleware(check func(password []byte) error) grpc.UnaryServerInterceptor {
	return auth.UnaryServerInterceptor(func(ctx context.Context) (context.Context, error) {
		raw, err := auth.AuthFromMD(ctx, "basic")
		if err != nil {
			return nil, err
		}
		text, err := base64.StdEncoding.DecodeString(raw)
		name, password, ok := strings.Cut(string(text), ":")
		if err != nil || !ok || name != userName || check([]byte(password)) != nil {
			return nil, status.Error(codes.Unauthenticated, "invalid password")
		}
		return context.WithValue(ctx, userKey{}, name), nil
	})
}

func (w *world) bcryptCheck() func(password []byte) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(userPassword), bcrypt.DefaultCost)
	if err != nil {
		w.Fatal(err)
	}
	return func(password []byte) error { return bcrypt.CompareHashAndPassword(hash, password) }
}

// argonCheck has the parameters that our own hashes have by default.
func (*world) argonCheck() func(password []byte) error {
	salt := []byte("0123456789abcdef")
	derive := func(password []byte) []byte { return argon2.IDKey(password, salt, 2, 19<<10, 1, 32) }
	hash := derive([]byte(userPassword))
	return func(password []byte) error {
		if subtle.ConstantTimeCompare(derive(password), hash) != 1 {
			return errors.New("wrong")
		}
		return nil
	}
}

// bare is the check of the signature and nothing else: everything is decoded beforehand.
func (w *world) bare(alg string) op {
	w.Helper()
	token := w.tokens[alg]
	end := strings.LastIndexByte(token, '.')
	signed := []byte(token[:end])
	signature, err := base64.RawURLEncoding.DecodeString(token[end+1:])
	if err != nil {
		w.Fatal(err)
	}
	switch key := w.keys[alg].Public.(type) {
	case *rsa.PublicKey:
		return opFunc(func() error {
			digest := sha256.Sum256(signed)
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature)
		})
	case *ecdsa.PublicKey:
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return opFunc(func() error {
			digest := sha256.Sum256(signed)
			if !ecdsa.Verify(key, digest[:], r, s) {
				return errors.New("wrong signature")
			}
			return nil
		})
	}
	w.Fatal("no such algorithm: " + alg)
	return nil
}

// goJose checks tokens with go-jose.
func (w *world) goJose(alg string) op {
	key, token := w.keys[alg].Public, w.tokens[alg]
	algorithms := []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)}
	return opFunc(func() error {
		parsed, err := josejwt.ParseSigned(token, algorithms)
		if err != nil {
			return err
		}
		var claims josejwt.Claims
		all := map[string]any{}
		if err := parsed.Claims(key, &claims, &all); err != nil {
			return err
		}
		return claims.Validate(josejwt.Expected{Issuer: issuerURL, AnyAudience: josejwt.Audience{audience}, Time: time.Now()})
	})
}

// jwx checks tokens with lestrrat-go/jwx.
func (w *world) jwx(alg string) op {
	w.Helper()
	algorithm, ok := jwa.LookupSignatureAlgorithm(alg)
	if !ok {
		w.Fatal("no such algorithm: " + alg)
	}
	key, token := w.keys[alg].Public, []byte(w.tokens[alg])
	return opFunc(func() error {
		_, err := jwxjwt.Parse(token, jwxjwt.WithKey(algorithm, key), jwxjwt.WithIssuer(issuerURL), jwxjwt.WithAudience(audience), jwxjwt.WithRequiredClaim("exp"))
		return err
	})
}
