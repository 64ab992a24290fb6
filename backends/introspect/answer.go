// SPDX-License-Identifier: Apache-2.0

package introspect

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/internal/strictjson"
)

// answer is what the server says of a token (RFC 7662, section 2.2).
type answer struct {
	raw                                []byte
	active, hasActive, hasExp          bool
	sub, clientID, iss, acr, typ, name string
	audience, scopes, permissions      []string
	exp, nbf, authTime                 int64 // zero if absent
	binding                            grpcauth.Binding
	unconfirmed                        error // why the binding cannot be checked
}

// parse reads an answer. An error means that it is none.
func (v *Verifier) parse(body []byte) (*answer, error) {
	a := &answer{raw: body}
	err := strictjson.Object(body, func(name string, value strictjson.Value) error { return a.member(&v.opts, name, value) })
	switch {
	case err != nil:
		return nil, err
	case !a.hasActive:
		return nil, errors.New("it does not say whether the token is active")
	}
	return a, nil
}

func (a *answer) member(opts *Options, name string, value strictjson.Value) (err error) {
	switch name {
	case "active":
		if a.active, a.hasActive = value.Bool(); !a.hasActive {
			return errors.New("active is not a boolean")
		}
	case "sub":
		a.sub, err = text(name, value, 255)
	case "client_id":
		a.clientID, err = text(name, value, 1024)
	case "iss":
		a.iss, err = text(name, value, 2048)
	case "acr":
		a.acr, err = text(name, value, 1024)
	case "token_type":
		a.typ, err = text(name, value, 64)
	case "aud":
		a.audience, err = list(name, value, false)
	case "exp":
		a.exp, err = seconds(name, value)
		a.hasExp = true
	case "nbf":
		a.nbf, err = seconds(name, value)
	case "auth_time":
		a.authTime, err = seconds(name, value)
	case "cnf":
		a.binding, a.unconfirmed = confirmation(value)
	}
	if err == nil && name == opts.ScopeClaim {
		a.scopes, err = list(name, value, true)
	}
	if err == nil && name == opts.PermissionsClaim {
		a.permissions, err = list(name, value, true)
	}
	if name == opts.NameClaim {
		a.name, _ = value.String() // it is for display: another type is no reason to refuse
	}
	return err
}

// confirmation reads cnf (RFC 7800). A method that is not known here cannot be checked, so the token is refused.
func confirmation(value strictjson.Value) (b grpcauth.Binding, err error) {
	if value.Kind() != strictjson.ObjectKind {
		return b, errors.New("cnf is not an object")
	}
	err = value.Members(func(name string, value strictjson.Value) (err error) {
		switch name {
		case "x5t#S256":
			b.CertSHA256, err = thumbprint(value)
		case "jkt":
			b.JKT, err = thumbprint(value)
		default:
			err = errors.New("cnf has a confirmation method that is not supported")
		}
		return err
	})
	if err == nil && b == (grpcauth.Binding{}) {
		err = errors.New("cnf is empty")
	}
	return b, err
}

// thumbprint takes the canonical base64url of a SHA-256 digest.
func thumbprint(value strictjson.Value) (string, error) {
	s, ok := value.String()
	digest, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if !ok || err != nil || len(digest) != 32 || strings.ContainsAny(s, "\r\n") {
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

// list takes an array of strings or one string, which is split at its spaces if words is set.
func list(name string, value strictjson.Value, words bool) ([]string, error) {
	if s, ok := value.String(); ok {
		if words {
			return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }), nil
		}
		return []string{s}, nil
	}
	many, ok := value.Strings()
	if !ok {
		return nil, errors.New(name + " is neither a string nor an array of strings")
	}
	return many, nil
}

func invalid(cause string) error {
	return grpcauth.Errorf(grpcauth.CodeInvalid, "introspect: %s", cause)
}

// judge says whose an active token is.
func (v *Verifier) judge(a *answer) (*grpcauth.User, error) {
	now := v.opts.Now()
	switch {
	case !a.active:
		return nil, invalid("the token is not active")
	case v.opts.Issuer != "" && a.iss != "" && a.iss != v.opts.Issuer:
		return nil, invalid("the issuer is another one")
	case !v.opts.AnyAudience && !slices.ContainsFunc(a.audience, func(aud string) bool { return slices.Contains(v.opts.Audiences, aud) }):
		return nil, invalid("the audience is another one")
	case a.unconfirmed != nil:
		return nil, invalid(a.unconfirmed.Error())
	case strings.EqualFold(a.typ, "DPoP") && a.binding.JKT == "":
		return nil, invalid("the token is of type DPoP and not bound to a key")
	case a.sub == "" && (!v.opts.ClientIDAsSubject || a.clientID == ""):
		return nil, invalid("no sub")
	case time.Unix(a.nbf, 0).After(now):
		return nil, bearer.Fleeting(grpcauth.Errorf(grpcauth.CodeInvalid, "introspect: not valid before %v by this clock, though the server calls it active", time.Unix(a.nbf, 0).UTC()))
	case a.hasExp && !now.Before(time.Unix(a.exp, 0)):
		return nil, grpcauth.Errorf(grpcauth.CodeExpired, "introspect: expired at %v by this clock, though the server calls it active", time.Unix(a.exp, 0).UTC())
	}
	user := &grpcauth.User{
		ID: a.sub, Issuer: v.opts.Issuer, Name: a.name, Scopes: a.scopes, Permissions: a.permissions, ACR: a.acr, RawClaims: a.raw, Binding: a.binding,
	}
	if user.ID == "" {
		user.ID = a.clientID
	}
	if user.Issuer == "" {
		user.Issuer = a.iss
	}
	if a.hasExp {
		user.Expiry = time.Unix(a.exp, 0)
	}
	if a.authTime != 0 {
		user.AuthTime = time.Unix(a.authTime, 0)
	}
	if v.opts.Map != nil {
		if err := v.opts.Map(user); err != nil {
			return nil, err
		}
	}
	return user, nil
}
