// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/backendtest"
)

const (
	header = "x-key"
	secret = "canary-4b1d"
)

// fake is a backend whose rules can be broken one by one.
type fake struct {
	judge   func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error)
	schemes []grpcauth.Scheme
	hidden  string
}

func (f *fake) Authenticate(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
	return f.judge(ctx, req)
}
func (f *fake) Schemes() []grpcauth.Scheme { return f.schemes }
func (f *fake) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "fake", f.hidden) }

func alice() *grpcauth.User {
	return &grpcauth.User{ID: "alice", Method: "key", Scopes: []string{"read"}, Permissions: []string{"orders.*"}, RawClaims: []byte(`{"a":"bcdef"}`)}
}

// sound keeps all rules.
func sound() *fake {
	return &fake{
		judge: func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			value, err := req.Value(header)
			if err != nil {
				return nil, err
			}
			if subtle.ConstantTimeCompare([]byte(value), []byte(secret)) != 1 {
				return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "no such key")
			}
			return alice(), nil
		},
		schemes: []grpcauth.Scheme{{Name: "key", Header: header}},
	}
}

// judging is a fake that comes to another answer where change says so.
func judging(change func(req *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error)) *fake {
	f := sound()
	judge := f.judge
	f.judge = func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
		user, err := judge(ctx, req)
		return change(req, user, err)
	}
	return f
}

