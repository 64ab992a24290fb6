// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
)

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string]bearer.Options{
		"Options.MaxTokenBytes": {MaxTokenBytes: -1},
		"Options.RememberFor":   {RememberFor: -1},
		"Options.RefuseFor":     {RefuseFor: -1},
	} {
		if b, err := bearer.New(desk{}, opts); b != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want an error that names %s", b, err, want)
		}
	}
	if b, err := bearer.New(nil, bearer.Options{}); b != nil || err == nil || !strings.Contains(err.Error(), "verifier is nil") {
		t.Errorf("got %v, %v, want an error that names the verifier", b, err)
	}
}

func TestSchemeSaysWhatIsRead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		opts        bearer.Options
		name, realm string
	}{
		{bearer.Options{}, "bearer", ""},
		{bearer.Options{Name: "opaque", Realm: "orders"}, "opaque", "orders"},
	} {
		b := newBackend(t, anybody(), test.opts)
		schemes := b.Schemes()
		if len(schemes) != 1 || schemes[0].Name != test.name || schemes[0].Header != "authorization" || schemes[0].AuthScheme != "Bearer" || schemes[0].Params["realm"] != test.realm {
			t.Errorf("got %+v, want %q with realm %q", schemes, test.name, test.realm)
		}
	}
}

func TestMethodIsTheNameUnlessTheVerifierSaysMore(t *testing.T) {
	t.Parallel()
	b := newBackend(t, desk{"a": {ID: "alice"}, "b": {ID: "bob", Method: "badge"}}, bearer.Options{Name: "opaque"})
	for token, want := range map[string]string{"a": "opaque", "b": "badge"} {
		user, err := b.Authenticate(t.Context(), request(t, token))
		if err != nil || user.Method != want {
			t.Errorf("got %v, %v, want %s", user, err, want)
		}
	}
}

func TestPrintingABackendShowsNoToken(t *testing.T) {
	t.Parallel()
	b := newBackend(t, desk{"opensesame": {ID: "alice"}}, bearer.Options{})
	expect(t, b, "opensesame", "alice")
	for _, shown := range []any{b, &b, struct{ grpcauth.Backend }{b}} {
		if text := fmt.Sprintf("%v %+v %#v %s %x", shown, shown, shown, shown, shown); strings.Contains(text, "opensesame") {
			t.Errorf("%T shows a token", shown)
		}
	}
	if got := fmt.Sprint(b); got != `Backend("bearer")` {
		t.Errorf("got %s", got)
	}
	if got := fmt.Sprint((*bearer.Backend)(nil)); got != "<nil>" {
		t.Errorf("nil: got %s", got)
	}
}
