// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
)

var modelStart = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

// modelCaller is one who might call: nobody, if she has no user.
type modelCaller struct {
	user     *grpcauth.User
	accepted []string // the backends that accept her; "" is the default
}

// modelCallers are all that can be told apart by the rules of modelRule.
func modelCallers() []modelCaller {
	callers := []modelCaller{{}}
	subsets := func(of ...string) (all [][]string) {
		for mask := range 1 << len(of) {
			var set []string
			for i, one := range of {
				if mask>>i&1 == 1 {
					set = append(set, one)
				}
			}
			all = append(all, set)
		}
		return all
	}
	for _, accepted := range subsets("", "a", "b") {
		for _, scopes := range subsets("s", "t") {
			for _, permissions := range subsets("o.*", "o.r", "x") {
				for _, age := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
					for _, acr := range []string{"", "gold"} {
						for _, key := range []string{"", "k"} {
							callers = append(callers, modelCaller{&grpcauth.User{
								ID: "u", Scopes: scopes, Permissions: permissions, AuthTime: modelStart.Add(-age), ACR: acr, Binding: grpcauth.Binding{JKT: key},
							}, accepted})
						}
					}
				}
			}
		}
	}
	return callers
}

func modelRule(r *rand.Rand) grpcauth.Rule {
	some := func(of ...string) (list []string) {
		for _, one := range of {
			if r.IntN(3) == 0 {
				list = append(list, one)
			}
		}
		return list
	}
	rule := grpcauth.Rule{Access: grpcauth.Access(r.IntN(8))}
	if rule.Access > grpcauth.Denied {
		rule.Access = grpcauth.Required
	}
	if rule.Access == grpcauth.Public {
		return rule
	}
	if r.IntN(2) == 0 {
		rule.Backends = some("a", "b")
	} else {
		rule.AllBackends = some("a", "b")
	}
	if rule.Access == grpcauth.Optional {
		return rule
	}
	rule.Scopes, rule.AnyScopes = some("s", "t"), some("s", "t")
	rule.Permissions, rule.AnyPermissions = some("o.*", "o.r", "x"), some("o.*", "o.r", "x")
	rule.MaxAge = []time.Duration{0, 0, 2 * time.Minute, 2 * time.Hour}[r.IntN(4)]
	rule.ACR = []string{"", "", "gold"}[r.IntN(3)]
	rule.RequireBound = r.IntN(3) == 0
	return rule
}

// modelLets asks the library whether a rule lets a caller in.
func modelLets(auth *grpcauth.Interceptor, rule grpcauth.Rule, c modelCaller) bool {
	if auth.Allows(modelMethod, nil) == nil { // she may come as nobody
		return true
	}
	if c.user == nil {
		return false
	}
	has := func(name string) bool { return slices.Contains(c.accepted, name) }
	switch {
	case len(rule.AllBackends) > 0:
		if slices.ContainsFunc(rule.AllBackends, func(name string) bool { return !has(name) }) {
			return false
		}
	case len(rule.Backends) > 0:
		if !slices.ContainsFunc(rule.Backends, has) {
			return false
		}
	case !has(""):
		return false
	}
	return auth.Allows(modelMethod, c.user) == nil
}

const modelMethod = "/shop.v1.Orders/Get"

// Somebody gains exactly if there is a caller whom the older rule refuses and the newer one lets in.
func TestCompareAgreesWithAllCallersThereCanBe(t *testing.T) {
	t.Parallel()
	callers := modelCallers()
	backend := grpcauth.BackendFunc(func(context.Context, *grpcauth.Request) (*grpcauth.User, error) {
		return nil, grpcauth.ErrNoCredentials
	})
	guard := func(rule grpcauth.Rule) *grpcauth.Interceptor {
		return grpcauth.New(backend, grpcauth.WithPolicy(grpcauth.Policy{modelMethod: rule}), grpcauth.WithClock(func() time.Time { return modelStart }),
			grpcauth.WithBackends(map[string]grpcauth.Backend{"a": backend, "b": backend}))
	}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	gained, lost := 0, 0
	for range 1_000 {
		older, newer := modelRule(r), modelRule(r)
		if r.IntN(4) == 0 {
			newer = older
			newer.Scopes = modelRule(r).Scopes
			if newer.Access != grpcauth.Required {
				newer.Scopes = nil
			}
		}
		before, after := guard(older), guard(newer)
		wantGains, wantLoses := false, false
		for _, c := range callers {
			was, is := modelLets(before, older, c), modelLets(after, newer, c)
			wantGains, wantLoses = wantGains || is && !was, wantLoses || was && !is
		}
		if gains, loses := compare(older, newer); gains != wantGains || loses != wantLoses {
			t.Fatalf("%+v\nto %+v:\ngot gains %t, loses %t; want %t, %t", older, newer, gains, loses, wantGains, wantLoses)
		}
		if wantGains {
			gained++
		}
		if wantLoses {
			lost++
		}
	}
	if gained < 150 || lost < 150 || gained > 950 {
		t.Errorf("%d gains and %d losses: the rules are too much alike", gained, lost)
	}
}