// broken names, for each rule that a fake breaks, a check that must notice.
var broken = map[string]struct {
	fake  func() *fake
	check string
}{
	"accepts nobody": {func() *fake {
		return judging(func(*grpcauth.Request, *grpcauth.User, error) (*grpcauth.User, error) {
			return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "no")
		})
	}, "accepts a good credential"},
	"answers nothing": {func() *fake {
		return judging(func(*grpcauth.Request, *grpcauth.User, error) (*grpcauth.User, error) { return nil, nil })
	}, "accepts a good credential"},
	"has users without an ID": {func() *fake {
		return judging(func(_ *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if user != nil {
				user.ID = ""
			}
			return user, err
		})
	}, "accepts a good credential"},
	"accepts everybody": {func() *fake {
		return judging(func(*grpcauth.Request, *grpcauth.User, error) (*grpcauth.User, error) { return alice(), nil })
	}, "refuses a bad credential"},
	"passes on what it refuses": {func() *fake {
		return judging(func(_ *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if err != nil {
				return nil, grpcauth.ErrNoCredentials
			}
			return user, nil
		})
	}, "refuses a bad credential"},
	"refuses with a plain error": {func() *fake {
		return judging(func(_ *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if grpcauth.CodeOf(err) == grpcauth.CodeInvalid && err != nil {
				return nil, errors.New("wrong key")
			}
			return user, err
		})
	}, "refuses a bad credential"},
	"refuses what is not its own": {func() *fake {
		return judging(func(_ *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if errors.Is(err, grpcauth.ErrNoCredentials) {
				return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "no key")
			}
			return user, err
		})
	}, "leaves other credentials alone"},
	"reads a look-alike": {func() *fake {
		return judging(func(req *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if value, _ := req.Value("x-" + header); value == secret {
				return alice(), nil
			}
			return user, err
		})
	}, "leaves other credentials alone"},
	"takes the first of two": {func() *fake {
		f := sound()
		f.judge = func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			_, _ = req.Value(header) // or else the interceptor notices a credential that nothing read
			values := metadata.ValueFromIncomingContext(ctx, header)
			switch {
			case len(values) == 0:
				return nil, grpcauth.ErrNoCredentials
			case values[0] != secret:
				return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "no such key")
			}
			return alice(), nil
		}
		return f
	}, "refuses a credential given twice"},
	"compares a prefix": {func() *fake {
		return judging(func(req *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if value, e := req.Value(header); e == nil && strings.HasPrefix(value, secret) {
				return alice(), nil
			}
			return user, err
		})
	}, "refuses altered credentials"},
	"ignores case": {func() *fake {
		return judging(func(req *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if value, e := req.Value(header); e == nil && strings.EqualFold(value, secret) {
				return alice(), nil
			}
			return user, err
		})
	}, "refuses altered credentials"},
	"accepts what is no text": {func() *fake {
		return judging(func(req *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if value, e := req.Value(header); e == nil && value == "\x00" {
				return alice(), nil
			}
			return user, err
		})
	}, "refuses nonsense"},
	"panics at nonsense": {func() *fake {
		return judging(func(req *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if value, _ := req.Value(header); len(value) > 1<<19 {
				panic("too long")
			}
			return user, err
		})
	}, "refuses nonsense"},
	"shares its user": {func() *fake {
		shared := alice()
		return judging(func(_ *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if user != nil {
				return shared, nil
			}
			return nil, err
		})
	}, "gives each call its own user"},
	"mixes up callers": {func() *fake {
		var inside atomic.Int32
		return judging(func(_ *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			defer inside.Add(-1)
			alone := inside.Add(1) == 1
			for range 20 { // lets others in
				runtime.Gosched()
			}
			if !alone {
				return nil, grpcauth.Errorf(grpcauth.CodeExpired, "mixed up")
			}
			return user, err
		})
	}, "serves concurrent calls"},
	"remembers that a caller gave up": {func() *fake {
		f := sound()
		judge, gone := f.judge, false
		var mu sync.Mutex
		f.judge = func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			mu.Lock()
			defer mu.Unlock()
			if gone = gone || ctx.Err() != nil; gone {
				return nil, context.Canceled
			}
			return judge(ctx, req)
		}
		return f
	}, "survives a caller that gives up"},
	"tells the credential": {func() *fake {
		return judging(func(req *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if value, e := req.Value(header); e == nil && err != nil {
				return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "no such key: %s", value)
			}
			return user, err
		})
	}, "shows no secret"},
	"takes its scheme of two": {func() *fake {
		f := sound()
		f.judge = func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			_, _ = req.Value(header) // or else the interceptor notices a credential that nothing read
			values := metadata.ValueFromIncomingContext(ctx, header)
			switch own := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return strings.Contains(v, " ") }); {
			case len(values) == 0:
				return nil, grpcauth.ErrNoCredentials
			case len(own) > 1:
				return nil, grpcauth.Errorf(grpcauth.CodeAmbiguous, "two keys")
			case len(own) == 0 || own[0] != secret:
				return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "no such key")
			}
			return alice(), nil
		}
		return f
	}, "refuses a credential given twice"},
	"takes two that are equal": {func() *fake {
		f := sound()
		judge := f.judge
		f.judge = func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			values := metadata.ValueFromIncomingContext(ctx, header)
			if len(values) > 1 && !slices.ContainsFunc(values, func(v string) bool { return v != secret }) {
				return alice(), nil
			}
			return judge(ctx, req)
		}
		return f
	}, "refuses a credential given twice"},
	"trims spaces": {func() *fake {
		return judging(func(req *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if value, e := req.Value(header); e == nil && strings.Trim(value, " ") == secret {
				return alice(), nil
			}
			return user, err
		})
	}, "refuses nonsense"},
	"fails where it should refuse": {func() *fake {
		return judging(func(req *grpcauth.Request, user *grpcauth.User, err error) (*grpcauth.User, error) {
			if value, e := req.Value(header); e == nil && !strings.HasPrefix(value, "canary") {
				return nil, errors.New("no key begins like this")
			}
			return user, err
		})
	}, "refuses altered credentials"},
	"refuses a caller that gives up": {func() *fake {
		f := sound()
		judge := f.judge
		f.judge = func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			if ctx.Err() != nil {
				return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "the store did not know the key")
			}
			return judge(ctx, req)
		}
		return f
	}, "survives a caller that gives up"},
	"answers nothing to a caller that gives up": {func() *fake {
		f := sound()
		judge := f.judge
		f.judge = func(ctx context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			if ctx.Err() != nil {
				return nil, nil
			}
			return judge(ctx, req)
		}
		return f
	}, "survives a caller that gives up"},
	"asks for what it does not read": {func() *fake {
		f := sound()
		f.schemes[0].Header = "x-other-key"
		return f
	}, "describes its schemes"},
	"asks for a cookie that it does not read": {func() *fake {
		f := sound()
		f.schemes[0] = grpcauth.Scheme{Name: "key", Cookie: "key"}
		return f
	}, "describes its schemes"},
	"prints its key": {func() *fake { f := sound(); f.hidden = secret; return f }, "shows no secret"},
	"proves by a scheme it does not have": {func() *fake {
		f := sound()
		f.schemes[0].Name = "password"
		return f
	}, "describes its schemes"},
	"has a header that gRPC does not": {func() *fake {
		f := sound()
		f.schemes[0].Header = "X-Key"
		return f
	}, "describes its schemes"},
}

