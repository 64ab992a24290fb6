// SPDX-License-Identifier: Apache-2.0

package clientauth_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/grpcauth/grpcauth/clientauth"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

var start = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

// oauth2Func is a source of golang.org/x/oauth2.
type oauth2Func func() (*oauth2.Token, error)

func (f oauth2Func) Token() (*oauth2.Token, error) { return f() }

func TestOAuth2SourceThatHangsHoldsNobodyLongerThanHerContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		release := make(chan struct{})
		src := clientauth.OAuth2(oauth2Func(func() (*oauth2.Token, error) {
			asked.Add(1)
			<-release
			return &oauth2.Token{AccessToken: "a", Expiry: start}, nil
		}))
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := src.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			cancel()
		}
		if asked.Load() != 1 {
			t.Errorf("a source that hangs was asked %d times", asked.Load())
		}
		close(release)
		synctest.Wait()
		if token, err := src.Token(t.Context()); err != nil || token.Value != "a" || !token.Expiry.Equal(start) {
			t.Errorf("got %v", err)
		}
	})
}

func TestSourceThatDoesNotReturnIsAnError(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() (*oauth2.Token, error){
		"panic":               func() (*oauth2.Token, error) { panic(secret) },
		"no token, no error":  func() (*oauth2.Token, error) { return nil, nil },
		"ends its goroutine":  func() (*oauth2.Token, error) { runtime.Goexit(); return nil, nil },
		"an error of its own": func() (*oauth2.Token, error) { return nil, errors.New("down") },
	} {
		src := clientauth.OAuth2(oauth2Func(fail))
		for range 2 {
			if _, err := src.Token(t.Context()); err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// touch gives a file another time, whatever the resolution of the file system.
func touch(t *testing.T, path string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func expectToken(t *testing.T, src clientauth.Source, want string) {
	t.Helper()
	token, err := src.Token(t.Context())
	if err != nil || token.Value != want {
		t.Errorf("got %q, %v, want %q", token.Value, err, want)
	}
}

func TestTokenFileIsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	clock := grpcauthtest.NewClock(start)
	write(t, path, "first\n")
	touch(t, path, start)
	src := must[*clientauth.FileSource](t)(clientauth.File(path, clientauth.Options{Now: clock.Now}))
	expectToken(t, src, "first")
	write(t, path, "other\n") // as long as before
	touch(t, path, start.Add(time.Second))
	expectToken(t, src, "first") // looked at a moment ago
	clock.Advance(time.Second)
	expectToken(t, src, "other")
	write(t, path, "third\n")
	touch(t, path, start.Add(2*time.Second))
	clock.Advance(-time.Hour) // a clock that is set back does not stop it
	expectToken(t, src, "third")
}

func TestTokenFileMayBeReplacedByALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clock := grpcauthtest.NewClock(start)
	for _, name := range []string{"one", "two"} {
		write(t, filepath.Join(dir, name), "of-"+name)
		touch(t, filepath.Join(dir, name), start) // no time tells them apart
	}
	path := filepath.Join(dir, "token")
	link := func(name string) {
		t.Helper()
		if err := os.Symlink(name, path+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	link("one")
	src := must[*clientauth.FileSource](t)(clientauth.File(path, clientauth.Options{Now: clock.Now}))
	expectToken(t, src, "of-one")
	link("two")
	clock.Advance(time.Second)
	expectToken(t, src, "of-two")
}

func TestTokenBeforeStaysWhileTheFileIsNoToken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	clock := grpcauthtest.NewClock(start)
	write(t, path, "good")
	src := must[*clientauth.FileSource](t)(clientauth.File(path, clientauth.Options{Now: clock.Now}))
	for i, text := range []string{"", "\n", "half of\n it", "a b", "a\x00", strings.Repeat("a", 16<<10+1), "é", "a\n\n"} {
		write(t, path, text)
		touch(t, path, start.Add(time.Duration(i+1)*time.Second))
		clock.Advance(time.Second)
		expectToken(t, src, "good")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	expectToken(t, src, "good")
	write(t, path, "better\r\n")
	clock.Advance(time.Second)
	expectToken(t, src, "better")
}

func TestTokenFileMustBeThereAtFirst(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	if _, err := clientauth.File(path, clientauth.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	write(t, path, secret+" and more")
	if _, err := clientauth.File(path, clientauth.Options{}); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("no token: got %v", err)
	}
}

// fetcher is a source that notes how often it is asked and gives tokens by number.
type fetcher struct {
	asked atomic.Int64
	fetch func(ctx context.Context, n int64) (clientauth.Token, error)
}

func (f *fetcher) Token(ctx context.Context) (clientauth.Token, error) {
	n := f.asked.Add(1)
	return f.fetch(ctx, n)
}

func lasting(life time.Duration) func(context.Context, int64) (clientauth.Token, error) {
	return func(_ context.Context, n int64) (clientauth.Token, error) {
		return clientauth.Token{Value: strings.Repeat("t", int(n)), Expiry: time.Now().Add(life)}, nil
	}
}

func expectAsked(t *testing.T, f *fetcher, want int64) {
	t.Helper()
	synctest.Wait()
	if got := f.asked.Load(); got != want {
		t.Errorf("the source was asked %d times, want %d", got, want)
	}
}

func TestTokenIsFetchedAheadOfItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fetcher{fetch: lasting(time.Hour)}
		r := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(f, near))
		expectAsked(t, f, 0)
		expectToken(t, r, "t")
		time.Sleep(58 * time.Minute)
		expectToken(t, r, "t")
		expectAsked(t, f, 1)
		time.Sleep(time.Minute) // a minute before its end
		expectToken(t, r, "t")  // without a wait
		expectAsked(t, f, 2)
		expectToken(t, r, "tt")
	})
}

func TestShortTokenIsFetchedAheadToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fetcher{fetch: lasting(10 * time.Second)}
		r := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(f, near))
		expectToken(t, r, "t")
		time.Sleep(7 * time.Second)
		expectToken(t, r, "t")
		expectAsked(t, f, 1)
		time.Sleep(time.Second)
		expectToken(t, r, "t")
		expectAsked(t, f, 2)
	})
}

func TestTokenWithoutAnEndIsFetchedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fetcher{fetch: func(context.Context, int64) (clientauth.Token, error) { return clientauth.Token{Value: "a"}, nil }}
		r := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(f, near))
		for range 10 {
			expectToken(t, r, "a")
			time.Sleep(24 * time.Hour)
		}
		expectAsked(t, f, 1)
	})
}

func TestConcurrentCallsShareAFetchAndNoneEndsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fetcher{fetch: func(ctx context.Context, _ int64) (clientauth.Token, error) {
			select {
			case <-time.After(5 * time.Second):
				return clientauth.Token{Value: "a"}, nil
			case <-ctx.Done():
				return clientauth.Token{}, ctx.Err()
			}
		}}
		r := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(f, near))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := r.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who gave up got %v", err)
			}
		})
		synctest.Wait()
		for range 50 {
			all.Go(func() { expectToken(t, r, "a") })
		}
		all.Wait()
		expectAsked(t, f, 1)
	})
}

func TestSourceThatFailsIsAskedLessAndLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := true
		f := &fetcher{}
		f.fetch = func(ctx context.Context, n int64) (clientauth.Token, error) {
			if down {
				return clientauth.Token{}, errors.New("down")
			}
			return lasting(time.Hour)(ctx, 1)
		}
		r := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(f, near))
		for range 100 { // for ten seconds
			if _, err := r.Token(t.Context()); err == nil || !strings.Contains(err.Error(), "down") {
				t.Fatalf("got %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		expectAsked(t, f, 4) // at 0, 1, 3 and 7 s
		down = false
		time.Sleep(10 * time.Second)
		expectToken(t, r, "t")
	})
}

func TestTokenThatIsThereIsUsedWhileTheSourceFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := false
		f := &fetcher{}
		f.fetch = func(ctx context.Context, n int64) (clientauth.Token, error) {
			if down {
				return clientauth.Token{}, errors.New("down")
			}
			return lasting(time.Hour)(ctx, 1)
		}
		r := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(f, near))
		expectToken(t, r, "t")
		down = true
		time.Sleep(59*time.Minute + 30*time.Second)
		expectToken(t, r, "t")
		time.Sleep(29 * time.Second)
		expectToken(t, r, "t")
		time.Sleep(time.Second)
		if _, err := r.Token(t.Context()); err == nil {
			t.Error("a token was given after its end")
		}
	})
}

func TestFetchIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fetcher{fetch: func(ctx context.Context, _ int64) (clientauth.Token, error) {
			<-ctx.Done()
			return clientauth.Token{}, ctx.Err()
		}}
		r := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(f, clientauth.Options{Timeout: 3 * time.Second}))
		begin := time.Now()
		if _, err := r.Token(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
	})
}

func TestTokenThatIsNoneIsNotTaken(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]clientauth.Token{"nothing": {}, "two": {Value: "a, b"}, "over": {Value: "a", Expiry: start}} {
		r := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(clientauth.SourceFunc(func(context.Context) (clientauth.Token, error) { return token, nil }),
			clientauth.Options{Now: func() time.Time { return start }}))
		if _, err := r.Token(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	panicking := must[*clientauth.Refreshing](t)(clientauth.NewRefreshing(clientauth.SourceFunc(func(context.Context) (clientauth.Token, error) { panic(secret) }), near))
	if _, err := panicking.Token(t.Context()); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("a panic: got %v", err)
	}
}

// FuzzTokenFile never takes from a file what is no token, and nothing but what is there.
func FuzzTokenFile(f *testing.F) {
	for _, seed := range []string{"abc", "abc\n", "abc\r\n", "", "\n", "a b", "abc\n\n", "abc==", "=", "\x00", "a\xff"} {
		f.Add(seed)
	}
	path := filepath.Join(f.TempDir(), "token")
	f.Fuzz(func(t *testing.T, text string) {
		write(t, path, text)
		src, err := clientauth.File(path, clientauth.Options{})
		if err != nil {
			return
		}
		token, err := src.Token(t.Context())
		if err != nil || !strings.HasPrefix(text, token.Value) || strings.Trim(text[len(token.Value):], "\r\n") != "" || token.Value == "" || strings.ContainsAny(token.Value, " \r\n\x00,") {
			t.Fatalf("got %q, %v out of %q", token.Value, err, text)
		}
	})
}
