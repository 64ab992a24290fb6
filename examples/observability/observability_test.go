// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpcauth/grpcauth/grpcauthtest"
	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book keeps what is written. It is safe for concurrent use.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestEveryDecisionCanBeSeen(t *testing.T) {
	t.Parallel()
	audit := &book{}
	s, err := newSite(t.Context(), audit)
	if err != nil {
		t.Fatal(err)
	}
	client := echov1.NewEchoServiceClient(grpcauthtest.Dial(t, s.server, nil))
	for _, c := range []struct {
		ctx   context.Context
		want  codes.Code
		times int
	}{
		{grpcauthtest.WithBearer(t.Context(), userToken), codes.OK, 20},
		{grpcauthtest.WithBearer(t.Context(), "wrong"), codes.Unauthenticated, 3},
		{t.Context(), codes.Unauthenticated, 2},
		{grpcauthtest.WithBasic(t.Context(), user, userPassword), codes.OK, 1},
		{grpcauthtest.WithBasic(t.Context(), user, "wrong"), codes.Unauthenticated, 5},
		{grpcauthtest.WithBasic(t.Context(), "mallory", "wrong"), codes.ResourceExhausted, 1},
	} {
		for range c.times {
			if _, err := client.Echo(c.ctx, &echov1.EchoRequest{}); status.Code(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		}
	}

	counts := map[string]int{}
	for line := range strings.Lines(audit.String()) {
		var record struct {
			Outcome string `json:"grpcauth.outcome"`
			Reason  string `json:"error.type"`
			Sampled int    `json:"grpcauth.sampled"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		counts[record.Outcome+" "+record.Reason] += max(record.Sampled, 1)
	}
	want := map[string]int{"accepted ": 30, "refused CREDENTIALS_INVALID": 8, "refused CREDENTIALS_MISSING": 2, "refused TOO_MANY_ATTEMPTS": 1}
	for outcome, n := range want {
		if counts[outcome] != n {
			t.Errorf("the audit log has %d of %q, want %d", counts[outcome], outcome, n)
		}
	}

	page := httptest.NewRecorder()
	s.metrics.ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	metrics := page.Body.String()
	for _, line := range []string{
		`grpcauth_decisions_total\{[^}]*outcome="accepted"[^}]*\} 20`,
		`grpcauth_decisions_total\{[^}]*error_type="TOO_MANY_ATTEMPTS"[^}]*\} 1`,
		`grpcauth_decision_duration_seconds_count\{`,
		`grpcauth_cache_hits_total\{[^}]*\} \d+`,
		`grpcauth_limiter_refused_total\{[^}]*\} 1`,
	} {
		if !regexp.MustCompile(line).MatchString(metrics) {
			t.Errorf("no line is like %s in\n%s", line, metrics)
		}
	}
	for _, secret := range []string{userPassword, userToken, "mallory", "YWxpY2U6"} {
		if strings.Contains(audit.String()+metrics, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestServesUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"-listen", "127.0.0.1:0", "-metrics", "127.0.0.1:0"}, io.Discard, writer)
		_ = writer.Close()
	}()
	line := make([]byte, 200)
	n, err := reader.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	url := regexp.MustCompile(`http://\S+`).FindString(string(line[:n]))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), "grpcauth_limiter") {
		t.Errorf("got %s, %v", body, err)
	}
	_ = resp.Body.Close()
	interrupt()
	_, _ = io.Copy(io.Discard, reader)
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestWrongArgumentsAreTold(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-nope"}, {"extra"}} {
		if code := run(t.Context(), args, io.Discard, io.Discard); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
	if code := run(t.Context(), []string{"-listen", "256.0.0.1:0"}, io.Discard, io.Discard); code != 1 {
		t.Errorf("an address that is none: exit code %d", code)
	}
}
