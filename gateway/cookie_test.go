// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/gateway"
)

func TestOnlyTheSessionsCookieReachesTheServer(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{}, func(w *world) {
		cookie := w.login(w.t, "carol")
		for _, fields := range [][]string{
			{"Cookie: " + cookie},
			{"Cookie: a=b; " + cookie + "; c=d"},
			{"Cookie: a=b", "Cookie: " + cookie, "Cookie: c=d"}, // HTTP/2 splits them
			{"Cookie: a=b;" + cookie + ";;=; ; \xe9=1"},
		} {
			w.say("hello", fields...).want(w.t, http.StatusOK, `"carol"`)
			if got := w.echo.calls()[0].md["cookie"]; !slices.Equal(got, []string{cookie}) {
				w.t.Errorf("%q: got %q, want %q", fields, got, cookie)
			}
		}
	})
}

func TestTwoCookiesOfTheSessionAreRefused(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{}, func(w *world) {
		cookie, other := w.login(w.t, "carol"), w.login(w.t, "mallory")
		for _, fields := range [][]string{
			{"Cookie: " + cookie + "; " + other},
			{"Cookie: " + cookie + "; " + cookie},
			{"Cookie: " + other, "Cookie: " + cookie},
			{"Cookie: " + cookie + "; __Host-session=", "Cookie: a=b"},
			{"Cookie: " + cookie + "; __Host-session"},
		} {
			a := w.say("hello", fields...)
			if a.StatusCode != http.StatusUnauthorized && !strings.HasSuffix(fields[0], "__Host-session") {
				w.t.Errorf("%q: got %d %s", fields, a.StatusCode, a.text)
			}
			if strings.Contains(a.text, "mallory") {
				w.t.Errorf("%q: mallory", fields)
			}
		}
	})
}

func TestCookieBesideAnotherCredentialIsRefused(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{}, func(w *world) {
		w.say("hello", "Cookie: "+w.login(w.t, "carol"), alices).want(w.t, http.StatusUnauthorized)
	})
}

// A browser sends the cookie by itself, also for a page of somebody else.
func TestCookieChangesNothingForAnotherOriginsPage(t *testing.T) {
	t.Parallel()
	const own, app, evil = "https://example.com", "https://app.example.com", "https://evil.example"
	fetched := func(site string) []string { return []string{"Sec-Fetch-Site: " + site} }
	origin := func(origin string) []string { return []string{"Origin: " + origin} }
	const json = "Content-Type: application/json"
	for name, c := range map[string]struct {
		method string
		kind   string
		fields []string
		want   int
	}{
		"no browser":                     {"POST", json, nil, 200},
		"same origin":                    {"POST", json, fetched("same-origin"), 200},
		"typed by the user":              {"POST", json, fetched("none"), 200},
		"same site":                      {"POST", json, fetched("same-site"), 403},
		"cross-site":                     {"POST", json, fetched("cross-site"), 403},
		"what no browser says":           {"POST", json, fetched("x"), 403},
		"own origin":                     {"POST", json, origin(own), 200},
		"another origin":                 {"POST", json, origin(evil), 403},
		"no origin":                      {"POST", json, origin("null"), 403},
		"another port":                   {"POST", json, origin(own + ":444"), 403},
		"trusted origin":                 {"POST", json, append(fetched("cross-site"), origin(app)...), 200},
		"public origin":                  {"POST", json, append(fetched("cross-site"), origin("https://api.example.com")...), 200},
		"another origin beside a site":   {"POST", json, append(fetched("cross-site"), origin(evil)...), 403},
		"read across sites":              {"GET", "", fetched("cross-site"), 200},
		"form":                           {"POST", "Content-Type: application/x-www-form-urlencoded", fetched("same-origin"), 403},
		"form with a parameter":          {"POST", "Content-Type: application/X-WWW-form-urlencoded; charset=utf-8", fetched("same-origin"), 403},
		"upload form":                    {"POST", "Content-Type: multipart/form-data; boundary=a", nil, 403},
		"text":                           {"POST", "Content-Type: text/plain", nil, 403},
		"no type":                        {"POST", "", nil, 403},
		"no type that is one":            {"POST", "Content-Type: ;", nil, 403},
		"override":                       {"POST", json, []string{"X-HTTP-Method-Override: GET"}, 403},
		"override of a read":             {"GET", "", []string{"X-HTTP-Method-Override: DELETE"}, 403},
		"override by another name":       {"POST", json, []string{"X-Method-Override: PUT"}, 403},
		"override by yet another":        {"POST", json, []string{"X-HTTP-Method: PUT"}, 403},
		"override hidden by underscores": {"POST", json, []string{"x_http_method_override: PUT"}, 200}, // dropped
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup{options: gateway.Options{Origins: []string{app}, PublicURL: "https://api.example.com"}}
			everyWay(t, s, func(w *world) {
				path, body, fields := "/v1/echo", `{"text":"hello"}`, c.fields
				if c.method == http.MethodGet {
					path, body = "/v1/echo/hello", ""
				}
				if c.kind != "" {
					fields = append([]string{c.kind}, fields...)
				}
				w.raw(c.method, path, body, append(fields, "Cookie: "+w.login(w.t, "carol"))...).want(w.t, c.want)
				if n := len(w.echo.calls()); n != 0 && c.want == http.StatusForbidden {
					w.t.Errorf("the server was called %d times", n)
				}
				if c.want == http.StatusForbidden { // others than cookies are not sent by themselves
					if a := w.raw(c.method, path, body, append(fields, alices)...); a.StatusCode != http.StatusOK {
						w.t.Errorf("with a token: got %d %s", a.StatusCode, a.text)
					}
					if a := w.raw(c.method, path, body, append(fields, "Cookie: theme=dark")...); a.StatusCode == http.StatusOK {
						w.t.Errorf("with another cookie: got %d", a.StatusCode)
					}
				}
			})
		})
	}
}

