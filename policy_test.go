// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
)

func TestPolicyRefusesMethodsThatNoCallHas(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"", "/", "//", "pkg.Svc/M", "/pkg.Svc", "/pkg.Svc/", "//pkg.Svc/M", "/pkg.Svc/M/", "/pkg.Svc//M", "/*", "/*/M", "/pkg.*/M", "/pkg.Svc/M*", "/pkg.Svc/M N", "/pkg.Svc/%2A"} {
		if err := (grpcauth.Policy{method: {}}).Validate(); err == nil {
			t.Errorf("%q: no error", method)
		} else if !strings.Contains(err.Error(), "write") {
			t.Errorf("%q: %v does not say what to write", method, err)
		}
	}
	for _, method := range []string{"/pkg.Svc/M", "/Svc/M", "/pkg.Svc/*"} {
		if err := (grpcauth.Policy{method: {}}).Validate(); err != nil {
			t.Errorf("%q: %v", method, err)
		}
	}
}

func TestPolicyRefusesContradictions(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]grpcauth.Rule{
		"unknown access":               {Access: 4},
		"public with scopes":           {Access: grpcauth.Public, Scopes: []string{"a"}},
		"public with backends":         {Access: grpcauth.Public, Backends: []string{"a"}},
		"public with all backends":     {Access: grpcauth.Public, AllBackends: []string{"a"}},
		"any and all of backends":      {Backends: []string{"a"}, AllBackends: []string{"b"}},
		"empty one of all backends":    {AllBackends: []string{"a", ""}},
		"optional with any permission": {Access: grpcauth.Optional, AnyPermissions: []string{"a"}},
		"empty any permission":         {AnyPermissions: []string{""}},
		"empty any scope":              {AnyScopes: []string{""}},
		"public with age":              {Access: grpcauth.Public, MaxAge: time.Hour},
		"optional with scopes":         {Access: grpcauth.Optional, AnyScopes: []string{"a"}},
		"optional with binding":        {Access: grpcauth.Optional, RequireBound: true},
		"optional with ACR":            {Access: grpcauth.Optional, ACR: "gold"},
		"negative age":                 {MaxAge: -1},
		"empty scope":                  {Scopes: []string{""}},
		"empty permission":             {Permissions: []string{"a", ""}},
		"empty backend":                {Backends: []string{""}},
		"ACR of two words":             {ACR: "gold silver"},
		"ACR with a line feed":         {ACR: "gold\n"},
		"optional with permission":     {Access: grpcauth.Optional, Permissions: []string{"a"}},
	} {
		err := grpcauth.Policy{"/pkg.Svc/M": rule}.Validate()
		if err == nil || !strings.Contains(err.Error(), `"/pkg.Svc/M"`) {
			t.Errorf("%s: got %v, want an error that names the method", name, err)
		}
	}
}

func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		if v := recover(); v == nil {
			t.Errorf("%s: no panic", want)
		} else if s, ok := v.(string); !ok || !strings.Contains(s, want) {
			t.Errorf("panic %q, want one that names %q", v, want)
		}
	}()
	f()
}

func TestNewPanicsOnWrongConfiguration(t *testing.T) {
	t.Parallel()
	backend := grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
		return nil, grpcauth.ErrNoCredentials
	})
	policy := grpcauth.Policy{"/pkg.Svc/M": {}}
	for want, opts := range map[string][]grpcauth.Option{
		"option is nil":           {nil},
		"WithStreamRecheck":       {grpcauth.WithStreamRecheck(0)},
		"WithObserver":            {grpcauth.WithObserver(nil)},
		"WithErrorDomain":         {grpcauth.WithErrorDomain("")},
		"WithClock":               {grpcauth.WithClock(nil)},
		"two rules":               {grpcauth.WithPolicy(policy), grpcauth.WithPolicy(policy)},
		`"pkg"`:                   {grpcauth.WithPolicy(grpcauth.Policy{"pkg": {}})},
		"no backend is named":     {grpcauth.WithPolicy(grpcauth.Policy{"/pkg.Svc/M": {Backends: []string{"jwt"}}})},
		`is named "mtls"`:         {grpcauth.WithPolicy(grpcauth.Policy{"/pkg.Svc/M": {AllBackends: []string{"mtls"}}})},
		"WithBackends":            {grpcauth.WithBackends(map[string]grpcauth.Backend{"": backend})},
		`WithBackends: "nothing"`: {grpcauth.WithBackends(map[string]grpcauth.Backend{"nothing": nil})},
		"WithLoader":              {grpcauth.WithLoader[int](nil)},
	} {
		mustPanic(t, want, func() { grpcauth.New(backend, opts...) })
	}
	mustPanic(t, "backend is nil", func() { grpcauth.New(nil) })
	mustPanic(t, "backend is nil", func() { grpcauth.New(grpcauth.BackendFunc(nil)) })
	mustPanic(t, "a backend is nil", func() { grpcauth.Chain(backend, nil) })
	mustPanic(t, "a backend is nil", func() { grpcauth.All(nil) })
	mustPanic(t, "server is nil", func() { grpcauth.New(backend).Registrar(nil) })
}