// wide are the fakes whose broken rule is one that further checks stand on; the others fail one check alone.
var wide = []string{
	"accepts everybody", "accepts nobody", "answers nothing", "compares a prefix", "has a header that gRPC does not", "has users without an ID",
	"passes on what it refuses", "refuses with a plain error", "remembers that a caller gave up",
}

const chosen = "BACKENDTEST_FAKE"

// TestFake is run by TestBrokenRuleFailsItsCheck, in a process of its own.
func TestFake(t *testing.T) { //nolint:paralleltest // one fake after the other
	name, ok := os.LookupEnv(chosen)
	f := sound()
	if ok {
		f = broken[name].fake()
	}
	backendtest.Run(t, backendtest.Suite{
		Backend: f,
		Good:    metadata.Pairs(header, secret),
		Bad:     []metadata.MD{metadata.Pairs(header, "canary-0000"), metadata.Pairs(header, secret+secret)},
	})
}

// The checks know where a cookie's value begins, and which spaces a list of cookies may have.
func TestBackendThatReadsACookiePasses(t *testing.T) {
	t.Parallel()
	f := &fake{
		judge: func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			value, err := req.Cookie("session")
			if err != nil {
				return nil, err
			}
			if value != secret {
				return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "no such session")
			}
			return alice(), nil
		},
		schemes: []grpcauth.Scheme{{Name: "other", Header: "x-other"}, {Name: "key", Cookie: "session"}},
	}
	backendtest.Run(t, backendtest.Suite{
		Backend: f,
		Good:    metadata.Pairs("cookie", "session="+secret),
		Bad:     []metadata.MD{metadata.Pairs("cookie", "session=canary-0000"), metadata.Pairs("cookie", "session=")},
	})
}

// A connection proves its caller in every call: there is no metadata to leave alone, to double or to alter.
func TestBackendThatReadsTheConnectionPasses(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.Suite{Backend: &fake{
		judge: func(_ context.Context, req *grpcauth.Request) (*grpcauth.User, error) {
			if req.Peer().Addr.Network() != "unix" {
				return nil, grpcauth.ErrNoCredentials
			}
			return alice(), nil
		},
		schemes: []grpcauth.Scheme{{Name: "key"}},
	}})
}

var failure = regexp.MustCompile(`--- FAIL: TestFake/([^ ]+)`)

func TestBrokenRuleFailsItsCheck(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFake$")
			cmd.Env = append(os.Environ(), chosen+"="+name)
			output, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("all checks passed")
			}
			var failed []string
			for _, match := range failure.FindAllStringSubmatch(string(output), -1) {
				failed = append(failed, strings.ReplaceAll(match[1], "_", " "))
			}
			want := broken[name].check
			if !slices.Contains(failed, want) || len(failed) > 1 && !slices.Contains(wide, name) {
				t.Errorf("%q should fail, got %q\n%s", want, failed, output)
			}
		})
	}
}
