// SPDX-License-Identifier: Apache-2.0

package authservice_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/grpcauth/grpcauth/authservice"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

func withKey(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-api-key", key)
}

func (s *site) key(tb testing.TB, ctx context.Context, req *grpcauthv1.CreateAPIKeyRequest) *grpcauthv1.CreateAPIKeyResponse { //nolint:revive // tb first, as everywhere here
	tb.Helper()
	resp, err := s.CreateAPIKey(ctx, req)
	if err != nil {
		tb.Fatal(err)
	}
	return resp
}

func TestKeyMayDoWhatItWasMadeFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine := s.session(t, "alice")
	end := start.Add(time.Hour)
	made := s.key(t, mine, &grpcauthv1.CreateAPIKeyRequest{Name: "ci", Scopes: []string{"read"}, Permissions: []string{"orders.read"}, Expiry: timestamppb.New(end)})
	resp, err := s.WhoAmI(withKey(t.Context(), made.GetSecret()), &grpcauthv1.WhoAmIRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if u := resp.GetUser(); u.GetId() != "alice" || u.GetIssuer() != issuerURL || u.GetMethod() != "apikey" || !slices.Equal(u.GetScopes(), []string{"read"}) || !slices.Equal(u.GetPermissions(), []string{"orders.read"}) || !u.GetExpiry().AsTime().Equal(end) {
		t.Errorf("got %v", u)
	}
	list, err := s.ListAPIKeys(mine, &grpcauthv1.ListAPIKeysRequest{})
	if err != nil || len(list.GetKeys()) != 1 || list.GetKeys()[0].GetId() != made.GetKey().GetId() || list.GetKeys()[0].GetName() != "ci" {
		t.Errorf("got %v, %v", list, err)
	}
	if strings.Contains(list.String(), made.GetSecret()) {
		t.Error("the list shows the secret")
	}
	if _, err := s.RevokeAPIKey(mine, &grpcauthv1.RevokeAPIKeyRequest{Id: made.GetKey().GetId()}); err != nil {
		t.Error(err)
	}
	if got := s.who(withKey(t.Context(), made.GetSecret())); got != "CREDENTIALS_INVALID" {
		t.Errorf("a revoked key: got %s", got)
	}
}

