// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth"
)

const life = 65 * time.Second

// memory is a small one, and its clock.
func memory(limit int) (*used, *time.Time) {
	now := time.Unix(1_700_000_000, 0)
	u := newUsed(life, func() time.Time { return now })
	u.limit = limit
	return u, &now
}

func keyed(caller, id int) string { return fmt.Sprintf("%0*d.%d", thumbprintLen, caller, id) }

func (u *used) size() (n int) { return len(u.young.proofs) + len(u.older.proofs) }

func TestMemoryForgetsNothingThatIsFreshAndAllThatIsOld(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same times in each run
	u, now := memory(1_000_000)
	type use struct {
		key       string
		at, until time.Time
	}
	var uses []use
	for i := range 20_000 {
		*now = now.Add(time.Duration(random.Int64N(int64(time.Second))))
		if random.IntN(500) == 0 {
			*now = now.Add(time.Duration(random.Int64N(int64(3 * life))))
		}
		one := use{keyed(random.IntN(50), i), *now, now.Add(time.Duration(random.Int64N(int64(life))) + 1)}
		if first, err := u.Use(t.Context(), one.key, one.until); !first || err != nil {
			t.Fatalf("a new proof: got %t, %v", first, err)
		}
		uses = append(uses, one)
		for range 3 {
			old := uses[random.IntN(len(uses))]
			if recent := uses[max(0, len(uses)-200):]; random.IntN(2) == 0 {
				old = recent[random.IntN(len(recent))]
			}
			if first, err := u.Use(t.Context(), old.key, old.until); first || err != nil {
				t.Fatalf("a proof used %v ago, which ended %v ago: got %t, %v", now.Sub(old.at), now.Sub(old.until), first, err)
			}
		}
		if u.size() > 0 && i > 1000 {
			count := 0
			for j := len(uses) - 1; j >= 0 && now.Sub(uses[j].at) <= 3*life+time.Second; j-- {
				count++
			}
			if u.size() > count {
				t.Fatalf("%d proofs are remembered, of which %d were used in the last %v", u.size(), count, 3*life)
			}
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const limit = 1600
	u, now := memory(limit)
	until := func() time.Time { return now.Add(life) }
	for i := range limit / 2 {
		if first, err := u.Use(t.Context(), keyed(i, 0), until()); !first || err != nil {
			t.Fatalf("proof %d: got %t, %v", i, first, err)
		}
	}
	*now = now.Add(life) // both generations count
	for i := range limit / 2 {
		if first, err := u.Use(t.Context(), keyed(i, 1), until()); !first || err != nil {
			t.Fatalf("proof %d: got %t, %v", i, first, err)
		}
	}
	for i := range 3 * limit {
		first, err := u.Use(t.Context(), keyed(i, 2), until())
		if first || !errors.Is(err, errUsedFull) || grpcauth.CodeOf(err) != grpcauth.CodeUnavailable {
			t.Fatalf("when it is full: got %t, %v", first, err)
		}
	}
	if first, err := u.Use(t.Context(), keyed(0, 1), until()); first || err != nil {
		t.Errorf("a used proof when it is full: got %t, %v", first, err)
	}
	if u.size() != limit {
		t.Errorf("%d proofs are remembered", u.size())
	}
	*now = now.Add(life)
	if first, err := u.Use(t.Context(), keyed(0, 3), until()); !first || err != nil {
		t.Errorf("when there is room again: got %t, %v", first, err)
	}
}

func TestOneKeyCannotFillTheMemory(t *testing.T) {
	t.Parallel()
	const limit = 1600
	u, now := memory(limit)
	until := func() time.Time { return now.Add(life) }
	accepted := 0
	for i := range 10 * limit {
		first, err := u.Use(t.Context(), keyed(1, i), until())
		switch {
		case first && err == nil:
			accepted++
		case first || grpcauth.CodeOf(err) != grpcauth.CodeThrottled:
			t.Fatalf("proof %d: got %t, %v", i, first, err)
		}
		if i == limit/32 {
			*now = now.Add(life) // both generations count
		}
	}
	if accepted != limit/16 {
		t.Errorf("one key has %d proofs, want %d", accepted, limit/16)
	}
	if first, err := u.Use(t.Context(), keyed(2, 0), until()); !first || err != nil {
		t.Errorf("another key: got %t, %v", first, err)
	}
	*now = now.Add(2 * life)
	if first, err := u.Use(t.Context(), keyed(1, -1), until()); !first || err != nil {
		t.Errorf("after a while: got %t, %v", first, err)
	}
}

func TestClockThatIsSetBackBringsNoProofBack(t *testing.T) {
	t.Parallel()
	u, now := memory(1_000_000)
	begin, old := *now, keyed(1, 1)
	end := now.Add(life)
	use := func(want bool, key string, until time.Time) {
		t.Helper()
		if first, err := u.Use(t.Context(), key, until); first != want || err != nil {
			t.Errorf("at %v: got %t, %v", now.Sub(begin), first, err)
		}
	}
	use(true, old, end)
	*now = begin.Add(life)
	use(true, keyed(1, 2), now.Add(life))
	*now = begin.Add(2 * life)
	use(true, keyed(1, 3), now.Add(life)) // the first generation is gone
	if u.size() != 2 {
		t.Fatalf("%d proofs are remembered, want 2", u.size())
	}
	*now = begin
	use(false, old, end)
	use(true, keyed(1, 4), end.Add(1)) // as new as none that was forgotten
	use(false, keyed(1, 3), begin.Add(3*life))
	*now = begin.Add(-100 * life)
	for i := range 5 { // and the memory goes on forgetting
		*now = now.Add(life)
		use(true, keyed(2, i), begin.Add(time.Duration(i+4)*life))
	}
	if u.size() > 2 {
		t.Errorf("%d proofs are remembered, want 2", u.size())
	}
}

func TestMemoryTakesKeysOfAnyLength(t *testing.T) {
	t.Parallel()
	u, now := memory(1_000_000)
	for _, key := range []string{"", "a", strings.Repeat("a", thumbprintLen), strings.Repeat("a", 1000)} {
		for _, want := range []bool{true, false} {
			if first, err := u.Use(t.Context(), key, now.Add(1)); first != want || err != nil {
				t.Errorf("%.10q: got %t, %v", key, first, err)
			}
		}
	}
}
