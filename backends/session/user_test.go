// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/session"
)

func TestUserThatCannotBeKeptHasNoSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{})
	for name, user := range map[string]*grpcauth.User{
		"nil":                       nil,
		"no ID":                     {},
		"an issuer with a NUL":      {ID: "a", Issuer: "b\x00c"},
		"bound to a DPoP key":       {ID: "a", Binding: grpcauth.Binding{JKT: "k"}},
		"expired":                   {ID: "a", Expiry: start},
		"an ID that is no text":     {ID: "a\xff"},
		"a name that is no text":    {ID: "a", Name: "\xff"},
		"a scope that is no text":   {ID: "a", Scopes: []string{"b", "\xc0"}},
		"claims that are no JSON":   {ID: "a", RawClaims: json.RawMessage(`{`)},
		"claims that are no object": {ID: "a", RawClaims: json.RawMessage(`[1]`)},
		"a claim twice":             {ID: "a", RawClaims: json.RawMessage(`{"a":1,"a":2}`)},
		"a claim in two cases":      {ID: "a", RawClaims: json.RawMessage(`{"a":1,"A":2}`)},
		"too many claims":           {ID: "a", RawClaims: json.RawMessage(`{"a":"` + strings.Repeat("a", 64<<10) + `"}`)},
	} {
		for _, login := range []func(context.Context, *grpcauth.User, session.Device) (string, *session.Session, error){w.Create, w.Replace} {
			if id, s, err := login(t.Context(), user, session.Device{}); id != "" || s != nil || err == nil {
				t.Errorf("%s: got an id: %t, and %v", name, id != "", err)
			}
		}
	}
	if n := w.store.wrote.Load(); n != 0 {
		t.Errorf("%d records were written", n)
	}
}