func TestKeyIsNeverWiderThanItsMaker(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine := s.session(t, "alice")
	for name, test := range map[string]struct {
		req  *grpcauthv1.CreateAPIKeyRequest
		want string
	}{
		"nothing":              {&grpcauthv1.CreateAPIKeyRequest{}, "OK"},
		"the same":             {&grpcauthv1.CreateAPIKeyRequest{Scopes: []string{"read", "write"}, Permissions: []string{"orders.*"}}, "OK"},
		"narrower permission":  {&grpcauthv1.CreateAPIKeyRequest{Permissions: []string{"orders.read.*"}}, "OK"},
		"another scope":        {&grpcauthv1.CreateAPIKeyRequest{Scopes: []string{"read", "admin"}}, "PERMISSION_DENIED"},
		"another case":         {&grpcauthv1.CreateAPIKeyRequest{Scopes: []string{"Read"}}, "PERMISSION_DENIED"},
		"every permission":     {&grpcauthv1.CreateAPIKeyRequest{Permissions: []string{"*"}}, "PERMISSION_DENIED"},
		"permission of others": {&grpcauthv1.CreateAPIKeyRequest{Permissions: []string{"orders.read", "users.read"}}, "PERMISSION_DENIED"},
		"the segment alone":    {&grpcauthv1.CreateAPIKeyRequest{Permissions: []string{"orders"}}, "PERMISSION_DENIED"},
		"empty scope":          {&grpcauthv1.CreateAPIKeyRequest{Scopes: []string{""}}, "InvalidArgument"},
		"scope with a space":   {&grpcauthv1.CreateAPIKeyRequest{Scopes: []string{"read write"}}, "InvalidArgument"},
		"empty permission":     {&grpcauthv1.CreateAPIKeyRequest{Permissions: []string{""}}, "InvalidArgument"},
		"many scopes":          {&grpcauthv1.CreateAPIKeyRequest{Scopes: slices.Repeat([]string{"read"}, 101)}, "InvalidArgument"},
		"long name":            {&grpcauthv1.CreateAPIKeyRequest{Name: strings.Repeat("x", 129)}, "InvalidArgument"},
		"name with a line":     {&grpcauthv1.CreateAPIKeyRequest{Name: "a\nb"}, "InvalidArgument"},
		"expired":              {&grpcauthv1.CreateAPIKeyRequest{Expiry: timestamppb.New(start)}, "InvalidArgument"},
		"no time at all":       {&grpcauthv1.CreateAPIKeyRequest{Expiry: &timestamppb.Timestamp{Seconds: 1 << 60}}, "InvalidArgument"},
	} {
		_, err := s.CreateAPIKey(mine, test.req)
		if got := codeOf(err); got != test.want && (test.want != "OK" || err != nil) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	list, err := s.ListAPIKeys(mine, &grpcauthv1.ListAPIKeysRequest{})
	if err != nil || len(list.GetKeys()) != 3 {
		t.Errorf("got %v, %v", list, err)
	}
}

// Whether an ID is somebody else's or nobody's cannot be told apart.
func TestAnothersKeyCannotBeRevokedNorSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine := s.session(t, "alice")
	bobs := s.key(t, s.session(t, "bob"), &grpcauthv1.CreateAPIKeyRequest{})
	ownIDButGone := s.key(t, mine, &grpcauthv1.CreateAPIKeyRequest{}).GetKey().GetId()
	if _, err := s.RevokeAPIKey(mine, &grpcauthv1.RevokeAPIKeyRequest{Id: ownIDButGone}); err != nil {
		t.Error(err)
	}
	var answers []string
	for _, id := range []string{bobs.GetKey().GetId(), ownIDButGone, "x", bobs.GetSecret()} {
		_, err := s.RevokeAPIKey(mine, &grpcauthv1.RevokeAPIKeyRequest{Id: id})
		expect(t, err, "NotFound")
		answers = append(answers, status.Convert(err).Proto().String())
	}
	if answers = slices.Compact(answers); len(answers) != 1 {
		t.Errorf("got %q", answers)
	}
	if got := s.who(withKey(t.Context(), bobs.GetSecret())); got != "bob" {
		t.Errorf("got %s", got)
	}
	if list, err := s.ListAPIKeys(mine, &grpcauthv1.ListAPIKeysRequest{}); err != nil || len(list.GetKeys()) > 0 {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestKeyManagesNoCredentials(t *testing.T) {
	t.Parallel()
	for name, allowed := range map[string]bool{"by default": false, "allowed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, settings{options: func(o *authservice.Options) { o.APIKeysManage = allowed }})
			key := withKey(t.Context(), s.key(t, s.session(t, "alice"), &grpcauthv1.CreateAPIKeyRequest{Scopes: []string{"read"}}).GetSecret())
			for method, call := range calls {
				switch method {
				case "Login", "Refresh", "Logout", "WhoAmI":
					continue
				}
				err := call(key, s, "x")
				if refused := codeOf(err) == "PERMISSION_DENIED"; refused == allowed {
					t.Errorf("%s: got %v", method, err)
				}
			}
			if got := s.who(key); got != "alice" {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestKeyNeedsARecentLoginIfAsked(t *testing.T) {
	t.Parallel()
	s := newSite(t, settings{options: func(o *authservice.Options) { o.RecentLogin = 5 * time.Minute }})
	mine := s.session(t, "alice")
	s.key(t, mine, &grpcauthv1.CreateAPIKeyRequest{})
	s.clock.Advance(6 * time.Minute)
	_, err := s.CreateAPIKey(mine, &grpcauthv1.CreateAPIKeyRequest{})
	expect(t, err, "STEP_UP_REQUIRED")
	if _, err := s.ListAPIKeys(mine, &grpcauthv1.ListAPIKeysRequest{}); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotOfferedIsUnimplemented(t *testing.T) {
	t.Parallel()
	s := newSite(t, settings{options: func(o *authservice.Options) { o.Keys, o.Tokens, o.SetPassword = nil, nil, nil }})
	mine := s.session(t, "alice")
	for _, method := range []string{"CreateAPIKey", "ListAPIKeys", "RevokeAPIKey", "ChangePassword", "Refresh"} {
		if err := calls[method](mine, s, "x"); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: got %v", method, err)
		}
	}
	_, err := s.logout(mine, "x")
	expect(t, err, "Unimplemented")
	if s.server.Refresher() != nil {
		t.Error("there is a refresher")
	}
}
