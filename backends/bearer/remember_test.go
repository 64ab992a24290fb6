// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
	"github.com/grpcauth/grpcauth/grpcauthtest"
)

func TestAcceptedTokenIsRememberedToItsExpiryAndTheCeiling(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name            string
		valid, remember time.Duration // how long the token is valid, zero: for ever; Options.RememberFor
		want            time.Duration
	}{
		{"for ever, by default", 0, 0, 5 * time.Minute},
		{"for long, by default", time.Hour, 0, 5 * time.Minute},
		{"for as long as the ceiling", 5 * time.Minute, 0, 5 * time.Minute},
		{"for shorter, by default", time.Minute, 0, time.Minute},
		{"for ever, with a low ceiling", 0, 10 * time.Second, 10 * time.Second},
		{"for long, with a low ceiling", time.Hour, 10 * time.Second, 10 * time.Second},
		{"for long, with a high ceiling", time.Hour, 24 * time.Hour, time.Hour},
		{"for centuries", math.MaxInt64, time.Minute, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clock := grpcauthtest.NewClock(start)
			j := &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
				user := &grpcauth.User{ID: "alice"}
				if test.valid != 0 {
					user.Expiry = start.Add(test.valid)
				}
				return user, nil
			}}
			b := newBackend(t, j, bearer.Options{Now: clock.Now, RememberFor: test.remember})
			expect(t, b, "a", "alice")
			clock.Advance(test.want - time.Second)
			expect(t, b, "a", "alice")
			expectAsked(t, j, 1)
			clock.Advance(time.Second)
			expect(t, b, "a", "alice")
			expectAsked(t, j, 2)
			clock.Advance(time.Second)
			expect(t, b, "a", "alice")
			if test.valid == test.want { // it is over, so the verdict is not kept for a moment
				expectAsked(t, j, 3)
			}
		})
	}
}

func TestRememberingDoesNotProlongItself(t *testing.T) {
	t.Parallel()
	clock := grpcauthtest.NewClock(start)
	j := anybody()
	b := newBackend(t, j, bearer.Options{Now: clock.Now, RememberFor: 10 * time.Second})
	for range 10 {
		expect(t, b, "a", "a")
		clock.Advance(time.Second)
	}
	expectAsked(t, j, 1)
	expect(t, b, "a", "a")
	expectAsked(t, j, 2)
}

func TestRefusalIsRememberedShortly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ refuse, want time.Duration }{{0, 10 * time.Second}, {3 * time.Second, 3 * time.Second}} {
		clock := grpcauthtest.NewClock(start)
		j := only()
		b := newBackend(t, j, bearer.Options{Now: clock.Now, RefuseFor: test.refuse})
		expect(t, b, "a", refused)
		clock.Advance(test.want - time.Second)
		expect(t, b, "a", refused)
		expectAsked(t, j, 1)
		clock.Advance(time.Second)
		expect(t, b, "a", refused)
		expectAsked(t, j, 2)
	}
}

func TestNothingIsRememberedWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	j := only("good")
	b := newBackend(t, j, bearer.Options{MaxRemembered: -1, MaxRefused: -1})
	for range 3 {
		expect(t, b, "good", "good")
		expect(t, b, "bad", refused)
	}
	expectAsked(t, j, 6)
}

