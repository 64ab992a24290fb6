// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"

	"github.com/grpcauth/grpcauth"
)

// compare reports whether some caller whom one rule refuses is let in by the other: gains, if the newer one lets her in, loses, if the older one did.
//
// Callers are nobody, and users whom any of the backends accept, with any scopes, permissions, age and class of their login, with and without a key that their
// credential is bound to. Whom a backend accepts is not known: one is taken to accept others than another one, and than the default backend.
func compare(older, newer grpcauth.Rule) (gains, loses bool) {
	return !within(newer, older), !within(older, newer)
}

// within reports whether whoever is let in by the narrow rule is let in by the wide one.
func within(narrow, wide grpcauth.Rule) bool {
	everybody := func(r grpcauth.Rule) bool { return r.Access == grpcauth.Public || r.Access == grpcauth.Optional } // a caller may come as nobody
	switch {
	case narrow.Access == grpcauth.Denied || everybody(wide):
		return true
	case wide.Access == grpcauth.Denied || everybody(narrow):
		return false
	}
	return eachWithin(ways(narrow), ways(wide), func(n, w []string) bool { return contains(n, w, same) }) &&
		demands(narrow.Scopes, narrow.AnyScopes, wide.Scopes, wide.AnyScopes, same) &&
		demands(narrow.Permissions, narrow.AnyPermissions, wide.Permissions, wide.AnyPermissions, covers) &&
		(wide.MaxAge == 0 || narrow.MaxAge > 0 && narrow.MaxAge <= wide.MaxAge) &&
		(wide.ACR == "" || narrow.ACR == wide.ACR) &&
		(!wide.RequireBound || narrow.RequireBound)
}

// ways are the sets of backends each of which suffices.
func ways(r grpcauth.Rule) (all [][]string) {
	if len(r.AllBackends) > 0 {
		return [][]string{r.AllBackends}
	}
	for _, name := range r.Backends {
		all = append(all, []string{name})
	}
	if all == nil {
		all = [][]string{{""}} // the default backend, which has no name
	}
	return all
}

// eachWithin reports whether each of some is within one of others.
func eachWithin[T any](some, others []T, in func(one, other T) bool) bool {
	return !slices.ContainsFunc(some, func(one T) bool {
		return !slices.ContainsFunc(others, func(other T) bool { return in(one, other) })
	})
}

// contains reports whether each of the wanted is implied by one of what there is.
func contains(there, wanted []string, implies func(one, other string) bool) bool {
	return eachWithin(wanted, there, func(want, is string) bool { return implies(is, want) })
}

// demands reports whether what the narrow lists ask (all of the first, one of the second) asks for all that the wide lists ask. Each is a list of
// alternatives, all of which must be met; one that asks more has no alternative that the other lacks.
func demands(narrowAll, narrowAny, wideAll, wideAny []string, implies func(one, other string) bool) bool {
	return eachWithin(alternatives(wideAll, wideAny), alternatives(narrowAll, narrowAny), func(w, n []string) bool {
		return eachWithin(n, w, implies)
	})
}

func alternatives(all, anyOf []string) (each [][]string) {
	for _, one := range all {
		each = append(each, []string{one})
	}
	if len(anyOf) > 0 {
		each = append(each, anyOf)
	}
	return each
}

func same(one, other string) bool { return one == other }

// covers reports whether whoever has one permission has the other.
func covers(one, other string) bool {
	return (&grpcauth.User{Permissions: []string{one}}).HasPermission(other)
}
