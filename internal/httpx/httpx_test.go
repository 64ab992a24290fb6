// SPDX-License-Identifier: Apache-2.0

package httpx_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/grpcauth/grpcauth/internal/httpx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func Example() {
	for _, text := range []string{"https://idp.example.com/keys", "http://127.0.0.1:8080/keys", "http://idp.example.com/keys"} {
		_, err := httpx.CheckURL(text, false)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// <nil>
	// http: write https, or allow plaintext by name
}

func TestSameOriginComparesSchemeHostAndPort(t *testing.T) {
	t.Parallel()
	for pair, want := range map[[2]string]bool{
		{"https://a.example/x", "https://a.example:443/y?z"}: true,
		{"http://a.example:80", "http://a.example"}:          true,
		{"https://a.example", "http://a.example"}:            false,
		{"https://a.example", "https://b.example"}:           false,
		{"https://a.example", "https://a.example.b.example"}: false,
		{"https://a.example", "https://a.example:8443"}:      false,
		{"http://a.example:443", "https://a.example"}:        false,
	} {
		a, errA := url.Parse(pair[0])
		b, errB := url.Parse(pair[1])
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if got := httpx.SameOrigin(a, b); got != want || httpx.SameOrigin(b, a) != want {
			t.Errorf("%v: got %t, want %t", pair, got, want)
		}
	}
}

// get asks a server that ends with the test.
func get(t *testing.T, server *httptest.Server, limit int64) (*httpx.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := httpx.New(nil, false)
	defer client.Close()
	return client.Do(req, limit)
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func TestAnswerIsReadUpToTheLimit(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(make([]byte, 100))
	})
	resp, err := get(t, server, 100)
	if err != nil || resp.Status != http.StatusTeapot || resp.Header.Get("X-Answer") != "yes" || len(resp.Body) != 100 {
		t.Errorf("at the limit: got %v, %v", resp, err)
	}
	if resp, err := get(t, server, 99); resp != nil || !errors.Is(err, httpx.ErrTooLarge) {
		t.Errorf("above the limit: got %v, %v, want %v", resp, err, httpx.ErrTooLarge)
	}
}

func TestLimitIsThatOfTheUnpackedAnswer(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(make([]byte, 64<<20))
	_ = w.Close()
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	if resp, err := get(t, server, 1<<20); resp != nil || !errors.Is(err, httpx.ErrTooLarge) {
		t.Errorf("got %v, %v, want %v", resp, err, httpx.ErrTooLarge)
	}
}

func TestRedirectsStayWithinTheOrigin(t *testing.T) {
	t.Parallel()
	for _, code := range []int{301, 302, 303, 307, 308} {
		var strayed atomic.Int64
		other := serve(t, func(http.ResponseWriter, *http.Request) { strayed.Add(1) })
		away := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, code) })
		if resp, err := get(t, away, 100); resp != nil || err == nil || strayed.Load() > 0 {
			t.Errorf("%d to another origin: got %v, %v and %d requests there", code, resp, err, strayed.Load())
		}
		within := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/there" {
				http.Redirect(w, r, "/there", code)
			}
		})
		if resp, err := get(t, within, 100); err != nil || resp.Status != http.StatusOK {
			t.Errorf("%d within the origin: got %v, %v", code, resp, err)
		}
	}
	var asked atomic.Int64
	loop := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, "/", http.StatusFound)
	})
	if _, err := get(t, loop, 100); err == nil || asked.Load() > 4 {
		t.Errorf("a loop: got %v after %d requests", err, asked.Load())
	}
}

func TestCookiesOfTheCallersClientStayBehind(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Header.Get("Cookie"))) })
	base := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Jar: jar{}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := httpx.New(base, false).Do(req, 100)
	if err != nil || len(resp.Body) > 0 || base.Jar == nil {
		t.Errorf("got %v, %v", resp, err)
	}
}

type jar struct{}

func (jar) SetCookies(*url.URL, []*http.Cookie) {}
func (jar) Cookies(*url.URL) []*http.Cookie     { return []*http.Cookie{{Name: "a", Value: "b"}} }

func TestRequestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("x", 10)))
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := httpx.New(nil, false).Do(req, 100); resp != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestErrorsRepeatNothingThatTheServerSaid(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"not HTTP":       "the-secret\r\n\r\n",
		"status":         "HTTP/1.1 the-secret OK\r\n\r\n",
		"header":         "HTTP/1.1 200 OK\r\nthe-secret\r\n\r\n",
		"length":         "HTTP/1.1 200 OK\r\nContent-Length: the-secret\r\n\r\n",
		"chunk":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nthe-secret\r\n",
		"redirect":       "HTTP/1.1 302 Found\r\nLocation: http://the-secret.example/\r\nContent-Length: 0\r\n\r\n",
		"redirect's URL": "HTTP/1.1 302 Found\r\nLocation: http://[the-secret\r\nContent-Length: 0\r\n\r\n",
		"short body":     "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nthe-secret",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, buffered, err := http.NewResponseController(w).Hijack()
				if err != nil {
					panic(err)
				}
				_, _ = buffered.WriteString(answer)
				_, _ = buffered.Flush(), conn.Close()
			})
			if _, err := get(t, server, 1<<10); err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, errors.Unwrap(err)), "the-secret") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestShownURLHasNoUserInfo(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://idp.example.com/keys?a=b":       "https://idp.example.com/keys?a=b",
		"https://bob:the-secret@idp.example.com": "https://idp.example.com",
		"https://the-secret@idp.example.com/":    "https://idp.example.com/",
		"https://bob:the-secret%@idp":            "",
	} {
		if got := httpx.Shown(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
