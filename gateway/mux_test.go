// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/mtls"
	"github.com/grpcauth/grpcauth/backends/session"
	"github.com/grpcauth/grpcauth/gateway"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/store/memstore"
)

const alices, bobs = "Authorization: Bearer alices", "Authorization: Bearer bobs"

func TestCallersAreKnownByTheirCredentials(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{}, func(w *world) {
		key, _, err := w.keys.Create(w.t.Context(), apikey.Key{Owner: "machine"})
		check(w.t, err)
		for user, field := range map[string]string{
			"alice": alices, "bob": "AUTHORIZATION: bearer bobs", "carol": "Cookie: theme=dark; " + w.login(w.t, "carol"), "machine": "X-Api-Key: " + key,
		} {
			w.say("hello", field).want(w.t, http.StatusOK, `"text":"hello"`, `"userId":"`+user+`"`)
		}
		w.say("hello").want(w.t, http.StatusUnauthorized)
		w.say("hello", "Authorization: Bearer nobodys").want(w.t, http.StatusUnauthorized)
		w.raw(http.MethodGet, "/v1/expand/one%20two", "", alices).want(w.t, http.StatusOK, `"text":"one"`, `"text":"two"`, `"userId":"alice"`)
	})
}

// More than one credential, and one that is hidden, is refused each time, whatever header they come in and whatever matcher somebody adds.
func TestCredentialsOfTwoOriginsAreRefused(t *testing.T) {
	t.Parallel()
	for name, mux := range map[string][]runtime.ServeMuxOption{
		"our matcher":         nil,
		"the default matcher": {runtime.WithIncomingHeaderMatcher(runtime.DefaultHeaderMatcher)},
		"a legacy matcher": {runtime.WithIncomingHeaderMatcher(func(name string) (string, bool) {
			return strings.TrimPrefix(name, runtime.MetadataHeaderPrefix), true
		})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyWay(t, setup{mux: mux}, func(w *world) {
				for _, fields := range [][]string{
					{alices, "Grpc-Metadata-Authorization: Bearer bobs"},
					{"Grpc-Metadata-Authorization: Bearer bobs", alices},
					{alices, "grpc-metadata-authorization: Bearer alices"},
					{alices, "GRPC_METADATA_AUTHORIZATION: Bearer bobs"},
					{alices, "grpcgateway-authorization: Bearer bobs"},
					{alices, bobs},
					{alices, alices},
					{alices, "X-Forwarded-Authorization: Bearer bobs"},
					{alices, "Grpc-Metadata-Grpc-Metadata-Authorization: Bearer bobs"},
					{"Authorization: Bearer alices, Bearer bobs"},
					{"Authorization: Bearer alices\xff"},
				} {
					for range 10 { // maps have no order
						if a := w.say("hello", fields...); a.StatusCode != http.StatusUnauthorized {
							w.t.Errorf("%q: got %d %s", fields, a.StatusCode, a.text)
						}
					}
				}
				for range 100 {
					w.say("hello", alices, "Grpc-Metadata-Authorization: Bearer alices").want(w.t, http.StatusUnauthorized)
				}
				w.say("hello", alices, bobs).want(w.t, http.StatusUnauthorized, "")
			})
		})
	}
}

// A credential that stands alone where none belongs is none.
func TestSmuggledCredentialIsNone(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{auth: []grpcauth.Option{grpcauth.WithPolicy(grpcauth.Policy{"/echo.v1.EchoService/*": {Access: grpcauth.Optional}})}}, func(w *world) {
		for _, field := range []string{"X-User-Id: alice", "Grpc-Metadata-X-Api-Key: echo_test_x", "x_api_key: echo_test_x", "Grpcauth-User: alice", "X-Authenticated-User: alice"} {
			a := w.say("hello", field)
			if a.StatusCode != http.StatusOK || !strings.Contains(a.text, `"userId":""`) {
				w.t.Errorf("%s: got %d %s", field, a.StatusCode, a.text)
			}
		}
	})
}

