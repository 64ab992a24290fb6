// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/gateway"
)

// servers are the challenges of the server, which says in that for tokens what was wrong with one.
func servers(bearer string) []string {
	return []string{`ApiKey realm="grpcauth", header="x-api-key"`, bearer, `Session realm="grpcauth", cookie="__Host-session"`}
}

// Each answer has its status, the headers that belong to it, and no word about the inside.
func TestErrorsAreAnswersThatHTTPClientsUnderstand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, credential string
		status           int
		code, reason     string
		retry            string
		challenges       []string
		inside           bool // the handler's own text is what the caller is to read
	}{
		"nothing":               {"a", "X: y", 401, "UNAUTHENTICATED", "CREDENTIALS_MISSING", "", servers(`Bearer realm="grpcauth"`), false},
		"wrong":                 {"a", "Authorization: Bearer nobodys", 401, "UNAUTHENTICATED", "CREDENTIALS_INVALID", "", servers(`Bearer realm="grpcauth", error="invalid_token"`), false},
		"throttled":             {"a", "Authorization: Bearer busy", 429, "RESOURCE_EXHAUSTED", "TOO_MANY_ATTEMPTS", "3", nil, false},
		"down":                  {"a", "Authorization: Bearer down", 503, "UNAVAILABLE", "AUTHENTICATION_UNAVAILABLE", "1", nil, false},
		"bug":                   {"a", "Authorization: Bearer bug", 500, "INTERNAL", "AUTHENTICATION_FAILED", "", nil, false},
		"step up":               {"step up", alices, 401, "UNAUTHENTICATED", "STEP_UP_REQUIRED", "", servers(`Bearer realm="grpcauth", error="insufficient_user_authentication"`), false},
		"handler's refusal":     {"unauthenticated", alices, 401, "UNAUTHENTICATED", "", "", []string{`Bearer realm="grpcauth"`}, true},
		"handler's forbidden":   {"forbidden", alices, 403, "PERMISSION_DENIED", "", "", nil, true},
		"handler's exhausted":   {"exhausted", alices, 429, "RESOURCE_EXHAUSTED", "", "", nil, true},
		"handler's not found":   {"not found", alices, 404, "NOT_FOUND", "", "", nil, true},
		"handler's unknown":     {"unknown", alices, 500, "UNKNOWN", "", "", nil, false},
		"handler's internal":    {"internal", alices, 500, "INTERNAL", "", "", nil, false},
		"handler's data loss":   {"data loss", alices, 500, "DATA_LOSS", "", "", nil, false},
		"handler's unavailable": {"unavailable", alices, 503, "UNAVAILABLE", "", "1", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, problems := range []bool{false, true} {
				everyWay(t, setup{options: gateway.Options{Problems: problems}}, func(w *world) {
					a := w.say(c.text, c.credential)
					a.want(w.t, c.status)
					got := a.Header["Www-Authenticate"]
					slices.Sort(got)
					if !slices.Equal(got, c.challenges) {
						w.t.Errorf("got the challenges %q, want %q", got, c.challenges)
					}
					if got := a.Header.Get("Retry-After"); got != c.retry {
						w.t.Errorf("got Retry-After %q, want %q", got, c.retry)
					}
					if got := a.Header.Get("Cache-Control"); got != "no-store" {
						w.t.Errorf("got Cache-Control %q", got)
					}
					var body struct {
						Type, Title, Detail, Reason, Message string
						Status                               int
						Code                                 any
					}
					check(w.t, json.Unmarshal([]byte(a.text), &body))
					if problems {
						if a.Header.Get("Content-Type") != "application/problem+json" || body.Type != "about:blank" || body.Title != http.StatusText(c.status) ||
							body.Status != c.status || body.Code != c.code || body.Reason != c.reason || body.Detail == "" {
							w.t.Errorf("got %s", a.text)
						}
					} else if a.Header.Get("Content-Type") != "application/json" || body.Message == "" || !strings.Contains(a.text, c.reason) {
						w.t.Errorf("got %s", a.text)
					}
					text := body.Detail + body.Message
					if strings.Contains(text, "10.0.0.7") != c.inside || strings.ContainsAny(text, "\r\n\x00") || strings.Contains(a.text, "desk") {
						w.t.Errorf("got the text %q", text)
					}
					if len(a.Header["Set-Cookie"]) != 0 {
						w.t.Errorf("got a cookie")
					}
				})
			}
		})
	}
}

func TestEveryChallengeIsAHeaderOfItsOwn(t *testing.T) {
	t.Parallel()
	// The server refuses by its handler, so the gateway has to know what to ask for.
	everyWay(t, setup{options: gateway.Options{Realm: "shop", Schemes: twoSchemes}}, func(w *world) {
		a := w.say("unauthenticated", alices)
		if got := a.Header["Www-Authenticate"]; !slices.Equal(got, []string{`Bearer realm="shop"`, `Basic realm="shop"`}) {
			w.t.Errorf("got %q", got)
		}
	})
}

func TestStreamsFailLikeCalls(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{options: gateway.Options{Problems: true}}, func(w *world) {
		a := w.raw(http.MethodGet, "/v1/expand/one", "")
		a.want(w.t, http.StatusUnauthorized)
		if a.Header.Get("WWW-Authenticate") == "" {
			w.t.Error("no challenge")
		}
		a = w.raw(http.MethodGet, "/v1/expand/unauthenticated", "", alices) // says the handler
		a.want(w.t, http.StatusUnauthorized)
		if a.Header.Get("WWW-Authenticate") == "" {
			w.t.Error("no challenge")
		}
		a = w.raw(http.MethodGet, "/v1/expand/one", "", "Authorization: Bearer busy")
		a.want(w.t, http.StatusTooManyRequests)
		if a.Header.Get("Retry-After") != "3" {
			w.t.Errorf("got Retry-After %q", a.Header.Get("Retry-After"))
		}
		a = w.raw(http.MethodGet, "/v1/expand/one%20internal", "", alices)
		a.want(w.t, http.StatusOK, `"one"`, "internal error")
		if strings.Contains(a.text, "10.0.0.7") {
			w.t.Errorf("got %s", a.text)
		}
	})
}

// What no server was asked about is answered in the same way.
func TestRequestsThatAreNoCallsAreAnsweredAlike(t *testing.T) {
	t.Parallel()
	everyWay(t, setup{options: gateway.Options{Problems: true}}, func(w *world) {
		for _, c := range []struct {
			method, path, body string
			want               int
		}{
			{http.MethodGet, "/v1/nothing", "", http.StatusNotFound},
			{http.MethodDelete, "/v1/echo", "", http.StatusNotImplemented},
			{http.MethodPost, "/v1/echo", `{"text":`, http.StatusBadRequest},
			{http.MethodPost, "/v1/echo/hello", "text=a", http.StatusNotImplemented}, // a form that would be a GET
		} {
			a := w.raw(c.method, c.path, c.body, alices, "Content-Type: application/x-www-form-urlencoded")
			if a.StatusCode != c.want || a.Header.Get("Content-Type") != "application/problem+json" {
				w.t.Errorf("%s %s: got %d %q %s", c.method, c.path, a.StatusCode, a.Header.Get("Content-Type"), a.text)
			}
		}
		if n := len(w.echo.calls()); n != 0 {
			w.t.Errorf("the server was called %d times", n)
		}
	})
}
