// SPDX-License-Identifier: Apache-2.0

// Package backendtest checks that a backend keeps the contract of [grpcauth.Backend].
//
// Each failure says which rule was broken and why it is a rule. A backend of one's own is tested by one call of [Run].
package backendtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth"
)

const method = "/backendtest.Service/Method"

// Suite is a backend and some calls to it. Backend and Good are required.
type Suite struct {
	// Backend is what is tested.
	Backend grpcauth.Backend
	// Good is the metadata of a call that is accepted, every time. It has the credential and nothing else: each value is altered in turn.
	Good metadata.MD
	// Bad are the metadata of calls whose credential is refused.
	Bad []metadata.MD
	// Peer is the peer of all calls; a peer in memory by default.
	Peer *peer.Peer
	// Secrets are texts that are never shown. The values of Good and Bad are secrets anyway.
	Secrets []string
	// Now is the backend's clock; time.Now by default.
	Now func() time.Time
}

// Run tests the backend of a suite.
func Run(t *testing.T, s Suite) {
	t.Helper()
	if s.Peer == nil {
		s.Peer = &peer.Peer{Addr: &net.UnixAddr{Name: "backendtest", Net: "unix"}}
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, Suite)
	}{
		{"accepts a good credential", accepts},
		{"refuses a bad credential", refuses},
		{"leaves other credentials alone", leavesOthers},
		{"refuses a credential given twice", refusesTwo},
		{"refuses altered credentials", refusesAltered},
		{"refuses nonsense", refusesNonsense},
		{"gives each call its own user", givesCopies},
		{"serves concurrent calls", servesConcurrently},
		{"survives a caller that gives up", survivesCancellation},
		{"shows no secret", showsNoSecret},
		{"describes its schemes", describes},
		{"works behind an interceptor", worksBehindInterceptor},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

func (s *Suite) context(ctx context.Context, md metadata.MD) context.Context {
	return metadata.NewIncomingContext(peer.NewContext(ctx, s.Peer), md)
}

func (s *Suite) call(ctx context.Context, md metadata.MD) (*grpcauth.User, error) {
	ctx = s.context(ctx, md)
	return s.Backend.Authenticate(ctx, grpcauth.NewRequest(ctx, method))
}

// names are the metadata keys of the good call that carry the credential.
func (s *Suite) names() []string { return slices.Sorted(maps.Keys(s.Good)) }

// split tells the secret of a value from what precedes it: a cookie's name, or an authentication scheme.
func split(key, value string) (prefix, secret string) {
	separator := " "
	if key == "cookie" {
		separator = "="
	}
	if before, after, ok := strings.Cut(value, separator); ok {
		return before + separator, after
	}
	return "", value
}

func accepts(t *testing.T, s Suite) {
	user, err := s.call(t.Context(), s.Good)
	switch {
	case err != nil:
		t.Fatalf("the good call got %v, want a user", err)
	case user == nil:
		t.Fatal("got neither a user nor an error: callers would be answered with INTERNAL")
	case user.ID == "":
		t.Error("the user has no ID: an accepted caller must be somebody")
	case user.Method == "":
		t.Error("the user has no Method: name the scheme that proved her")
	}
}

func refuses(t *testing.T, s Suite) {
	for i, md := range s.Bad {
		user, err := s.call(t.Context(), md)
		if user != nil || err == nil {
			t.Fatalf("Bad[%d] was accepted", i)
		}
		if got := grpcauth.CodeOf(err); got.GRPC() != codes.Unauthenticated || got == grpcauth.CodeMissing {
			t.Errorf("Bad[%d] got %v, want a refusal: a credential that was found must be judged, else another backend would be asked", i, got)
		}
	}
}

func leavesOthers(t *testing.T, s Suite) {
	others := map[string]metadata.MD{
		"no metadata":       nil,
		"an unknown scheme": metadata.Pairs("authorization", "Unheard-Of abc"),
		"no scheme":         metadata.Pairs("authorization", "abc"),
		"an empty cookie":   metadata.Pairs("cookie", ""),
	}
	for _, key := range s.names() {
		for _, alike := range []string{"x-" + key, key + "-bin", key + "_", "grpcgateway-" + key, "grpc-metadata-" + key} {
			others[alike] = metadata.MD{alike: s.Good[key]}
		}
	}
	if len(s.Good) == 0 { // proven by the connection, which every call here has
		return
	}
	for name, md := range others {
		user, err := s.call(t.Context(), md)
		if user != nil || grpcauth.CodeOf(err) != grpcauth.CodeMissing {
			t.Errorf("%s: got %v, %v, want ErrNoCredentials: what is not yours is for the next backend", name, user, err)
		}
	}
}

func refusesTwo(t *testing.T, s Suite) {
	for _, key := range s.names() {
		good := s.Good.Get(key)[0]
		for _, values := range [][]string{{good, good}, {good, "Unheard-Of abc"}, {"Unheard-Of abc", good}} {
			if key == "cookie" && values[0] != values[1] { // cookies of other names are nobody's business
				continue
			}
			md := s.Good.Copy()
			md.Set(key, values...)
			if user, err := s.call(t.Context(), md); user != nil || grpcauth.CodeOf(err) != grpcauth.CodeAmbiguous {
				t.Errorf("%s twice: got %v, want CodeAmbiguous: whoever sends two credentials may mean either", key, err)
			}
		}
	}
}

// refusesAltered changes good credentials a little. The scheme is left as it is, since its case does not count.
func refusesAltered(t *testing.T, s Suite) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same alterations every time
	good, err := s.call(t.Context(), s.Good)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		for _, key := range s.names() {
			prefix, secret := split(key, s.Good.Get(key)[0])
			altered := []byte(secret)
			at := random.IntN(len(altered))
			switch random.IntN(4) {
			case 0:
				altered = altered[:at]
			case 1:
				altered = append(altered, altered[at])
			case 2:
				altered[at] ^= 1 << random.IntN(8)
			case 3:
				altered = slices.Insert(altered, at, byte(random.UintN(256))) //nolint:gosec // below 256
			}
			if string(altered) == secret {
				continue
			}
			md := s.Good.Copy()
			md.Set(key, prefix+string(altered))
			user, err := s.call(t.Context(), md)
			switch code := grpcauth.CodeOf(err); {
			case err == nil && (user == nil || user.ID != good.ID):
				t.Fatal("an altered credential was accepted as somebody else")
			case err == nil:
				t.Errorf("a credential that was altered at byte %d was accepted: compare the whole of it", at)
			case user != nil || code == grpcauth.CodeUnavailable || code == grpcauth.CodeInternal:
				t.Errorf("a credential that was altered at byte %d got %v, %v, want a refusal: what callers send is never the server's failure", at, user, code)
			}
		}
	}
}

