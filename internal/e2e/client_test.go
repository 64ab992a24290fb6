// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/clientauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

// possessor makes credentials whose tokens the provider binds to the key. It asks for them by proofs of the credentials' own.
func (p *provider) possessor(t *testing.T, id string, key crypto.Signer) *clientauth.DPoP {
	t.Helper()
	var creds *clientauth.DPoP
	fetch := func(context.Context) (clientauth.Token, error) {
		nonce := ""
		for {
			proof, err := creds.Proof(http.MethodPost, p.issuer+"/token", "", nonce)
			if err != nil {
				return clientauth.Token{}, err
			}
			resp, err := p.http.Do(p.tokenRequest(t, resource("jwt/ES256"), as(id), func(req *http.Request) { req.Header.Set("DPoP", proof) }))
			if err != nil {
				return clientauth.Token{}, err
			}
			if next := resp.Header.Get("DPoP-Nonce"); resp.StatusCode == http.StatusBadRequest && nonce == "" && next != "" {
				read(t, resp, http.StatusBadRequest)
				nonce = next
				continue
			}
			var answer struct {
				Token string `json:"access_token"`
			}
			return clientauth.Token{Value: answer.Token}, json.Unmarshal(read(t, resp, http.StatusOK), &answer)
		}
	}
	refreshing, err := clientauth.NewRefreshing(clientauth.SourceFunc(fetch), clientauth.Options{})
	check(t, err)
	creds, err = clientauth.NewDPoP(key, refreshing, clientauth.Options{})
	check(t, err)
	return creds
}

// named is a server's TLS configuration under the name that callers know it by, and a client's.
func named(t *testing.T) (server, client credentials.TransportCredentials) {
	t.Helper()
	ca := grpcauthtest.NewCA(t)
	config, calling := ca.ServerTLS(), ca.ClientTLS()
	config.Certificates = []tls.Certificate{ca.Issue(x509.Certificate{DNSNames: []string{audience}})}
	calling.ServerName = audience
	return credentials.NewTLS(config), credentials.NewTLS(calling)
}

// calls are a unary call and a stream.
func calls(t *testing.T, client echov1.EchoServiceClient) (unary, stream string) {
	t.Helper()
	unary = say(t.Context(), client)
	s, err := client.Expand(t.Context(), &echov1.ExpandRequest{Text: "x"})
	if err != nil {
		return unary, err.Error()
	}
	resp, err := s.Recv()
	if err != nil {
		return unary, reason(err)
	}
	_, _ = s.Recv() // the end
	return unary, resp.GetUserId()
}

func TestClientProvesPossession(t *testing.T) {
	t.Parallel()
	p := start(t, newClient("nonce", nil))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	serverTLS, clientTLS := named(t)
	for _, nonces := range []bool{false, true} {
		address := serve(t, p.trustBound(t, bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}, RequireNonce: nonces}, RequireBinding: true}), serverTLS)
		for name, key := range map[string]crypto.Signer{"ES256": newKey(t), "RS256": rsaKey, "EdDSA": edKey} {
			for _, id := range []string{"alice", "nonce"} { // the provider wants nonces of the second
				creds := p.possessor(t, id, key)
				client := dial(t, address, clientTLS, grpc.WithPerRPCCredentials(creds), grpc.WithUnaryInterceptor(creds.Unary()), grpc.WithStreamInterceptor(creds.Stream()))
				for range 3 {
					if unary, stream := calls(t, client); unary != id || stream != id {
						t.Errorf("%s, %s, the server wants nonces: %t: got %s and %s", name, id, nonces, unary, stream)
					}
				}
			}
		}
	}
	if n := p.asked(t, "/token"); n != 18 {
		t.Errorf("the provider was asked for tokens %d times, want once for each client, and once more where it wants a nonce", n)
	}
}

func TestClientProvesPossessionInParallel(t *testing.T) {
	t.Parallel()
	p := start(t)
	serverTLS, clientTLS := named(t)
	address := serve(t, p.trustBound(t, bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}, RequireNonce: true}}), serverTLS)
	creds := p.possessor(t, "alice", newKey(t))
	client := dial(t, address, clientTLS, grpc.WithPerRPCCredentials(creds), grpc.WithUnaryInterceptor(creds.Unary()))
	if got := say(t.Context(), client); got != "alice" { // it learns the server's nonce
		t.Errorf("got %s", got)
	}
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			if got := say(t.Context(), client); got != "alice" {
				t.Errorf("got %s", got)
			}
		})
	}
	callers.Wait()
	if n := p.asked(t, "/token"); n != 1 {
		t.Errorf("the provider was asked for tokens %d times, want once", n)
	}
}

func TestStolenTokenIsWorthNothingToAnotherClient(t *testing.T) {
	t.Parallel()
	p := start(t)
	serverTLS, clientTLS := named(t)
	address := serve(t, p.trustBound(t, bearer.Options{DPoP: &bearer.DPoP{Origins: []string{origin}}}), serverTLS)
	stolen := p.boundToken(t, resource("jwt/ES256"), "alice", newKey(t))
	creds, err := clientauth.NewDPoP(newKey(t), clientauth.SourceFunc(func(context.Context) (clientauth.Token, error) {
		return clientauth.Token{Value: stolen}, nil
	}), clientauth.Options{})
	check(t, err)
	bearerCreds, err := clientauth.Bearer(stolen, clientauth.Options{})
	check(t, err)
	for name, creds := range map[string]credentials.PerRPCCredentials{"with another key": creds, "without a key": bearerCreds} {
		if got := say(t.Context(), dial(t, address, clientTLS, grpc.WithPerRPCCredentials(creds))); got != invalid {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestClientReplacesATokenThatHasExpired(t *testing.T) {
	t.Parallel()
	p := start(t)
	serverTLS, clientTLS := named(t)
	address := serve(t, p.trustBound(t, bearer.Options{}), serverTLS)
	old, young := p.token(t, "https://"+audience+"/jwt/ES256?ttl=1"), p.token(t, resource("jwt/ES256"))
	until(t, "the token's end", func() bool {
		return say(grpcauthtest.WithBearer(t.Context(), old), dial(t, address, clientTLS)) == "CREDENTIALS_EXPIRED"
	})
	fetched := 0
	creds, err := clientauth.NewRefreshing(clientauth.SourceFunc(func(context.Context) (clientauth.Token, error) {
		fetched++ // it is fetched once at a time
		if fetched == 1 {
			return clientauth.Token{Value: old}, nil
		}
		return clientauth.Token{Value: young}, nil
	}), clientauth.Options{})
	check(t, err)
	client := dial(t, address, clientTLS, grpc.WithPerRPCCredentials(creds), grpc.WithUnaryInterceptor(creds.Unary()))
	for range 3 {
		if got := say(t.Context(), client); got != "alice" {
			t.Errorf("got %s", got)
		}
	}
	if fetched != 2 {
		t.Errorf("tokens were fetched %d times, want twice", fetched)
	}
}
