// SPDX-License-Identifier: Apache-2.0

package introspect

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"time"
)

// assertionLifetime is short: an assertion is made for one request.
const assertionLifetime = time.Minute

// authentication returns how this service proves to the server who it is. The error names the option that is wrong.
func (o Options) authentication() (func(context.Context, *http.Request, url.Values) error, error) {
	ways := 0
	for _, given := range []bool{o.ClientSecret != "", o.PrivateKey != nil, o.AccessToken != nil} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return nil, errors.New("ClientSecret, PrivateKey and AccessToken: write exactly one of them, since servers answer nobody they do not know")
	case o.ClientID == "" && o.AccessToken == nil:
		return nil, errors.New("ClientID is empty: write the name by which the server knows this service")
	case o.SecretInBody && o.ClientSecret == "":
		return nil, errors.New("SecretInBody is set without a ClientSecret")
	case o.PrivateKey == nil && (o.KeyID != "" || o.Audience != ""):
		return nil, errors.New("KeyID or Audience is set without a PrivateKey")
	}
	id, secret := o.ClientID, o.ClientSecret
	switch {
	case o.AccessToken != nil:
		source := o.AccessToken
		return func(ctx context.Context, req *http.Request, _ url.Values) error {
			token, err := source(ctx)
			if err != nil {
				return fmt.Errorf("the service's own access token: %w", err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			return nil
		}, nil
	case o.PrivateKey != nil:
		return o.assertion()
	case o.SecretInBody:
		return func(_ context.Context, _ *http.Request, form url.Values) error {
			form.Set("client_id", id)
			form.Set("client_secret", secret)
			return nil
		}, nil
	}
	return func(_ context.Context, req *http.Request, _ url.Values) error {
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) // escaped first, as RFC 6749, section 2.3.1, has it
		return nil
	}, nil
}

// assertion signs a JWT for each request (RFC 7523, section 3).
func (o Options) assertion() (func(context.Context, *http.Request, url.Values) error, error) {
	key, id, keyID, audience, now := o.PrivateKey, o.ClientID, o.KeyID, o.Audience, o.Now
	alg, err := algorithmOf(key)
	if err != nil {
		return nil, err
	}
	if audience == "" {
		audience = o.URL
	}
	return func(_ context.Context, _ *http.Request, form url.Values) error {
		header := map[string]string{"alg": alg, "typ": "JWT"}
		if keyID != "" {
			header["kid"] = keyID
		}
		at := now()
		signed, err := sign(key, alg, header, map[string]any{
			"iss": id, "sub": id, "aud": audience, "jti": rand.Text(), "iat": at.Unix(), "exp": at.Add(assertionLifetime).Unix(),
		})
		if err != nil {
			return fmt.Errorf("the service's own assertion: %w", err)
		}
		form.Set("client_id", id)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", signed)
		return nil
	}, nil
}

func algorithmOf(key crypto.Signer) (string, error) {
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		if public.N.BitLen() >= 2048 {
			return "RS256", nil
		}
	case *ecdsa.PublicKey:
		switch public.Curve.Params().BitSize {
		case 256:
			return "ES256", nil
		case 384:
			return "ES384", nil
		}
	case ed25519.PublicKey:
		return "EdDSA", nil
	}
	return "", errors.New("PrivateKey is of no use: write an RSA key of 2048 bits or more, a P-256, a P-384 or an Ed25519 key")
}

func sign(key crypto.Signer, alg string, header map[string]string, claims map[string]any) (string, error) {
	head, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString
	signed := text(head) + "." + text(body)
	digest, hash := []byte(signed), crypto.Hash(0) // Ed25519 hashes by itself
	switch alg {
	case "RS256", "ES256":
		sum := sha256.Sum256(digest)
		digest, hash = sum[:], crypto.SHA256
	case "ES384":
		sum := sha512.Sum384(digest)
		digest, hash = sum[:], crypto.SHA384
	}
	signature, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		return "", err
	}
	if size := map[string]int{"ES256": 32, "ES384": 48}[alg]; size > 0 {
		if signature, err = fixed(signature, size); err != nil {
			return "", err
		}
	}
	return signed + "." + text(signature), nil
}

// fixed makes the two numbers of an ECDSA signature of that many bytes each (RFC 7518, section 3.4).
func fixed(der []byte, size int) ([]byte, error) {
	var numbers struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &numbers); err != nil || len(rest) > 0 || numbers.R.BitLen() > 8*size || numbers.S.BitLen() > 8*size {
		return nil, errors.New("the key made a signature that is none")
	}
	signature := make([]byte, 2*size)
	numbers.R.FillBytes(signature[:size])
	numbers.S.FillBytes(signature[size:])
	return signature, nil
}