// gRPC carries no such bytes, but what cannot be carried is not what was not there.
func TestCredentialThatGRPCCannotCarryIsRefused(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{auth: []grpcauth.Option{grpcauth.WithPolicy(grpcauth.Policy{"/echo.v1.EchoService/*": {Access: grpcauth.Optional}})}}, func(w *world) {
		for _, field := range []string{"Authorization: Bearer alices\xff", "X-Api-Key: echo_test_\xff", "Cookie: __Host-session=\xff"} {
			if a := w.say("hello", field); a.StatusCode != http.StatusUnauthorized {
				w.t.Errorf("%q: got %d %s", field, a.StatusCode, a.text)
			}
		}
	})
}

func TestOnlyListedHeadersReachTheServer(t *testing.T) {
	t.Parallel()
	s := setup{options: gateway.Options{Headers: []string{"X-Tenant", "accept-language"}}}
	everyWay(t, s, func(w *world) {
		w.say("hello", alices, "Traceparent: 00-1", "Tracestate: a=b", "Baggage: c=d", "X-Tenant: one", "Accept-Language: en", "User-Agent: test",
			"Grpc-Metadata-X-Tenant: two", "x_tenant: two", "X-User-Id: root", "X-Auth-Request-Email: root", "X-Real-IP: 192.0.2.9", "Forwarded: for=192.0.2.9",
			"X-Forwarded-For: 192.0.2.9", "X-Forwarded-User: root", "Grpc-Metadata-X-Bin: AAAA", "X-Bin: AAAA", "grpcauth-caller: 192.0.2.9", "Grpcauth-Secured: no",
			"Grpc-Metadata-Grpcauth-Caller: 192.0.2.9", "Cookie: a=b", "Remote-User: root", "X-Forwarded-Host: evil.example", "X-Other: 1",
			"Baggage: dropped", "Connection: X-Dropped, close", "X-Dropped: 1",
		).want(w.t, http.StatusOK)
		calls := w.echo.calls()
		if len(calls) != 1 {
			w.t.Fatalf("got %d calls", len(calls))
		}
		got := calls[0].md
		for _, key := range []string{":authority", "content-type", "user-agent", "grpc-accept-encoding"} { // of gRPC itself
			delete(got, key)
		}
		want := map[string][]string{
			"authorization": {"Bearer alices"}, "traceparent": {"00-1"}, "tracestate": {"a=b"}, "baggage": {"c=d", "dropped"}, "x-tenant": {"one"}, "accept-language": {"en"},
			"grpcauth-caller": {"127.0.0.1"}, "grpcauth-request": {"POST /v1/echo"}, "grpcauth-secured": {"tls"},
			"x-forwarded-for": {"127.0.0.1"}, "x-forwarded-host": {"example.com"}, // of grpc-gateway itself
		}
		if !maps.EqualFunc(map[string][]string(got), want, slices.Equal[[]string]) {
			w.t.Errorf("got\n%v, want\n%v", got, want)
		}
	})
}

func TestHeadersThatConnectionNamesAreDropped(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{options: gateway.Options{Headers: []string{"X-Tenant"}}}, func(w *world) {
		w.say("hello", alices, "Connection: close, x-tenant", "X-Tenant: one").want(w.t, http.StatusOK)
		if got := w.echo.calls()[0].md["x-tenant"]; got != nil {
			w.t.Errorf("got %q", got)
		}
		w.say("hello", alices, "Connection: Authorization").want(w.t, http.StatusUnauthorized)
	})
}