// refusesNonsense sends what no honest client does. A panic would be answered with INTERNAL, but is a mistake all the same.
func refusesNonsense(t *testing.T, s Suite) {
	for _, key := range s.names() {
		scheme, secret := split(key, s.Good.Get(key)[0])
		nonsense := map[string]string{
			"nothing": "", "nothing but a scheme": scheme, "NUL": scheme + "\x00", "bytes that are no text": scheme + "\xff\xfe\xc0\x80",
			"a mebibyte": scheme + strings.Repeat("A", 1<<20), "brackets": scheme + strings.Repeat("[", 10_000), "dots": scheme + strings.Repeat(".", 10_000),
			"a space before": scheme + " " + secret, "a space behind": scheme + secret + " ", "a tab before": scheme + "\t" + secret, "a no-break space behind": scheme + secret + "\u00a0",
			"a line break behind": scheme + secret + "\r\n", "a NUL behind": scheme + secret + "\x00",
		}
		if key == "cookie" { // whose list may have spaces between its members (RFC 6265, section 4.2.1)
			delete(nonsense, "a space behind")
		}
		for name, value := range nonsense {
			md := s.Good.Copy()
			md.Set(key, value)
			if user, err := s.call(t.Context(), md); user != nil || err == nil {
				t.Errorf("%s with %s was accepted", key, name)
			}
		}
	}
}

func givesCopies(t *testing.T, s Suite) {
	for range 3 {
		user, err := s.call(t.Context(), s.Good)
		if err != nil {
			t.Fatal(err)
		}
		if user.ID == "vandal" || slices.Contains(user.Scopes, "vandal") || slices.Contains(user.Permissions, "vandal") || strings.Contains(string(user.RawClaims), "vandal") {
			t.Fatal("a user that an earlier call changed came back: give each call its own copy, by Request.Own")
		}
		user.ID = "vandal"
		for i := range user.Scopes {
			user.Scopes[i] = "vandal"
		}
		for i := range user.Permissions {
			user.Permissions[i] = "vandal"
		}
		copy(user.RawClaims, "vandal")
	}
}