func TestUserIsWhoIssuerAndIDSay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, session.Options{})
	long := strings.Repeat("x", 500)
	users := []*grpcauth.User{
		{ID: "a"},
		{ID: "a", Issuer: "b"},
		{ID: "ba"},
		{ID: "\x00a", Issuer: "b"},
		{ID: "a\x00"},
		{ID: "A"},
		{ID: `"a\`},
		{ID: "ä\u2028\n\t\x01\U0001f600"},
		{ID: long + "1"},
		{ID: long + "2"},
		{ID: long, Issuer: long},
		{ID: "x", Issuer: long},
	}
	ids := make([]string, len(users))
	for i, user := range users {
		ids[i], _ = w.create(t, user)
	}
	for i, user := range users {
		w.expect(t, cookie(ids[i]), user.ID)
		list, err := w.List(t.Context(), user)
		if err != nil || len(list) != 1 || list[0].User.ID != user.ID || list[0].User.Issuer != user.Issuer {
			t.Errorf("user %d: got %d sessions and %v", i, len(list), err)
		}
	}
	for i, user := range users {
		if n, err := w.RevokeAll(t.Context(), user); n != 1 || err != nil {
			t.Errorf("user %d: revoked %d, %v", i, n, err)
		}
	}
}

func TestWhatAHandlerDoesToItsUserStaysThere(t *testing.T) {
	t.Parallel()
	for _, remember := range []time.Duration{0, time.Minute} {
		w := newWorld(t, session.Options{RememberFor: remember, Check: func(_ context.Context, u *grpcauth.User) error {
			u.Scopes = append(u.Scopes, "checked")
			return nil
		}})
		user := &grpcauth.User{ID: "alice", Scopes: []string{"a", "b"}, RawClaims: []byte(`{"c":1}`), Factors: []*grpcauth.User{{ID: "x"}}}
		id, s := w.create(t, user)
		s.User.Scopes[0], user.Scopes[1] = "x", "x"
		if s.User.Factors != nil {
			t.Error("a session has factors that its calls do not have")
		}
		for range 3 {
			ctx := metadata.NewIncomingContext(t.Context(), cookie(id))
			got, err := w.Authenticate(ctx, grpcauth.NewRequest(ctx, method))
			if err != nil || fmt.Sprint(got.Scopes) != "[a b checked]" || string(got.RawClaims) != `{"c":1}` || got.Method != "session" {
				t.Fatalf("got %+v and %v", got, err)
			}
			got.Scopes[0], got.RawClaims[2], got.ID = "vandal", 'v', "vandal"
		}
	}
}

func TestCheckIsAskedOnEveryCall(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for _, remember := range []time.Duration{0, time.Minute} {
		var answer error
		asked := 0
		w := newWorld(t, session.Options{RememberFor: remember, Check: func(context.Context, *grpcauth.User) error { asked++; return answer }})
		id, _ := w.create(t, &grpcauth.User{ID: "alice"})
		for _, test := range []struct {
			answer error
			want   string
		}{
			{nil, "alice"},
			{grpcauth.Errorf(grpcauth.CodeInvalid, "disabled"), "CREDENTIALS_INVALID"},
			{down, "AUTHENTICATION_UNAVAILABLE"},
			{grpcauth.ErrNoCredentials, "AUTHENTICATION_FAILED"},
			{fmt.Errorf("wrapped: %w", grpcauth.ErrNoCredentials), "AUTHENTICATION_FAILED"},
			{nil, "alice"},
		} {
			answer = test.answer
			w.expect(t, cookie(id), test.want)
		}
		w.expect(t, cookie(strings.Repeat("A", len(id))), "CREDENTIALS_INVALID")
		if asked != 6 {
			t.Errorf("asked %d times in 6 calls of a valid session", asked)
		}
	}
}

func TestCheckMayShortenTheCall(t *testing.T) {
	t.Parallel()
	soon := start.Add(2 * time.Minute)
	w := newWorld(t, session.Options{Check: func(_ context.Context, u *grpcauth.User) error { u.Expiry = soon; return nil }})
	id, _ := w.create(t, &grpcauth.User{ID: "alice"})
	w.clock.Advance(time.Minute)
	ctx := metadata.NewIncomingContext(t.Context(), cookie(id))
	if user, err := w.Authenticate(ctx, grpcauth.NewRequest(ctx, method)); err != nil || !user.Expiry.Equal(soon) {
		t.Errorf("got %v and %v", user, err)
	}
}

// over is the peer of a connection with this client certificate.
func over(ctx context.Context, leaf *x509.Certificate) context.Context {
	state := tls.ConnectionState{HandshakeComplete: true}
	if leaf != nil {
		state.PeerCertificates = []*x509.Certificate{leaf}
		state.VerifiedChains = [][]*x509.Certificate{{leaf}}
	}
	info := credentials.TLSInfo{State: state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	return peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, AuthInfo: info})
}

func TestSessionOfABoundUserIsBound(t *testing.T) {
	t.Parallel()
	mine, others := &x509.Certificate{Raw: []byte("mine")}, &x509.Certificate{Raw: []byte("another's")}
	sum := sha256.Sum256(mine.Raw)
	bound := grpcauth.Binding{CertSHA256: base64.RawURLEncoding.EncodeToString(sum[:])}
	w := newWorld(t, session.Options{})
	id, _ := w.create(t, &grpcauth.User{ID: "alice", Binding: bound})
	for name, test := range map[string]struct {
		leaf *x509.Certificate
		want grpcauth.Code
	}{"none": {nil, grpcauth.CodeInvalid}, "another": {others, grpcauth.CodeInvalid}, "the right one": {mine, 0}} {
		ctx := metadata.NewIncomingContext(over(t.Context(), test.leaf), cookie(id))
		user, err := w.Authenticate(ctx, grpcauth.NewRequest(ctx, method))
		switch {
		case test.want != 0 && (user != nil || grpcauth.CodeOf(err) != test.want):
			t.Errorf("%s: got %v and %v", name, user, err)
		case test.want == 0 && (err != nil || user.Binding != bound):
			t.Errorf("%s: got %v and %v", name, user, err)
		}
	}
}

func TestPrintedThingsShowNoID(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	show := func(values ...any) {
		for _, v := range values {
			document, _ := json.Marshal([]any{v})
			fmt.Fprintf(&out, "%v %+v %#v %s %q %s\n", v, v, v, v, v, document)
		}
	}
	w := newWorld(t, session.Options{MetadataKey: "x-session-id", RememberFor: time.Minute})
	id, s := w.create(t, &grpcauth.User{ID: "alice"})
	show(w.Backend, s, *s, (*session.Backend)(nil))
	for _, down := range []bool{false, true} {
		w.store.down.Store(down)
		for _, md := range []metadata.MD{cookie(id), cookie(id + "A"), cookie(id[1:] + "A"), metadata.Pairs("cookie", "__Host-session="+id, "x-session-id", id), metadata.Pairs("x-session-id", id, "x-session-id", id)} {
			ctx := metadata.NewIncomingContext(t.Context(), md)
			req := grpcauth.NewRequest(ctx, method)
			user, err := w.Authenticate(ctx, req)
			show(user, err, req)
			_, _, err = w.Replace(ctx, &grpcauth.User{ID: "alice", Method: "session"}, session.Device{})
			show(err, w.Revoke(ctx, user, id))
		}
	}
	text := out.String()
	if !strings.Contains(text, "Backend(") || !strings.Contains(text, "alice") || !strings.Contains(text, "CREDENTIALS_AMBIGUOUS") {
		t.Fatalf("nothing was shown: %s", text)
	}
	for _, secret := range []string{id, id[1:], id[:len(id)-1]} {
		if at := strings.Index(text, secret); at >= 0 {
			t.Errorf("an id was shown: …%s…", text[max(0, at-80):at])
		}
	}
}
