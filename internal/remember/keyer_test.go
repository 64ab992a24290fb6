// SPDX-License-Identifier: Apache-2.0

package remember_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/grpcauth/grpcauth/internal/remember"
)

func TestKeyerGivesEqualPartsTheSameKey(t *testing.T) {
	t.Parallel()

	keyer := remember.NewKeyer()

	for _, size := range []int{0, 1, 55, 56, 63, 64, 800, 16 << 10, 16<<10 + 1, 1 << 20} {
		part := strings.Repeat("x", size)
		first := keyer.Key(part, "audience")

		keyer.Key(strings.Repeat("y", 16<<10)) // leaves its traces in the buffers, if any

		if keyer.Key(strings.Clone(part), "audience") != first {
			t.Errorf("two keys of the same %d bytes differ", size)
		}
	}
}

func TestKeyerGivesDifferentPartsDifferentKeys(t *testing.T) {
	t.Parallel()

	long := strings.Repeat("p", 1024)
	giant := strings.Repeat("g", 17<<10)
	keyer := remember.NewKeyer()
	seen := make(map[remember.Key][]string)

	for _, parts := range [][]string{
		nil,
		{""},
		{"", ""},
		{"", "", ""},
		{"ab", "c"},
		{"a", "bc"},
		{"abc"},
		{"abc", ""},
		{"", "abc"},
		{"a", "b", "c"},
		{"c", "ab"},
		{"a\x00", "b"},
		{"a", "\x00b"},
		{"a\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00b"},
		{"a\x01\x00\x00\x00\x00\x00\x00\x00b"},
		{"a", "b"},
		{long},
		{long + "1"},
		{long + "2"},
		{long, "1"},
		{"1" + long},
		{"2" + long},
		{"1", long},
		{long + "1" + long},
		{long + "2" + long},
		{giant},
		{giant + "1"},
		{giant + "2"},
		{giant, "1"},
		{"1" + giant},
	} {
		key := keyer.Key(parts...)
		if other, ok := seen[key]; ok {
			t.Errorf("%d parts %.40q have the key of %d parts %.40q", len(parts), parts, len(other), other)
		}

		seen[key] = parts
	}
}

func TestKeyerKeysOfAnotherKeyerAreUnrelated(t *testing.T) {
	t.Parallel()

	one, other := remember.NewKeyer(), remember.NewKeyer()
	if one.Key("token") == other.Key("token") {
		t.Error("two Keyers made the same key, so it depends on no secret")
	}
}

func TestKeyerIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()

	keyer := remember.NewKeyer()
	parts := []string{"a", strings.Repeat("b", 800), strings.Repeat("c", 20<<10)}
	want := make([]remember.Key, len(parts))

	for i, part := range parts {
		want[i] = keyer.Key(part)
	}

	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 600 {
				if keyer.Key(parts[i%3]) != want[i%3] {
					t.Error("a key changed under concurrent use")
				}
			}
		})
	}

	group.Wait()
}

func TestKeyerDoesNotAllocateUpTo16KiB(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools drop things at random")
	}

	keyer := remember.NewKeyer()

	for _, size := range []int{0, 800, 16 << 10} {
		part := strings.Repeat("x", size/2)
		if got := testing.AllocsPerRun(200, func() { keyer.Key(part, "", "", "", part) }); got != 0 {
			t.Errorf("allocations for %d bytes = %v, want 0", size, got)
		}
	}
}

func TestNothingOfThePackagePrintsWhatItHolds(t *testing.T) {
	t.Parallel()

	keyer := remember.NewKeyer()
	key := keyer.Key("token")
	cache := remember.New[string](1)
	cache.Put(key, "canary", epoch, epoch.Add(1))

	for want, v := range map[string]any{
		"remember.Key(...)":    key,
		"remember.Keyer(...)":  keyer,
		"remember.Cache(...)":  cache,
		"remember.Flight(...)": remember.NewFlight[string](nil),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			if got := fmt.Sprintf(verb, v); got != want {
				t.Errorf("%s prints %q, want %q", verb, got, want)
			}
		}
	}

	for _, v := range []any{keyer, cache} {
		if got, err := json.Marshal(v); err != nil || string(got) != "{}" {
			t.Errorf("JSON = %s, %v; want {}", got, err)
		}
	}
}