func TestOnlyListedResponseMetadataReachTheCaller(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{options: gateway.Options{ResponseHeaders: []string{"X-Custom"}}}, func(w *world) {
		a := w.say("headers", alices, "TE: trailers")
		a.want(w.t, http.StatusOK)
		for name := range a.Trailer {
			w.t.Errorf("got the trailer %s", name)
		}
		if got := a.Header["Set-Cookie"]; !slices.Equal(got, []string{"a=b", "c=d"}) {
			w.t.Errorf("got the cookies %q", got)
		}
		if a.Header.Get("X-Custom") != "2" {
			w.t.Error("a listed header is missing")
		}
		for name := range a.Header {
			if !slices.Contains([]string{"Set-Cookie", "X-Custom", "Content-Type", "Content-Length", "Date"}, name) {
				w.t.Errorf("got the header %s", name)
			}
		}
	})
}

func TestPlaintextFromAnotherMachineIsRefused(t *testing.T) {
	t.Parallel()
	proxies := gateway.Options{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	anyway := gateway.Options{InsecureAllowPlaintext: true}
	for name, c := range map[string]struct {
		address string
		options gateway.Options
		fields  []string
		plain   bool
		want    int
	}{
		"from this machine":                                 {"127.0.0.1:1", gateway.Options{}, []string{alices}, true, 200},
		"from this machine, IPv6":                           {"[::1]:1", gateway.Options{}, []string{alices}, true, 200},
		"from another":                                      {"198.51.100.1:1", gateway.Options{}, []string{alices}, true, 403},
		"from another, a key":                               {"198.51.100.1:1", gateway.Options{}, []string{"X-Api-Key: a"}, true, 403},
		"from another, a cookie":                            {"198.51.100.1:1", gateway.Options{}, []string{"Cookie: __Host-session=a"}, true, 403},
		"from another, nothing":                             {"198.51.100.1:1", gateway.Options{}, nil, true, 403},
		"from another, over TLS":                            {"198.51.100.1:1", gateway.Options{}, []string{alices}, false, 200},
		"from nowhere":                                      {"", gateway.Options{}, []string{alices}, true, 403},
		"from a name":                                       {"localhost:1", gateway.Options{}, []string{alices}, true, 403},
		"saying that it was encrypted":                      {"198.51.100.1:1", gateway.Options{}, []string{alices, "X-Forwarded-Proto: https"}, true, 403},
		"saying that it is near":                            {"198.51.100.1:1", gateway.Options{}, []string{alices, "X-Forwarded-For: 127.0.0.1"}, true, 403},
		"through a proxy, encrypted":                        {"192.0.2.1:1", proxies, []string{alices, "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https"}, true, 200},
		"through a proxy, not encrypted":                    {"192.0.2.1:1", proxies, []string{alices, "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: http"}, true, 403},
		"through a proxy, said twice":                       {"192.0.2.1:1", proxies, []string{alices, "X-Forwarded-Proto: https", "X-Forwarded-Proto: https"}, true, 403},
		"through a proxy, over TLS, but the caller was not": {"192.0.2.1:1", proxies, []string{alices, "X-Forwarded-For: 198.51.100.1"}, false, 403},
		"through a proxy that says nothing":                 {"192.0.2.1:1", proxies, []string{alices}, true, 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyWay(t, setup{options: c.options, plain: c.plain, wrap: from(c.address)}, func(w *world) {
				w.say("hello", c.fields...).want(w.t, c.want)
			})
		})
	}
	t.Run("by name", func(t *testing.T) {
		t.Parallel()
		everyWay(t, setup{options: anyway, plain: true, wrap: from("198.51.100.1:1"), auth: []grpcauth.Option{grpcauth.InsecureAllowPlaintext()}}, func(w *world) {
			w.say("hello", alices).want(w.t, http.StatusOK)
		})
	})
	t.Run("by name at the server alone", func(t *testing.T) {
		t.Parallel()
		everyWay(t, setup{plain: true, wrap: from("198.51.100.1:1"), auth: []grpcauth.Option{grpcauth.InsecureAllowPlaintext()}}, func(w *world) {
			w.say("hello", alices).want(w.t, http.StatusForbidden)
		})
	})
	t.Run("by name at the gateway alone", func(t *testing.T) {
		t.Parallel()
		everyWay(t, setup{options: anyway, plain: true, wrap: from("198.51.100.1:1")}, func(w *world) {
			w.say("hello", alices).want(w.t, http.StatusForbidden)
		})
	})
}

