// SPDX-License-Identifier: Apache-2.0

package jwt

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/strictjson"
)

const (
	maxKeyID   = 256
	maxSubject = 255 // OpenID Connect Core, section 2
)

// parsed is a token taken apart once: what is checked is what is reported.
type parsed struct {
	signed       string // what the signature covers
	signature    []byte
	alg, kid     string
	typ          string
	raw          []byte // the claims
	iss, sub     string
	jti          string
	audience     strictjson.Value
	exp          int64
	nbf, iat     int64 // zero if absent
	authTime     int64
	acr          string
	binding      grpcauth.Binding
	hasExp       bool
	hasClientID  bool
	mapped       []strictjson.Value // by Verifier.claims
	mappedExists []bool
}

var errNotJWS = errors.New("not a JWS in compact form")

// parse takes a compact JWS apart (RFC 7515, section 7.1) and checks all that does not need an issuer.
func (v *Verifier) parse(token string) (*parsed, error) {
	if len(token) > v.max {
		return nil, errors.New("too long")
	}
	header, rest, _ := strings.Cut(token, ".")
	claims, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.IndexByte(signature, '.') >= 0 {
		return nil, errNotJWS
	}
	p := &parsed{signed: token[:len(header)+1+len(claims)], mapped: make([]strictjson.Value, len(v.claims)), mappedExists: make([]bool, len(v.claims))}
	decoded, err := decode(header)
	if err != nil {
		return nil, err
	}
	if err := strictjson.Object(decoded, p.header); err != nil {
		return nil, err
	}
	if p.alg == "" {
		return nil, errors.New("no alg")
	}
	if p.raw, err = decode(claims); err != nil {
		return nil, err
	}
	if err := strictjson.Object(p.raw, func(name string, value strictjson.Value) error { return p.claim(v.claims, name, value) }); err != nil {
		return nil, err
	}
	if p.signature, err = decode(signature); err != nil {
		return nil, err
	}
	if len(p.signature) == 0 {
		return nil, errors.New("no signature")
	}
	return p, nil
}

var base64url = base64.RawURLEncoding.Strict()

// decode takes canonical unpadded base64url only. The standard decoder skips line breaks, which would give one token many texts.
func decode(part string) ([]byte, error) {
	if strings.IndexByte(part, '\n') >= 0 || strings.IndexByte(part, '\r') >= 0 {
		return nil, errNotJWS
	}
	out, err := base64url.DecodeString(part)
	if err != nil {
		return nil, errNotJWS // the decoder's error is about a byte of the token
	}
	return out, nil
}

// header reads the members that decide. Keys and addresses of keys in it (jwk, jku, x5u, x5c) are not looked at.
func (p *parsed) header(name string, value strictjson.Value) (err error) {
	switch name {
	case "alg":
		p.alg, err = text(name, value, 16)
	case "kid":
		p.kid, err = text(name, value, maxKeyID)
	case "typ":
		if p.typ, err = text(name, value, 64); err == nil {
			if p.typ = normalType(p.typ); p.typ == "" {
				err = errors.New("typ names no type")
			}
		}
	case "crit", "b64", "zip", "enc", "p2c", "p2s", "epk":
		return errors.New("the header asks for what is not supported: " + name)
	}
	return err
}

// claim reads the registered claims (RFC 7519, section 4.1) and keeps those that issuers map.
func (p *parsed) claim(mapped []string, name string, value strictjson.Value) (err error) {
	if i := slices.Index(mapped, name); i >= 0 {
		p.mapped[i], p.mappedExists[i] = value, true
	}
	switch name {
	case "iss":
		p.iss, err = text(name, value, 2048)
	case "sub":
		p.sub, err = text(name, value, maxSubject)
	case "aud":
		p.audience = value
	case "exp":
		p.exp, err = seconds(name, value)
		p.hasExp = true
	case "nbf":
		p.nbf, err = seconds(name, value)
	case "iat":
		p.iat, err = seconds(name, value)
	case "auth_time":
		p.authTime, err = seconds(name, value)
	case "acr":
		p.acr, err = text(name, value, 1024)
	case "cnf":
		err = p.confirmation(value)
	case "client_id":
		_, err = text(name, value, 1024)
		p.hasClientID = true
	case "jti":
		p.jti, err = text(name, value, 1024)
	}
	return err
}

// confirmation reads cnf (RFC 7800). A method that is not known here cannot be checked, so the token is refused.
func (p *parsed) confirmation(value strictjson.Value) error {
	if value.Kind() != strictjson.ObjectKind {
		return errors.New("cnf is not an object")
	}
	err := value.Members(func(name string, value strictjson.Value) (err error) {
		switch name {
		case "x5t#S256":
			p.binding.CertSHA256, err = thumbprint(value)
		case "jkt":
			p.binding.JKT, err = thumbprint(value)
		default:
			err = errors.New("cnf has a confirmation method that is not supported")
		}
		return err
	})
	if err == nil && p.binding == (grpcauth.Binding{}) {
		err = errors.New("cnf is empty")
	}
	return err
}

// thumbprint takes the base64url of a SHA-256 digest.
func thumbprint(value strictjson.Value) (string, error) {
	s, ok := value.String()
	digest, err := decode(s)
	if !ok || err != nil || len(digest) != 32 {
		return "", errors.New("cnf has a malformed thumbprint")
	}
	return s, nil
}

func text(name string, value strictjson.Value, most int) (string, error) {
	s, ok := value.String()
	if !ok || s == "" || len(s) > most {
		return "", errors.New(name + " is not a string, empty or too long")
	}
	return s, nil
}

func seconds(name string, value strictjson.Value) (int64, error) {
	n, ok := value.Seconds()
	if !ok {
		return 0, errors.New(name + " is not a number of seconds")
	}
	return n, nil
}

// normalType makes types comparable (RFC 7515, section 4.1.9): media types do not depend on case, and "application/" may be left out.
func normalType(typ string) string { return strings.TrimPrefix(strings.ToLower(typ), "application/") }
