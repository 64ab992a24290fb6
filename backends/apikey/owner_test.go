// SPDX-License-Identifier: Apache-2.0

package apikey_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
)

// owned makes one call with a key whose owner is this user.
func owned(t *testing.T, key apikey.Key, owner *grpcauth.User) *grpcauth.User {
	t.Helper()
	w := newWorld(t, apikey.Options{Owner: func(context.Context, *apikey.Key) (*grpcauth.User, error) { return owner, nil }})
	text, _ := w.create(t, key)
	user, err := w.call(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func TestKeyIsNeverWiderThanItsOwnerNorThanItself(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ key, owner, want []string }{
		"nothing is said of the owner's":     {[]string{"read", "write"}, nil, []string{"read", "write"}},
		"the owner has none":                 {[]string{"read", "write"}, []string{}, nil},
		"the owner has more":                 {[]string{"read"}, []string{"read", "write"}, []string{"read"}},
		"the owner has less":                 {[]string{"read", "write"}, []string{"write"}, []string{"write"}},
		"the owner has others":               {[]string{"read"}, []string{"delete"}, nil},
		"the key has none":                   {nil, []string{"read"}, nil},
		"neither has any":                    {nil, nil, nil},
		"case counts":                        {[]string{"read"}, []string{"Read"}, nil},
		"a beginning is something else":      {[]string{"read"}, []string{"rea", "read2"}, nil},
		"the order is the key's, then owner": {[]string{"c", "b", "a"}, []string{"a", "b", "c"}, []string{"c", "b", "a"}},
	} {
		user := owned(t, apikey.Key{Permissions: test.key}, &grpcauth.User{Permissions: test.owner})
		if !slices.Equal(user.Permissions, test.want) {
			t.Errorf("%s: permissions: got %v, want %v", name, user.Permissions, test.want)
		}
		user = owned(t, apikey.Key{Scopes: test.key}, &grpcauth.User{Scopes: test.owner})
		if !slices.Equal(user.Scopes, test.want) {
			t.Errorf("%s: scopes: got %v, want %v", name, user.Scopes, test.want)
		}
	}
}

func TestOfTwoWidePermissionsTheNarrowerStays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ key, owner, want []string }{
		"the owner's is wider":        {[]string{"orders.read"}, []string{"orders.*"}, []string{"orders.read"}},
		"the owner may do everything": {[]string{"orders.*", "x"}, []string{"*"}, []string{"orders.*", "x"}},
		"the key may do everything":   {[]string{"*"}, []string{"orders.*", "x"}, []string{"orders.*", "x"}},
		"both are the same":           {[]string{"orders.*"}, []string{"orders.*"}, []string{"orders.*"}},
		"both are wide":               {[]string{"orders.read.*"}, []string{"orders.*"}, []string{"orders.read.*"}},
		"they do not overlap":         {[]string{"orders.*"}, []string{"orders", "orders-old.read", "users.*"}, nil},
		"each is wider somewhere":     {[]string{"a.*", "b.x"}, []string{"a.x", "b.*"}, []string{"b.x", "a.x"}},
	} {
		user := owned(t, apikey.Key{Permissions: test.key}, &grpcauth.User{Permissions: test.owner})
		if !slices.Equal(user.Permissions, test.want) {
			t.Errorf("%s: got %v, want %v", name, user.Permissions, test.want)
		}
	}
}

func TestStarInAScopeIsAnOrdinaryCharacter(t *testing.T) {
	t.Parallel()
	for _, test := range [][2]string{{"orders.*", "orders.read"}, {"orders.read", "orders.*"}, {"*", "read"}} {
		if user := owned(t, apikey.Key{Scopes: test[:1]}, &grpcauth.User{Scopes: test[1:]}); len(user.Scopes) > 0 {
			t.Errorf("%v: got %v", test, user.Scopes)
		}
	}
}

