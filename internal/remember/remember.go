// SPDX-License-Identifier: Apache-2.0

// Package remember is the bounded memory of verdicts: what was judged once need not be judged again until it expires.
//
// It has three parts that know nothing of each other. A [Keyer] turns a credential into a [Key] from which the
// credential cannot be found again, a [Cache] holds a bounded number of values under such keys until an absolute
// time, and a [Flight] lets concurrent first looks at one key share one judgement. None of them starts a goroutine,
// reads the clock or needs to be closed.
//
// A flood of keys that are never asked for again does push out entries of the same cache. Whoever remembers refusals
// as well as successes keeps them in two caches, so that bad credentials cannot evict good ones.
package remember

import (
	"fmt"
	"io"
)

// Key is the keyed digest under which something is remembered. It is comparable; two keys are equal if and only if
// they were made by one [Keyer] of the same parts.
type Key [32]byte

// Format prints the type alone, whatever the verb, because a digest of a secret belongs into no log.
func (Key) Format(s fmt.State, _ rune) { conceal(s, "Key") }

// Format prints the type alone, whatever the verb, because the fields hold the key of the digests.
func (*Keyer) Format(s fmt.State, _ rune) { conceal(s, "Keyer") }

// Format prints the type alone, whatever the verb, because the fields hold what is remembered and others change them.
func (*Cache[V]) Format(s fmt.State, _ rune) { conceal(s, "Cache") }

// Format prints the type alone, whatever the verb, because the fields hold keys and others change them.
func (*Flight[V]) Format(s fmt.State, _ rune) { conceal(s, "Flight") }

func conceal(w io.Writer, name string) {
	_, _ = io.WriteString(w, "remember."+name+"(...)") // fmt's own buffer: it cannot fail
}
