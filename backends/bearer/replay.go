// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/grpcauth/grpcauth"
)

const (
	maxUsed = 1_000_000
	// thumbprintLen is the length of a SHA-256 thumbprint in unpadded base64url.
	thumbprintLen = 43
)

// used is the [ReplayMemory] of one process. It has two generations: the older one goes as a whole, once the younger one is as old as a proof can get.
type used struct {
	lifetime time.Duration
	now      func() time.Time
	limit    int
	seed     maphash.Seed

	mu           sync.Mutex
	young, older generation // guarded by mu, as all below
	began        time.Time  // of the younger generation
	forgotten    time.Time  // no proof that was forgotten had a later end
}

type generation struct {
	proofs map[digest]struct{}
	byKey  map[uint64]int // how many are of a key; two that share a hash share their limit
	last   time.Time      // the latest end of its proofs
}

// digest is half a SHA-256: whoever finds two proofs with the same one, at a cost of 2^64, only has his own second one refused.
type digest [sha256.Size / 2]byte

func newGeneration() generation {
	return generation{proofs: map[digest]struct{}{}, byKey: map[uint64]int{}}
}

func newUsed(lifetime time.Duration, now func() time.Time) *used {
	return &used{lifetime: lifetime, now: now, limit: maxUsed, seed: maphash.MakeSeed(), young: newGeneration(), older: newGeneration()}
}

var errUsedFull = errors.New("it is full")

func (u *used) Use(_ context.Context, key string, until time.Time) (bool, error) {
	sum := sha256.Sum256([]byte(key))
	proof, thumbprint := digest(sum[:len(digest{})]), maphash.String(u.seed, key[:min(len(key), thumbprintLen)])
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forget(u.now())
	_, young := u.young.proofs[proof]
	_, older := u.older.proofs[proof]
	switch {
	case young || older, !until.After(u.forgotten): // the latter if the clock was set back
		return false, nil
	case u.young.byKey[thumbprint]+u.older.byKey[thumbprint] >= u.limit/16:
		return false, grpcauth.Errorf(grpcauth.CodeThrottled, "too many proofs of one key")
	case len(u.young.proofs)+len(u.older.proofs) >= u.limit:
		return false, errUsedFull
	}
	u.young.proofs[proof] = struct{}{}
	u.young.byKey[thumbprint]++
	u.young.last = later(u.young.last, until)
	return true, nil
}

// forget drops what is so old that no proof of it is taken any more. The caller holds mu.
func (u *used) forget(now time.Time) {
	switch age := now.Sub(u.began); {
	case u.began.IsZero() || age < 0:
		u.began = now
	case age >= u.lifetime:
		u.forgotten = later(u.forgotten, u.older.last)
		u.older, u.young, u.began = u.young, newGeneration(), now
		if age >= 2*u.lifetime {
			u.forgotten = later(u.forgotten, u.older.last)
			u.older = newGeneration()
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