func TestOwnerGivesNameAndEarlierEnd(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ key, owner, want time.Time }{
		{time.Time{}, time.Time{}, time.Time{}},
		{time.Time{}, start.Add(time.Hour), start.Add(time.Hour)},
		{start.Add(time.Hour), time.Time{}, start.Add(time.Hour)},
		{start.Add(time.Hour), start.Add(time.Minute), start.Add(time.Minute)},
		{start.Add(time.Minute), start.Add(time.Hour), start.Add(time.Minute)},
	} {
		user := owned(t, apikey.Key{Name: "nightly", Issuer: "us", Expiry: test.key}, &grpcauth.User{
			Name: "Alice", Expiry: test.owner, Method: "other", ACR: "high", AuthTime: start, RawClaims: []byte(`{"admin":true}`), Binding: grpcauth.Binding{JKT: "x"},
		})
		if user.ID != "alice" || user.Issuer != "us" || user.Name != "Alice" || user.Method != "apikey" || !user.Expiry.Equal(test.want) {
			t.Errorf("got %+v, want her until %v", user, test.want)
		}
		if user.ACR != "" || !user.AuthTime.IsZero() || string(user.RawClaims) == `{"admin":true}` || user.Binding != (grpcauth.Binding{}) {
			t.Errorf("got %+v: what the key did not prove is not the owner's to say", user)
		}
	}
}

func TestOwnerAnswersDecide(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		user *grpcauth.User
		err  error
		want codes.Code
	}{
		"there":               {&grpcauth.User{ID: "alice", Issuer: "us"}, nil, codes.OK},
		"without an ID":       {&grpcauth.User{}, nil, codes.OK},
		"gone":                {nil, nil, codes.Unauthenticated},
		"refused":             {nil, grpcauth.Errorf(grpcauth.CodeForbidden, "suspended"), codes.PermissionDenied},
		"not to be asked":     {nil, errors.New("connection refused"), codes.Unavailable},
		"asked too slowly":    {nil, context.DeadlineExceeded, codes.Unavailable},
		"no credentials":      {nil, grpcauth.ErrNoCredentials, codes.Internal},
		"another user":        {&grpcauth.User{ID: "bob"}, nil, codes.Internal},
		"of another issuer":   {&grpcauth.User{ID: "alice", Issuer: "them"}, nil, codes.Internal},
		"both user and error": {&grpcauth.User{ID: "alice"}, errors.New("half an answer"), codes.Unavailable},
	} {
		w := newWorld(t, apikey.Options{Owner: func(context.Context, *apikey.Key) (*grpcauth.User, error) { return test.user, test.err }})
		text, _ := w.create(t, apikey.Key{Issuer: "us"})
		_, err := grpcauth.New(w, grpcauth.WithClock(w.clock.Now)).Authenticate(incoming(t.Context(), text), method)
		if status.Code(err) != test.want {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

func TestOwnerIsAskedOnEachCallWithARightKeyOnly(t *testing.T) {
	t.Parallel()
	for _, remember := range []time.Duration{0, time.Hour} {
		asked, gone := 0, false
		w := newWorld(t, apikey.Options{RememberFor: remember, Owner: func(_ context.Context, key *apikey.Key) (*grpcauth.User, error) {
			asked++
			if key.Owner != "alice" || !slices.Equal(key.Scopes, []string{"read"}) {
				t.Errorf("asked for %+v", key)
			}
			key.Owner, key.Scopes[0] = "vandal", "vandal" // a copy
			if gone {
				return nil, nil
			}
			return &grpcauth.User{}, nil
		}})
		text, _ := w.create(t, apikey.Key{Scopes: []string{"read"}})
		for range 3 {
			w.expect(t, text, "alice")
		}
		gone = true
		w.expect(t, text, "CREDENTIALS_INVALID")
		if asked != 4 {
			t.Errorf("asked %d times, want 4", asked)
		}
		disabled, _ := w.create(t, apikey.Key{Disabled: true})
		w.expect(t, disabled, "CREDENTIALS_INVALID")
		w.expect(t, text[:len(text)-1], "CREDENTIALS_MALFORMED")
		if asked != 4 {
			t.Error("asked for a key that is no good")
		}
	}
}
