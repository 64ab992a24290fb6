// SPDX-License-Identifier: Apache-2.0

package jwks_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/grpcauth/grpcauth/jwks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const providerURL = "https://idp.example.com/jwks"

// provider answers without a network, so that time can be made up.
type provider struct {
	mu     sync.Mutex
	answer func(req *http.Request) (*http.Response, error) // guarded by mu
	asked  atomic.Int64
}

func (p *provider) RoundTrip(req *http.Request) (*http.Response, error) {
	p.asked.Add(1)
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	return answer(req)
}

func (p *provider) set(answer func(*http.Request) (*http.Response, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func respond(status int, body string, header ...string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Add(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func fail(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

// publishes answers with keys of these IDs.
func publishes(ids ...string) func(*http.Request) (*http.Response, error) {
	return respond(http.StatusOK, setOf(ids...))
}

func setOf(ids ...string) string {
	var keys []string
	for _, id := range ids {
		keys = append(keys, keyOf(id))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

// keyOf is a key that depends on its ID alone.
func keyOf(id string) string {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, id)
	public := ed25519.NewKeyFromSeed(seed)[32:]
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, id, base64.RawURLEncoding.EncodeToString(public))
}

// remote returns a set of a provider that answers so.
func remote(t *testing.T, opts jwks.Options, answer func(*http.Request) (*http.Response, error)) (*jwks.RemoteSet, *provider) {
	t.Helper()
	p := &provider{answer: answer}
	opts.Client = &http.Client{Transport: p}
	s, err := jwks.Remote(providerURL, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, p
}

// expect compares what a kid gets: its ID, "none", or "error".
func expect(t *testing.T, s jwks.Set, kid, want string) {
	t.Helper()
	if got := look(t.Context(), s, kid); got != want {
		t.Errorf("kid %q: got %s, want %s", kid, got, want)
	}
}

func look(ctx context.Context, s jwks.Set, kid string) string {
	keys, err := s.Keys(ctx, kid)
	switch {
	case err != nil && len(keys) > 0:
		return "keys and an error"
	case err != nil:
		return "error"
	case len(keys) == 0:
		return "none"
	}
	return keys[0].ID
}

func expectAsked(t *testing.T, p *provider, want int64) {
	t.Helper()
	if got := p.asked.Load(); got != want {
		t.Errorf("the provider was asked %d times, want %d", got, want)
	}
}

func TestNothingIsFetchedBeforeItIsNeeded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, publishes("a"))
		synctest.Wait()
		expectAsked(t, p, 0)
		expect(t, s, "a", "a")
		expect(t, s, "a", "a")
		expectAsked(t, p, 1)
	})
}

func TestConcurrentCallersShareOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return publishes("a")(req)
		})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { expect(t, s, "a", "a") })
		}
		wg.Wait()
		expectAsked(t, p, 1)
	})
}

func TestUnknownKeyIsFetchedOncePerInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, publishes("a"))
		expect(t, s, "a", "a")
		p.set(publishes("a", "b"))
		expect(t, s, "b", "none") // the provider was asked just now
		expectAsked(t, p, 1)
		time.Sleep(10 * time.Second)
		expect(t, s, "b", "b")
		expect(t, s, "c", "none")
		expectAsked(t, p, 2)
	})
}

// Made-up key IDs neither reach the provider more often than allowed, nor keep a new key from being found, nor delay known ones.
func TestFloodOfMadeUpKeysStarvesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, publishes("a"))
		expect(t, s, "a", "a")
		ctx, stop := context.WithCancel(t.Context())
		var flood sync.WaitGroup
		for worker := range 64 {
			flood.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					began := time.Now()
					if got := look(t.Context(), s, fmt.Sprintf("%d-%d", worker, i)); got != "none" || time.Since(began) != 0 {
						t.Errorf("got %s after %v, want none at once", got, time.Since(began))
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		time.Sleep(35 * time.Second)
		p.set(publishes("a", "b"))
		rotated := time.Now()
		for look(t.Context(), s, "b") != "b" {
			expect(t, s, "a", "a")
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(rotated); took > 10*time.Second {
			t.Errorf("the new key was found after %v", took)
		}
		time.Sleep(25 * time.Second)
		stop()
		flood.Wait()
		if asked := p.asked.Load(); asked > 8 {
			t.Errorf("the provider was asked %d times in 70 seconds", asked)
		}
	})
}

func TestRemovedKeyStopsAtTheNextRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, publishes("a", "b"))
		expect(t, s, "b", "b")
		p.set(publishes("a"))
		time.Sleep(15*time.Minute*3/4 - time.Second)
		expect(t, s, "b", "b")
		expectAsked(t, p, 1)
		time.Sleep(time.Second)
		expect(t, s, "b", "b") // known keys wait for nobody
		synctest.Wait()
		expect(t, s, "b", "none")
		expect(t, s, "a", "a")
		expectAsked(t, p, 2)
	})
}

func TestKnownKeysOutliveTheirProviderForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{MaxStale: time.Hour}, publishes("a"))
		expect(t, s, "a", "a")
		p.set(fail)
		for range 74 {
			time.Sleep(time.Minute)
			expect(t, s, "a", "a")
		}
		expect(t, s, "b", "error") // it may have been published since
		time.Sleep(time.Minute - time.Nanosecond)
		expect(t, s, "a", "a")
		time.Sleep(time.Nanosecond)
		expect(t, s, "a", "error")
		expect(t, s, "", "error")
		if err := s.Ready(t.Context()); err == nil {
			t.Error("ready without keys")
		}
		p.set(publishes("b"))
		time.Sleep(10 * time.Second)
		expect(t, s, "b", "b")
		expect(t, s, "a", "none")
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestStaleKeysAreNotUsedWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{MaxStale: -1}, publishes("a"))
		expect(t, s, "a", "a")
		p.set(fail)
		time.Sleep(15 * time.Minute)
		expect(t, s, "a", "error")
	})
}

func TestProviderThatIsDownAtStartIsAskedAgainSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, fail)
		began := time.Now()
		for _, seconds := range []int{0, 1, 3, 7, 15, 25, 35} { // twice as long each time, up to the interval
			due := began.Add(time.Duration(seconds) * time.Second)
			time.Sleep(time.Until(due.Add(-time.Nanosecond)))
			asked := p.asked.Load()
			if seconds > 0 {
				expect(t, s, "a", "error")
				expectAsked(t, p, asked)
			}
			time.Sleep(time.Until(due))
			expect(t, s, "a", "error")
			expectAsked(t, p, asked+1)
		}
		p.set(publishes("a"))
		time.Sleep(10 * time.Second)
		expect(t, s, "a", "a")
	})
}