func servesConcurrently(t *testing.T, s Suite) {
	calls := append([]metadata.MD{s.Good, s.Good, nil}, s.Bad...)
	want := make([]grpcauth.Code, len(calls))
	for i, md := range calls {
		_, err := s.call(t.Context(), md)
		want[i] = grpcauth.CodeOf(err)
	}
	var wg sync.WaitGroup
	for range 20 {
		for i, md := range calls {
			wg.Go(func() {
				if _, err := s.call(t.Context(), md); grpcauth.CodeOf(err) != want[i] {
					t.Errorf("call %d among others got %v, alone %v", i, grpcauth.CodeOf(err), want[i])
				}
			})
		}
	}
	wg.Wait()
}

func survivesCancellation(t *testing.T, s Suite) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	user, err := s.call(ctx, s.Good)
	if (user == nil) == (err == nil) {
		t.Error("got both or neither of a user and an error: an error comes without a user, and its lack with one")
	}
	if grpcauth.CodeOf(err).GRPC() == codes.Unauthenticated {
		t.Errorf("a good call that was given up got %v: return the context's error, which refuses nothing", err)
	}
	if _, err := s.call(t.Context(), s.Good); err != nil {
		t.Errorf("the next caller got %v: one caller's end must not be remembered for another", err)
	}
}

func showsNoSecret(t *testing.T, s Suite) {
	secrets := slices.Clone(s.Secrets)
	texts := []string{fmt.Sprintf("%v %+v %#v", s.Backend, s.Backend, s.Backend)}
	for _, md := range append([]metadata.MD{s.Good}, s.Bad...) {
		for key, values := range md {
			for _, v := range values {
				secrets = append(secrets, v)
				if _, secret := split(key, v); len(secret) > 3 {
					secrets = append(secrets, secret)
				}
			}
		}
		ctx := s.context(t.Context(), md)
		req := grpcauth.NewRequest(ctx, method)
		user, err := s.Backend.Authenticate(ctx, req)
		document, _ := json.Marshal([]any{user, req}) //nolint:errchkjson // what cannot be marshalled shows nothing
		texts = append(texts, fmt.Sprintf("%v %+v %#v %v %+v %#v %s", err, err, err, req, req, req, document))
	}
	for i, text := range texts {
		for k, secret := range secrets {
			if secret != "" && strings.Contains(text, secret) {
				t.Errorf("text %d shows secret %d: errors and %%v must not hold credentials", i, k)
			}
		}
	}
}

func describes(t *testing.T, s Suite) {
	d, ok := s.Backend.(grpcauth.Describer)
	if !ok {
		t.Log("the backend does not describe its schemes: callers are not told how to authenticate")
		return
	}
	user, err := s.call(t.Context(), s.Good)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, scheme := range d.Schemes() {
		found = found || scheme.Name == user.Method && s.carries(scheme)
		if scheme.Header != strings.ToLower(scheme.Header) {
			t.Errorf("the header %q is not in lower case, as gRPC has it", scheme.Header)
		}
	}
	if !found {
		t.Errorf("User.Method %q is not the name of a scheme that the good call carries: challenges would ask for something else", user.Method)
	}
}

// carries reports whether the good call has the credential where the scheme says it is.
func (s *Suite) carries(scheme grpcauth.Scheme) bool {
	switch value := strings.Join(s.Good[scheme.Header], ""); {
	case scheme.Cookie != "":
		return strings.HasPrefix(strings.Join(s.Good["cookie"], ""), scheme.Cookie+"=")
	case scheme.Header == "authorization" && scheme.AuthScheme != "":
		prefix, _ := split(scheme.Header, value)
		return strings.EqualFold(prefix, scheme.AuthScheme+" ")
	default: // without a header it is proven by the connection
		return scheme.Header == "" || value != ""
	}
}

func worksBehindInterceptor(t *testing.T, s Suite) {
	auth := grpcauth.New(s.Backend, grpcauth.InsecureAllowPlaintext(), grpcauth.WithClock(s.Now))
	if ctx, err := auth.Authenticate(s.context(t.Context(), s.Good), method); err != nil {
		t.Errorf("the good call got %v", err)
	} else if _, ok := grpcauth.FromContext(ctx); !ok {
		t.Error("the good call has no user in its context")
	}
	for i, md := range s.Bad {
		if _, err := auth.Authenticate(s.context(t.Context(), md), method); status.Code(err) != codes.Unauthenticated {
			t.Errorf("Bad[%d] got %v, want UNAUTHENTICATED", i, status.Code(err))
		}
	}
}
