// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

func TestEntriesAreSmall(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(entry{}); size != 16 {
		t.Errorf("an entry has %d bytes", size)
	}
	if size := unsafe.Sizeof(ticket{}); size > 256 {
		t.Errorf("a ticket has %d bytes", size)
	}
}

// What a small table says of names is never less than the truth, however they push each other out.
func TestTableNeverForgets(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same names each time
	p := newPace(Limit{Attempts: 10, Window: time.Minute})
	tab, other := newTable(p, 1<<13), newTable(newPace(Limit{Attempts: 1_000_000, Window: time.Minute}), 1<<13)
	truth := map[key]int64{}
	now := int64(1) << 60
	refused := 0
	for range 200_000 {
		k := key{r.Uint64N(4), r.Uint64N(100)} // more names than places
		now += r.Int64N(int64(20 * time.Millisecond))
		at := max(truth[k], now)
		wait := charge(tab, k, other, key{r.Uint64(), r.Uint64()}, now)
		if least := p.wait(at, now); wait < least {
			t.Fatalf("a name has to wait for %v, want at least %v", wait, least)
		}
		if wait > time.Duration(p.interval) {
			t.Fatalf("a name has to wait for %v, which is more than one attempt takes", wait)
		}
		if wait > 0 {
			refused++
			continue
		}
		truth[k] = at + p.interval
		if r.IntN(4) == 0 {
			counted := now
			now += r.Int64N(2 * p.interval / 1000)
			tab.giveBack(k, counted, now)
			truth[k] -= p.interval // more than is given back: it is the least that may be said
		}
	}
	if _, evicted := tab.stats(); refused == 0 || evicted == 0 {
		t.Errorf("%d were refused and %d pushed out: nothing was tested", refused, evicted)
	}
}

// A table that grows keeps every name.
func TestTableGrowsWithoutLoss(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same names each time
	tab := newTable(newPace(Limit{Attempts: 10, Window: time.Minute}), 1<<22)
	now := int64(1) << 60
	keys := make([]key, 50_000)
	for i := range keys {
		keys[i] = key{r.Uint64(), r.Uint64()}
		tab.until(keys[i], now+int64(i)+1, now)
	}
	for i, k := range keys {
		s := tab.lock(k)
		e := tab.find(s, k, now)
		if e == nil || e.at != now+int64(i)+1 {
			t.Fatalf("name %d is lost", i)
		}
		s.mu.Unlock()
	}
	if taken, evicted := tab.stats(); taken != len(keys) || evicted != 0 {
		t.Errorf("%d are there and %d were pushed out", taken, evicted)
	}
}

// What was given back late has partly passed by itself, and must not be given back twice.
func TestGiveBackTakesNothingFromOthers(t *testing.T) {
	t.Parallel()
	p := newPace(Limit{Attempts: 5, Window: time.Minute})
	for _, late := range []time.Duration{0, time.Second, 12 * time.Second, time.Hour, -time.Hour} {
		tab := newTable(p, 1<<13)
		now := int64(1) << 60
		k := key{1, 2}
		tab.charge(k, now) // is given back
		after := now + int64(late)
		for range 4 {
			tab.charge(k, after)
		}
		tab.giveBack(k, now, after)
		if wait := tab.wait(k, after); late >= 0 && wait > 0 {
			t.Errorf("%v later a fifth attempt has to wait for %v", late, wait)
		}
		tab.charge(k, after)
		if tab.wait(k, after) == 0 {
			t.Errorf("%v later a sixth attempt is let in", late)
		}
	}
}

func TestUnderWayIsBounded(t *testing.T) {
	t.Parallel()
	u := newUnderWay(1 << 16)
	n := 0
	for i := range uint64(10_000) {
		if u.begin(key{i, i}, 1) > 0 {
			n++
		}
	}
	if n != 1<<16/nameUnderWay {
		t.Errorf("%d names are under way, want %d", n, 1<<16/nameUnderWay)
	}
	for i := range uint64(10_000) {
		u.end(key{i, i})
	}
	for i := range u.stripes {
		if len(u.stripes[i].count) > 0 {
			t.Error("something is under way still")
		}
	}
	if u.begin(key{1, 1}, 1) != 1 || u.begin(key{1, 1}, 2) != 2 || u.begin(key{1, 1}, 2) != 0 {
		t.Error("a name is not counted")
	}
}