func TestAnswerThatIsNoKeySetLeavesTheOldOne(t *testing.T) {
	t.Parallel()
	twice := `{"keys":[` + keyOf("a") + `,` + keyOf("a") + `]}`
	var many []string
	for i := range 1001 {
		many = append(many, fmt.Sprint(i))
	}
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"refused connection": fail, "500": respond(500, setOf("b")), "204": respond(204, ""), "404": respond(404, setOf("b")), "304": respond(304, ""),
		"HTML": respond(200, "<html></html>"), "nothing": respond(200, ""), "an array": respond(200, "[]"), "no keys": respond(200, "{}"), "cut off": respond(200, setOf("b")[:40]),
		"an empty set": respond(200, `{"keys":[]}`), "two keys of one ID": respond(200, twice), "too many keys": respond(200, setOf(many...)),
		"more than a mebibyte": respond(200, setOf("b")+strings.Repeat(" ", 1<<20)),
		"only a secret":        respond(200, `{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0","alg":"HS256","kid":"b"}]}`),
		"only for encryption":  respond(200, strings.Replace(setOf("b"), `{"kty"`, `{"use":"enc","kty"`, 1)),
		"the same name twice":  respond(200, `{"keys":[],"keys":[`+keyOf("b")+`]}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, p := remote(t, jwks.Options{}, publishes("a"))
				expect(t, s, "a", "a")
				p.set(answer)
				time.Sleep(10 * time.Second)
				expect(t, s, "b", "error")
				expect(t, s, "a", "a")
				if stats := s.Stats(); stats.Fetches != 2 || stats.Failures != 1 || stats.Err == nil || stats.Keys != 1 {
					t.Errorf("got %+v", stats)
				}
				p.set(publishes("b"))
				time.Sleep(10 * time.Second)
				expect(t, s, "b", "b")
				if stats := s.Stats(); stats.Err != nil {
					t.Errorf("got %+v", stats)
				}
			})
		})
	}
}

func TestKeyThatCannotBeUsedIsSkippedAndCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		others := []string{
			`{"kty":"XYZ","kid":"new kind"}`, `{"kty":"oct","k":"AAAA","kid":"secret"}`, `{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"weak"}`,
			strings.Replace(keyOf("private"), `{`, `{"d":"AAAA",`, 1),
		}
		encryption := strings.Replace(keyOf("a"), `{`, `{"use":"enc",`, 1) // of the same ID, but never mistaken for it
		s, _ := remote(t, jwks.Options{}, respond(200, `{"keys":[`+strings.Join(others, ",")+`,`+encryption+`,`+keyOf("a")+`]}`))
		expect(t, s, "a", "a")
		for _, kid := range []string{"new kind", "secret", "weak", "private"} {
			expect(t, s, kid, "none")
		}
		if stats := s.Stats(); stats.Keys != 1 || stats.Skipped != len(others) || stats.Fetched.IsZero() {
			t.Errorf("got %+v", stats)
		}
	})
}

func TestFreshnessIsBounded(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": 15 * time.Minute, "max-age=1800": 30 * time.Minute, "public, Max-Age=1800, must-revalidate": 30 * time.Minute, `max-age="1800"`: 30 * time.Minute,
		"max-age=1": time.Minute, "max-age=0": time.Minute, "no-store": time.Minute, "no-cache": time.Minute, "max-age=1800, no-cache": time.Minute,
		"max-age=31536000": time.Hour, "max-age=99999999999999999999": 15 * time.Minute, "max-age=-5": time.Minute, "max-age=soon": 15 * time.Minute, "s-maxage=1800": 15 * time.Minute,
	} {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, p := remote(t, jwks.Options{MaxStale: -1}, respond(200, setOf("a"), "Cache-Control", header))
				expect(t, s, "a", "a")
				time.Sleep(want*3/4 - 1)
				expect(t, s, "a", "a")
				synctest.Wait()
				expectAsked(t, p, 1)
				time.Sleep(time.Nanosecond)
				expect(t, s, "a", "a")
				synctest.Wait()
				expectAsked(t, p, 2)
			})
		})
	}
}

func TestTimeInACacheCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, respond(200, setOf("a"), "Cache-Control", "max-age=3600", "Age", "1800"))
		expect(t, s, "a", "a")
		time.Sleep(30 * time.Minute * 3 / 4)
		expect(t, s, "a", "a")
		synctest.Wait()
		expectAsked(t, p, 2)
	})
}

func TestCallerThatGivesUpFailsNobodyElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, func(req *http.Request) (*http.Response, error) {
			select {
			case <-time.After(time.Second):
				return publishes("a")(req)
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { _, err := s.Keys(ctx, "a"); first <- err }()
		synctest.Wait()
		var others sync.WaitGroup
		for range 10 {
			others.Go(func() { expect(t, s, "a", "a") })
		}
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		others.Wait()
		expectAsked(t, p, 1)
	})
}

func TestSlowProviderDelaysNobodyForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
		s, p := remote(t, jwks.Options{}, publishes("a"))
		expect(t, s, "a", "a")
		p.set(slow)
		time.Sleep(time.Minute)
		began := time.Now()
		expect(t, s, "b", "error")
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("an unknown key took %v", took)
		}
		began = time.Now()
		expect(t, s, "a", "a")
		if took := time.Since(began); took != 0 {
			t.Errorf("a known key took %v", took)
		}
		time.Sleep(8 * time.Second) // the fetch ends at its timeout
		synctest.Wait()
		if stats := s.Stats(); stats.Failures != 1 || !errors.Is(stats.Err, context.DeadlineExceeded) {
			t.Errorf("got %+v", stats)
		}
	})
}

func TestFetchThatPanicsDoesSoOnceAndInItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			panic("in the transport")
		})
		var panicked, failed atomic.Int64
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				defer func() {
					if recover() != nil {
						panicked.Add(1)
					}
				}()
				if look(t.Context(), s, "a") == "error" {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		if panicked.Load() != 1 || failed.Load() != 9 {
			t.Errorf("%d panicked and %d failed, want 1 and 9", panicked.Load(), failed.Load())
		}
		p.set(publishes("a"))
		time.Sleep(time.Second)
		expect(t, s, "a", "a")
	})
}

func TestCloseEndsAFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, publishes("a"))
		expect(t, s, "a", "a")
		p.set(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		time.Sleep(10 * time.Second)
		waiting := make(chan string, 1)
		go func() { waiting <- look(t.Context(), s, "b") }()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-waiting; got != "error" {
			t.Errorf("got %s", got)
		}
		time.Sleep(time.Minute)
		expect(t, s, "a", "a")
		expect(t, s, "b", "error")
		expectAsked(t, p, 2)
	})
}

func TestClockThatIsSetBackDoesNotStopFetching(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var offset time.Duration
		s, p := remote(t, jwks.Options{Now: func() time.Time { return time.Now().Add(offset) }}, publishes("a"))
		expect(t, s, "a", "a")
		offset = -2 * time.Hour
		p.set(publishes("b"))
		expect(t, s, "b", "b")
		expect(t, s, "a", "none")
	})
}

func TestKeysWithoutAnIDServeAnyToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := remote(t, jwks.Options{}, respond(200, strings.Replace(setOf("a"), `"kid":"a",`, "", 1)))
		expect(t, s, "any", "")
		expect(t, s, "", "")
		expectAsked(t, p, 1)
	})
}

func TestPlaceIsFoundBeforeEachFetchAndAnewAfterAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls []bool
		place := func(_ context.Context, anew bool) (string, error) {
			if calls = append(calls, anew); len(calls) == 1 {
				return "", errors.New("nobody knows")
			}
			return providerURL, nil
		}
		p := &provider{answer: publishes("a")}
		s, err := jwks.Located("somewhere", place, jwks.Options{Client: &http.Client{Transport: p}})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, s, "a", "error")
		expectAsked(t, p, 0)
		time.Sleep(10 * time.Second)
		expect(t, s, "a", "a")
		time.Sleep(10 * time.Second)
		expect(t, s, "b", "none")
		if got := fmt.Sprint(calls); got != "[false true false]" {
			t.Errorf("told to look anew: %s", got)
		}
	})
}

func TestPlaceThatIsFoundIsCheckedLikeAnyOther(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://idp.example.com/jwks", "file:///etc/passwd", "https://a:b@idp.example.com/jwks", "", "/jwks"} {
		p := &provider{answer: publishes("a")}
		s, err := jwks.Located("somewhere", func(context.Context, bool) (string, error) { return url, nil }, jwks.Options{Client: &http.Client{Transport: p}})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, s, "a", "error")
		expectAsked(t, p, 0)
	}
	if _, err := jwks.Located("nowhere", nil, jwks.Options{}); err == nil {
		t.Error("a nil function was taken")
	}
}

func TestRemoteRefusesWhatCannotBeAsked(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"": "no host", "idp.example.com/jwks": "no host", "https://": "no host", "http://idp.example.com": "https", "ftp://idp.example.com": "scheme",
		"https://user:hunter2@idp.example.com": "user info", "https://idp.example.com/#keys": "fragment", "https://%zz": "not a URL", "http://127.0.0.1.example.com/": "https",
	} {
		if s, err := jwks.Remote(url, jwks.Options{}); s != nil || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q in it", url, err, want)
		}
	}
	for _, url := range []string{"https://idp.example.com/jwks?a=b", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]/"} {
		if _, err := jwks.Remote(url, jwks.Options{}); err != nil {
			t.Errorf("%s: got %v", url, err)
		}
	}
	if _, err := jwks.Remote("http://idp.example.com", jwks.Options{InsecureAllowPlaintext: true}); err != nil {
		t.Errorf("plaintext, allowed: got %v", err)
	}
	for want, opts := range map[string]jwks.Options{
		"Timeout": {Timeout: -1}, "MaxWait": {MaxWait: -1}, "MinInterval": {MinInterval: -1}, "MinAge": {MinAge: -1}, "MaxAge": {MaxAge: -1}, "above MaxAge": {MinAge: 2, MaxAge: 1},
	} {
		if _, err := jwks.Remote(providerURL, opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q in it", opts, err, want)
		}
	}
}