func TestOnlyFinalRefusalsAreRemembered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		err   error
		want  string
		asked int
	}{
		{"invalid", grpcauth.Errorf(grpcauth.CodeInvalid, "x"), refused, 1},
		{"invalid, wrapped", fmt.Errorf("x: %w", grpcauth.Errorf(grpcauth.CodeInvalid, "x")), refused, 1},
		{"not mine", grpcauth.ErrNoCredentials, refused, 1},
		{"not mine, wrapped", fmt.Errorf("x: %w", grpcauth.ErrNoCredentials), refused, 1},

		{"fleeting", bearer.Fleeting(grpcauth.Errorf(grpcauth.CodeInvalid, "x")), refused, 3},
		{"fleeting, wrapped", fmt.Errorf("x: %w", bearer.Fleeting(grpcauth.Errorf(grpcauth.CodeInvalid, "x"))), refused, 3},
		{"store down", errors.New("x"), undecided, 3},
		{"store down, said by a code", grpcauth.Errorf(grpcauth.CodeUnavailable, "x"), undecided, 3},
		{"store too slow", context.DeadlineExceeded, undecided, 3},
		{"cancelled by itself", context.Canceled, undecided, 3},
		{"broken", grpcauth.Errorf(grpcauth.CodeInternal, "x"), broken, 3},
		{"expired", grpcauth.Errorf(grpcauth.CodeExpired, "x"), "CREDENTIALS_EXPIRED", 3},
		{"forbidden", grpcauth.Errorf(grpcauth.CodeForbidden, "x"), "PERMISSION_DENIED", 3},
		{"throttled", grpcauth.Errorf(grpcauth.CodeThrottled, "x"), "TOO_MANY_ATTEMPTS", 3},
		{"neither user nor error", nil, broken, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.err
			j := &judge{verify: func(context.Context, string) (*grpcauth.User, error) { return nil, err }}
			b := newBackend(t, j, bearer.Options{})
			for range 3 {
				expect(t, b, "a", test.want)
			}
			expectAsked(t, j, test.asked)
		})
	}
}

func TestCauseOfARememberedRefusalIsStillThere(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	b := newBackend(t, &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
		return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "%w", cause)
	}}, bearer.Options{})
	for range 2 {
		if _, err := b.Authenticate(t.Context(), request(t, "a")); !errors.Is(err, cause) {
			t.Errorf("got %v, want its cause for the server's log", err)
		}
	}
}

func TestUndecidedThenDecided(t *testing.T) {
	t.Parallel()
	var down error
	j := &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
		if down != nil {
			return nil, down
		}
		return &grpcauth.User{ID: "alice"}, nil
	}}
	b := newBackend(t, j, bearer.Options{})
	down = errors.New("down")
	expect(t, b, "a", undecided)
	down = nil
	expect(t, b, "a", "alice")
	down = errors.New("down again")
	expect(t, b, "a", "alice") // remembered
	expectAsked(t, j, 2)
}

// A user that comes with an error is no user.
func TestErrorOutranksAUser(t *testing.T) {
	t.Parallel()
	b := newBackend(t, &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
		return &grpcauth.User{ID: "alice"}, grpcauth.Errorf(grpcauth.CodeInvalid, "x")
	}}, bearer.Options{})
	for range 2 {
		expect(t, b, "a", refused)
	}
}

func TestFloodOfBadTokensLeavesGoodOnes(t *testing.T) {
	t.Parallel()
	const limit, flood = 100, 5_000
	good := []string{"good1", "good2", "good3", "good4", "good5"}
	j := only(good...)
	b := newBackend(t, j, bearer.Options{MaxRemembered: len(good), MaxRefused: limit})
	for _, token := range good {
		expect(t, b, token, token)
	}
	bad := make([]string, flood)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same tokens every time
	for i := range bad {
		bad[i] = fmt.Sprintf("%x", random.Uint64())
		expect(t, b, bad[i], refused)
	}
	asked := j.asked()
	for _, token := range good {
		expect(t, b, token, token)
	}
	expectAsked(t, j, asked)
	for _, token := range bad {
		expect(t, b, token, refused)
	}
	if remembered := asked + flood - j.asked(); remembered > limit {
		t.Errorf("%d refusals were remembered, want %d at the most", remembered, limit)
	}
}

func TestAcceptedTokensAreRememberedUpToTheLimit(t *testing.T) {
	t.Parallel()
	const limit, flood = 50, 1_000
	j := anybody()
	b := newBackend(t, j, bearer.Options{MaxRemembered: limit})
	for range 2 {
		for i := range flood {
			token := fmt.Sprint(i)
			expect(t, b, token, token)
		}
	}
	if remembered := 2*flood - j.asked(); remembered > limit {
		t.Errorf("%d tokens were remembered, want %d at the most", remembered, limit)
	}
}