// Whatever a backend reads of a call, a gateway that was told its schemes lets through.
func TestSchemesOfEveryBackendAreTaken(t *testing.T) {
	t.Parallel()
	s, err := memstore.New(memstore.Options{})
	check(t, err)
	sessions, err := session.New(session.Options{Store: s, Cookie: "sid", MetadataKey: "x-session-id"})
	check(t, err)
	keys, err := apikey.New(apikey.Options{Store: s, Prefix: "echo_test", Header: "x-echo-key"})
	check(t, err)
	t.Cleanup(func() { check(t, keys.Close()) })
	workloads, err := mtls.New(mtls.Options{Roots: grpcauthtest.NewCA(t).Pool})
	check(t, err)
	backend := grpcauth.Chain(sessions, keys, workloads)
	everyWay(t, setup{backend: backend, options: gateway.Options{Schemes: slices.Concat(sessions.Schemes(), keys.Schemes(), workloads.Schemes())}}, func(w *world) {
		id, _, err := sessions.Create(w.t.Context(), &grpcauth.User{ID: "carol"}, session.Device{})
		check(w.t, err)
		key, _, err := keys.Create(w.t.Context(), apikey.Key{Owner: "machine"})
		check(w.t, err)
		for field, user := range map[string]string{"Cookie: sid=" + id: "carol", "X-Session-Id: " + id: "carol", "X-Echo-Key: " + key: "machine"} {
			w.say("hello", field).want(w.t, http.StatusOK, `"userId":"`+user+`"`)
		}
		w.say("hello", "X-Api-Key: "+key).want(w.t, http.StatusUnauthorized)
	})
}

func TestOptionsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for want, opts := range map[string]gateway.Options{
		"Options.Realm is not":                      {Realm: "a\nb"},
		"Options.Schemes[0]: Cookie is not":         {Schemes: []grpcauth.Scheme{{Cookie: "a b"}}},
		"Options.Schemes[1]: Header is no metadata": {Schemes: []grpcauth.Scheme{{Cookie: "a"}, {Header: "X_Key"}}},
		"Options.Headers:":                          {Headers: []string{"Grpc-Metadata-A"}},
		`Options.Headers: "Host"`:                   {Headers: []string{"Host"}},
		`Options.Headers: "a_b"`:                    {Headers: []string{"a_b"}},
		`Options.Headers: ""`:                       {Headers: []string{""}},
		"Options.ResponseHeaders:":                  {ResponseHeaders: []string{"Connection"}},
		`Options.ResponseHeaders: "a b"`:            {ResponseHeaders: []string{"a b"}},
		"Options.PublicURL is no origin: write":     {PublicURL: "https://alice:" + secret + "@example.com"},
		"Options.PublicURL is no origin":            {PublicURL: "example.com"},
		"Options.PublicURL is no":                   {PublicURL: "https://example.com/api"},
		"Options.Origins:":                          {Origins: []string{"example.com"}},
		"Options.Proxies[0] is not":                 {Proxies: []netip.Prefix{{}}},
		"Options.Proxies[1] is not":                 {Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/0")}},
	} {
		_, err := gateway.ServeMuxOptions(opts)
		if err == nil || !strings.HasPrefix(err.Error(), "gateway: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("got %v, want %s", err, want)
		}
		_, err = gateway.NewMiddleware(grpcauth.New(grpcauth.Chain(newBackends(t).sessions)), gateway.MiddlewareOptions{Options: opts})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the middleware: got %v, want %s", err, want)
		}
	}
}
