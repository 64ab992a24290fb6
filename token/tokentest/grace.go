// SPDX-License-Identifier: Apache-2.0

package tokentest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/token"
)

func graceOfMany(k *kit) {
	r := k.refresher(withGrace(100))
	text, _ := k.start(r, grant())
	texts, errs := k.many(func() (string, error) {
		for range 1000 {
			next, _, err := r.Rotate(k.Context(), text, by)
			if err == nil || slices.ContainsFunc([]error{token.ErrReused, token.ErrRevoked, token.ErrInvalid}, func(e error) bool { return errors.Is(err, e) }) {
				return next, err
			}
		}
		return "", errDown
	})
	if len(errs) > 0 || len(slices.Compact(texts)) != 1 {
		k.Fatalf("%d failed, as by %v, and the others have %d successors, want one", len(errs), errors.Join(errs...), len(slices.Compact(texts)))
	}
	k.rotate(r, texts[0])
}

func graceRepeats(k *kit) {
	r := k.refresher(withGrace(1))
	text, _ := k.start(r, grant())
	lost := k.rotate(r, text)
	k.clock.Add(9 * time.Second)
	if again := k.rotate(k.refresher(withGrace(1)), text); again != lost {
		k.Error("a client that lost the answer got another successor")
	}
	next := k.rotate(r, lost)
	if again := k.rotate(r, lost); again != next {
		k.Error("the successor has no grace of its own")
	}
	if len(k.events()) > 0 {
		k.Error("grace is told of as reuse")
	}
}

func graceEnds(k *kit) {
	r := k.refresher(withGrace(5))
	text, _ := k.start(r, grant())
	next := k.rotate(r, text)
	k.clock.Add(9 * time.Second)
	k.rotate(r, text)
	k.clock.Add(time.Second) // ten after the first use, one after the second
	k.refuse(r, text, token.ErrReused)
	k.refuse(r, next, token.ErrRevoked)
}

func graceCounts(k *kit) {
	r := k.refresher(withGrace(2))
	text, _ := k.start(r, grant())
	next := k.rotate(r, text)
	k.rotate(r, text)
	k.rotate(r, text)
	k.refuse(r, text, token.ErrReused)
	k.refuse(r, next, token.ErrRevoked)
}

// graceRaces has somebody else use the grace between a call's reading and its writing: both write the same, and the second must notice that it was not he.
func graceRaces(k *kit) {
	r := k.refresher(withGrace(1))
	quick, err := token.NewRefresher(token.RefreshOptions{Store: k.faults.Store, Now: k.clock.Now, Grace: 10 * time.Second})
	if err != nil {
		k.Fatal(err)
	}
	text, _ := k.start(r, grant())
	next := k.rotate(r, text)
	var once sync.Once
	k.faults.beforePut(func(ctx context.Context, _ store.Record) {
		once.Do(func() {
			if again, _, err := quick.Rotate(ctx, text, by); err != nil || again != next {
				k.Errorf("the quicker one: %v", err)
			}
		})
	})
	k.refuse(r, text, token.ErrReused)
}

func graceUntilUse(k *kit) {
	r := k.refresher(withGrace(5))
	text, _ := k.start(r, grant())
	next := k.rotate(r, text)
	last := k.rotate(r, next)
	k.refuse(r, text, token.ErrReused)
	k.refuse(r, last, token.ErrRevoked)
}

func graceNotForEnded(k *kit) {
	r := k.refresher(func(o *token.RefreshOptions) { withGrace(5)(o); o.Idle = 5 * time.Second })
	text, _ := k.start(r, grant())
	k.rotate(r, text)
	k.clock.Add(5 * time.Second)
	k.refuse(r, text, token.ErrExpired)

	text, g := k.start(r, grant())
	k.rotate(r, text)
	if err := r.RevokeFamily(k.Context(), g.Family); err != nil {
		k.Fatal(err)
	}
	k.refuse(r, text, token.ErrReused)
}