func TestFormsOfKnownOriginsAreTakenIfAllowed(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{options: gateway.Options{AllowForms: true}}, func(w *world) {
		cookie := "Cookie: " + w.login(w.t, "carol")
		const form = "Content-Type: text/plain"
		for fields, want := range map[string]int{
			"Sec-Fetch-Site: same-origin": 200, "Sec-Fetch-Site: cross-site": 403, "Origin: https://example.com": 200, "Origin: https://evil.example": 403, "Accept: text/html": 403,
		} {
			if a := w.raw(http.MethodPost, "/v1/echo", `{"text":"hello"}`, form, cookie, fields); a.StatusCode != want {
				w.t.Errorf("%s: got %d %s, want %d", fields, a.StatusCode, a.text, want)
			}
		}
	})
}

// A page of somebody else could log its visitors in as somebody else, without a cookie.
func TestFormsOfOtherOriginsAreRefusedWithoutACookieToo(t *testing.T) {
	t.Parallel()
	public := grpcauth.WithPolicy(grpcauth.Policy{"/echo.v1.EchoService/*": {Access: grpcauth.Public}})
	everyWay(t, setup{auth: []grpcauth.Option{public}}, func(w *world) {
		for _, c := range []struct {
			kind, field, credential string
			want                    int
		}{
			{"text/plain", "Sec-Fetch-Site: cross-site", "X: y", 403},
			{"text/plain", "Origin: https://evil.example", "X: y", 403},
			{"application/x-www-form-urlencoded", "Sec-Fetch-Site: same-site", "Cookie: theme=dark", 403},
			{"text/plain", "Sec-Fetch-Site: same-origin", "X: y", 200},
			{"text/plain", "X: y", "X: y", 200},
			{"application/json", "Sec-Fetch-Site: cross-site", "X: y", 200}, // browsers ask first
			{"text/plain", "Sec-Fetch-Site: cross-site", alices, 200},
		} {
			if a := w.raw(http.MethodPost, "/v1/echo", `{"text":"hello"}`, "Content-Type: "+c.kind, c.field, c.credential); a.StatusCode != c.want {
				w.t.Errorf("%+v: got %d %s", c, a.StatusCode, a.text)
			}
		}
	})
}

// The backend says which cookie it reads: no other is known.
func TestCookieOfTheBackendIsTheOneThatPasses(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{options: gateway.Options{Schemes: []grpcauth.Scheme{{Cookie: "other"}}}}, func(w *world) {
		w.say("hello", "Cookie: "+w.login(w.t, "carol")).want(w.t, http.StatusUnauthorized)
		w.say("hello", "Cookie: other=1; third=2", alices)
		if got := fmt.Sprint(w.echo.calls()[0].md["cookie"]); got != "[other=1]" {
			w.t.Errorf("got %s", got)
		}
	})
}
