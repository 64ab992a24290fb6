// SPDX-License-Identifier: Apache-2.0

package authservice_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/status"

	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

// No secret is in what After is told, nor in a refusal.
func TestNoSecretIsTold(t *testing.T) {
	t.Parallel()
	const wrong, name = "canary-wrong-5f1d7", "canary-name-77e2a" // an unknown name may be a password that was typed into the wrong field
	s := newSite(t)
	var out strings.Builder
	see := func(err error) {
		fmt.Fprintf(&out, "%v %+v %s\n", err, err, status.Convert(err).Proto())
	}
	id, tokens := s.login(t, "alice", byID).GetSessionId(), s.login(t, "alice", byTokens).GetTokens()
	mine := withID(t.Context(), id)
	key := s.key(t, mine, &grpcauthv1.CreateAPIKeyRequest{}).GetSecret()
	hash := s.accounts.byName["alice"].PasswordHash
	for _, down := range []int64{0, -1} {
		s.store.fail.Store(down)
		for _, pair := range [][2]string{{"alice", wrong}, {name, wrong}, {"alice", wrong + "\x00"}, {name + "\x00", wrong}, {"eve", "eve-password"}, {"alice", "alice-password"}} {
			_, err := s.Login(t.Context(), &grpcauthv1.LoginRequest{Username: pair[0], Password: pair[1]})
			see(err)
		}
		for _, refresh := range []string{wrong, tokens.GetAccessToken(), tokens.GetRefreshToken() + "x", tokens.GetRefreshToken(), tokens.GetRefreshToken()} {
			_, err := s.Refresh(t.Context(), &grpcauthv1.RefreshRequest{RefreshToken: refresh, ClientId: client})
			see(err)
			_, err = s.logout(t.Context(), wrong)
			see(err)
		}
		req := changeRequest()
		for _, pass := range []string{wrong, "alice-password"} {
			req.OldPassword, req.NewPassword = pass, "canary-new-83b0c"
			_, err := s.ChangePassword(mine, req)
			see(err)
			_, err = s.RevokeAPIKey(mine, &grpcauthv1.RevokeAPIKeyRequest{Id: key})
			see(err)
			_, err = s.RevokeSession(mine, &grpcauthv1.RevokeSessionRequest{Scope: grpcauthv1.SessionScope_SESSION_SCOPE_ONE, Handle: id})
			see(err)
		}
	}
	for _, e := range s.events {
		fmt.Fprintf(&out, "%v %+v %#v %v %+v %#v\n", e, e, e, e.Err, e.User, e.User)
	}
	written := out.String()
	if !strings.Contains(written, "CREDENTIALS_INVALID") || !strings.Contains(written, "alice") {
		t.Fatal("nothing was written")
	}
	for what, secret := range map[string]string{
		"wrong password": wrong, "name": name, "password": "alice-password", "new password": "canary-new-83b0c", "hash": hash[strings.LastIndexByte(hash, '$'):],
		"session id": id, "access token": tokens.GetAccessToken(), "refresh token": tokens.GetRefreshToken()[30:], "API key": key[len(key)-20:],
	} {
		if i := strings.Index(written, secret); i >= 0 {
			t.Errorf("the %s was written: …%s…", what, written[max(0, i-100):i+20])
		}
	}
}