func TestTokensThatAreMuchAlikeAreToldApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 1<<10)
	tokens := []string{long, long + "a", long + "b", long + "c", "b" + long, "c" + long, long + "b" + long, long + "c" + long, long + "=", long + "==", "a", "aa", "A"}
	j := only(tokens...)
	b := newBackend(t, j, bearer.Options{})
	for range 2 {
		for _, token := range tokens {
			expect(t, b, token, token)
			expect(t, b, "x"+token, refused)
			expect(t, b, "yy"+token, refused)
		}
	}
	expectAsked(t, j, 3*len(tokens))
}

func TestBackendsShareNoVerdicts(t *testing.T) {
	t.Parallel()
	first, second := only("a"), only("b")
	a, b := newBackend(t, first, bearer.Options{}), newBackend(t, second, bearer.Options{})
	for range 2 {
		expect(t, a, "a", "a")
		expect(t, b, "a", refused)
		expect(t, a, "b", refused)
		expect(t, b, "b", "b")
	}
	expectAsked(t, first, 2)
	expectAsked(t, second, 2)
}

func TestEachCallHasItsOwnUser(t *testing.T) {
	t.Parallel()
	b := newBackend(t, &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
		return &grpcauth.User{ID: "alice", Scopes: []string{"a"}, Permissions: []string{"b"}, RawClaims: []byte(`{}`), Factors: []*grpcauth.User{{ID: "alice"}}}, nil
	}}, bearer.Options{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			user, err := b.Authenticate(t.Context(), request(t, "a"))
			if err != nil || user.ID != "alice" || user.Scopes[0] != "a" || user.Permissions[0] != "b" || string(user.RawClaims) != "{}" || user.Factors[0].ID != "alice" {
				t.Errorf("got %+v, %v", user, err)
				return
			}
			user.ID, user.Scopes[0], user.Permissions[0], user.RawClaims[0], user.Factors[0].ID = "eve", "eve", "eve", 'e', "eve"
			user.Scopes = append(user.Scopes, "eve")
		})
	}
	wg.Wait()
}

// While the clock jumps about at random, no remembered verdict is used past the token's expiry, past the ceiling, or before it was made.
func TestClockMayJump(t *testing.T) {
	t.Parallel()
	const ceiling = 5 * time.Minute
	clock := grpcauthtest.NewClock(start)
	var judged time.Time
	expiry := start.Add(20 * time.Minute)
	j := &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
		judged = clock.Now()
		if !judged.Before(expiry) {
			return nil, grpcauth.Errorf(grpcauth.CodeExpired, "over")
		}
		return &grpcauth.User{ID: "alice", Expiry: expiry}, nil
	}}
	b := newBackend(t, j, bearer.Options{Now: clock.Now, RememberFor: ceiling})
	steps := []time.Duration{
		0, time.Hour, -time.Hour, -time.Hour, time.Hour, 2 * time.Hour, -time.Hour, -time.Hour, // each remembers, jumps, and looks again
	}
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same jumps every time
	for range 2_000 {
		unit := []time.Duration{time.Second, time.Minute, time.Hour}[random.IntN(3)]
		steps = append(steps, time.Duration(random.Int64N(int64(4*unit)))-2*unit)
	}
	remembered := 0
	for i, step := range steps {
		clock.Advance(step)
		now, asked := clock.Now(), j.asked()
		want := "alice"
		if !now.Before(expiry) {
			want = "CREDENTIALS_EXPIRED"
		}
		expect(t, b, "a", want)
		if j.asked() > asked {
			continue
		}
		remembered++
		if age := now.Sub(judged); age >= ceiling || age < -time.Second || !now.Before(expiry) {
			t.Fatalf("step %d: a verdict of age %v was used, %v before the expiry", i, age, expiry.Sub(now))
		}
	}
	if remembered == 0 {
		t.Error("nothing was ever remembered: the test shows nothing")
	}
}

func TestRefusalIsForgottenWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		clock := grpcauthtest.NewClock(start)
		j := only()
		b := newBackend(t, j, bearer.Options{Now: clock.Now})
		expect(t, b, "a", refused)
		clock.Advance(jump)
		expect(t, b, "a", refused)
		expectAsked(t, j, 2)
	}
}
