// SPDX-License-Identifier: Apache-2.0

package introspect_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/introspect"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

func Example() {
	// The authorization server, which is somebody else's.
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("token") == "2YotnFZFEjr1zCsicMWpAA" {
			fmt.Fprint(w, `{"active":true,"sub":"alice","aud":"orders","scope":"orders.read"}`)
			return
		}
		fmt.Fprint(w, `{"active":false}`)
	}))
	defer idp.Close()

	tokens, err := introspect.New(introspect.Options{URL: idp.URL, ClientID: "orders-service", ClientSecret: "from a vault", Audiences: []string{"orders"}, Client: idp.Client()})
	if err != nil {
		panic(err)
	}
	for _, token := range []string{"2YotnFZFEjr1zCsicMWpAA", "stolen"} {
		ctx := context.Background()
		user, err := tokens.Authenticate(ctx, grpcauthtest.Request(ctx, "/shop.v1.Orders/Get", "authorization", "Bearer "+token))
		if err != nil {
			fmt.Println(grpcauth.CodeOf(err))
			continue
		}
		fmt.Println(user.ID, user.Scopes)
	}
	// Output:
	// alice [orders.read]
	// CREDENTIALS_INVALID
}
