// SPDX-License-Identifier: Apache-2.0

package remember_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpcauth/grpcauth/internal/remember"
)

var errRefused = errors.New("refused")

func TestFlightAloneJudgesOnceAndSharesNothing(t *testing.T) {
	t.Parallel()

	key := randomKeys(1)[0]
	flight := remember.NewFlight[int](nil)

	for i := range 3 {
		v, shared, err := flight.Do(t.Context(), key, func() (int, error) { return i, nil })
		if v != i || shared || err != nil {
			t.Errorf("Do = %d, %v, %v; want %d, judged anew", v, shared, err, i)
		}
	}

	if _, shared, err := flight.Do(t.Context(), key, func() (int, error) { return 0, errRefused }); shared || !errors.Is(err, errRefused) {
		t.Errorf("Do = %v, %v; want %v", shared, err, errRefused)
	}
}

func TestFlightConcurrentLooksShareOneJudgement(t *testing.T) {
	t.Parallel()

	for name, wantErr := range map[string]error{"accepted": nil, "rejected": errRefused} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				key := randomKeys(1)[0]
				flight := remember.NewFlight[*verdict](nil)
				release := make(chan struct{})
				want := &verdict{id: 1}

				var judged, sharers atomic.Int32

				for range 50 {
					go func() {
						got, shared, err := flight.Do(t.Context(), key, func() (*verdict, error) {
							judged.Add(1)
							<-release

							return want, wantErr
						})
						if got != want || !errors.Is(err, wantErr) {
							t.Errorf("Do = %v, %v; want %v, %v", got, err, want, wantErr)
						}

						if shared {
							sharers.Add(1)
						}
					}()
				}

				synctest.Wait()
				close(release)
				synctest.Wait()

				if judged.Load() != 1 || sharers.Load() != 49 {
					t.Errorf("judged %d times, shared %d times; want 1 and 49", judged.Load(), sharers.Load())
				}
			})
		})
	}
}

func TestFlightKeysDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := randomKeys(1)[0]
		other := first // the same lock, another key
		other[0] ^= 1

		flight := remember.NewFlight[int](nil)
		release := make(chan struct{})

		go func() {
			if v, _, err := flight.Do(t.Context(), first, func() (int, error) { <-release; return 1, nil }); v != 1 || err != nil {
				t.Errorf("Do = %d, %v; want 1", v, err)
			}
		}()

		synctest.Wait()

		v, shared, err := flight.Do(t.Context(), other, func() (int, error) { return 2, nil })
		if v != 2 || shared || err != nil {
			t.Errorf("Do = %d, %v, %v; want 2 of its own", v, shared, err)
		}

		close(release)
	})
}

func TestFlightLeaderThatGaveUpFailsNobodyElse(t *testing.T) {
	t.Parallel()

	for name, wrap := range map[string]func(error) error{
		"bare":    func(err error) error { return err },
		"wrapped": func(err error) error { return fmt.Errorf("asking the store: %w", err) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				key := randomKeys(1)[0]
				flight := remember.NewFlight[int](nil)
				ctx, cancel := context.WithCancel(t.Context())

				go func() {
					_, shared, err := flight.Do(ctx, key, func() (int, error) {
						<-ctx.Done()

						return 0, wrap(ctx.Err())
					})
					if shared || !errors.Is(err, context.Canceled) {
						t.Errorf("leader: %v, %v; want its own %v", shared, err, context.Canceled)
					}
				}()

				synctest.Wait()

				var judged atomic.Int32

				for range 20 {
					go func() {
						v, _, err := flight.Do(t.Context(), key, func() (int, error) {
							judged.Add(1)
							time.Sleep(time.Second) // the bubble's clock: until all others wait

							return 7, nil
						})
						if v != 7 || err != nil {
							t.Errorf("follower: %d, %v; want 7", v, err)
						}
					}()
				}

				synctest.Wait()
				cancel()
				time.Sleep(time.Minute)

				if judged.Load() != 1 {
					t.Errorf("judged %d times after the leader gave up, want once", judged.Load())
				}
			})
		})
	}
}

func TestFlightUnshareableErrorsAreJudgedByOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		key := randomKeys(1)[0]
		flight := remember.NewFlight[int](func(err error) bool { return !errors.Is(err, errRefused) })

		var running, judged atomic.Int32

		for range 10 {
			go func() {
				_, shared, err := flight.Do(t.Context(), key, func() (int, error) {
					if running.Add(1) != 1 {
						t.Error("two judgements of one key at a time")
					}

					judged.Add(1)
					time.Sleep(time.Second)
					running.Add(-1)

					return 0, errRefused
				})
				if shared || !errors.Is(err, errRefused) {
					t.Errorf("Do = %v, %v; want its own refusal", shared, err)
				}
			}()
		}

		time.Sleep(time.Minute)

		if judged.Load() != 10 {
			t.Errorf("judged %d times, want each of 10 for itself", judged.Load())
		}
	})
}

func TestFlightPolicyMayShareTheEndOfAContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		key := randomKeys(1)[0]
		flight := remember.NewFlight[int](func(error) bool { return true })
		release := make(chan struct{})

		for range 2 {
			go func() {
				if _, _, err := flight.Do(t.Context(), key, func() (int, error) {
					<-release

					return 0, context.Canceled
				}); !errors.Is(err, context.Canceled) {
					t.Errorf("Do: %v, want %v", err, context.Canceled)
				}
			}()
		}

		synctest.Wait()
		close(release)
	})
}

func TestFlightFollowerWaitsNoLongerThanItsOwnContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		key := randomKeys(1)[0]
		flight := remember.NewFlight[int](nil)

		go func() {
			if v, _, err := flight.Do(t.Context(), key, func() (int, error) { time.Sleep(time.Hour); return 1, nil }); v != 1 || err != nil {
				t.Errorf("leader: %d, %v; want 1 whatever became of the followers", v, err)
			}
		}()

		synctest.Wait()

		for _, wait := range []time.Duration{time.Second, 3 * time.Second, time.Minute} {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()

				start := time.Now()

				_, _, err := flight.Do(ctx, key, func() (int, error) { return 2, nil })
				if got := time.Since(start); got != wait || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("follower ended after %v with %v, want %v and %v", got, err, wait, context.DeadlineExceeded)
				}
			}()
		}

		time.Sleep(2 * time.Hour)
	})
}

func TestFlightCallerWhoseContextHasEndedJudgesNothing(t *testing.T) {
	t.Parallel()

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errRefused)

	_, _, err := remember.NewFlight[int](nil).Do(ctx, randomKeys(1)[0], func() (int, error) {
		t.Error("judged for a caller that has gone")

		return 0, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Do: %v, want %v, which can be told apart from a failed judgement", err, context.Canceled)
	}
}

func TestFlightJudgementThatDoesNotReturnFailsAllAndBlocksNobody(t *testing.T) {
	t.Parallel()

	for name, abort := range map[string]func(){
		"panic":     func() { panic("judge") },
		"nil panic": func() { panic(nil) }, //nolint:govet // on purpose
		"Goexit":    runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				key := randomKeys(1)[0]
				flight := remember.NewFlight[int](nil)
				release := make(chan struct{})

				var returned, aborted atomic.Int32

				go func() {
					defer func() {
						if p := recover(); (p == nil) != (name == "Goexit") {
							t.Errorf("the leader recovered %v", p)
						}
					}()

					_, _, _ = flight.Do(t.Context(), key, func() (int, error) { <-release; abort(); return 1, nil })

					returned.Add(1)
				}()

				synctest.Wait()

				for range 5 {
					go func() {
						v, shared, err := flight.Do(t.Context(), key, func() (int, error) { return 2, nil })
						if v == 0 && shared && errors.Is(err, remember.ErrAborted) {
							aborted.Add(1)
						}
					}()
				}

				synctest.Wait()
				close(release)
				synctest.Wait()

				if returned.Load() != 0 || aborted.Load() != 5 {
					t.Errorf("%d leaders returned, %d followers aborted; want 0 and 5", returned.Load(), aborted.Load())
				}

				if v, _, err := flight.Do(t.Context(), key, func() (int, error) { return 3, nil }); v != 3 || err != nil {
					t.Errorf("afterwards Do = %d, %v; want 3", v, err)
				}
			})
		})
	}
}

func TestFlightUnderConcurrentUseGivesEachCallerItsOwnKeysValue(t *testing.T) {
	t.Parallel()

	keys := randomKeys(20)
	flight := remember.NewFlight[int](nil)

	var group sync.WaitGroup
	for worker := range uint64(16) {
		group.Go(func() {
			random := rand.New(rand.NewPCG(worker, 3)) //nolint:gosec // repeatable on purpose

			for range 2_000 {
				i := random.IntN(len(keys))
				ctx, cancel := context.WithCancel(t.Context())
				quits := random.IntN(4) == 0

				got, shared, err := flight.Do(ctx, keys[i], func() (int, error) {
					runtime.Gosched()

					if quits {
						cancel()

						return -1, ctx.Err()
					}

					return i, nil
				})

				cancel()

				switch {
				case err == nil && got == i:
				case errors.Is(err, context.Canceled) && quits && !shared:
				default:
					t.Errorf("Do(%d) = %d, %v, %v", i, got, shared, err)
				}
			}
		})
	}

	group.Wait()
}

func TestFlightLeaderAloneAllocatesItsCallOnly(t *testing.T) {
	key := randomKeys(1)[0]
	value := &verdict{}
	judge := func() (*verdict, error) { return value, nil }
	flight := remember.NewFlight[*verdict](nil)

	if got := testing.AllocsPerRun(1000, func() { _, _, _ = flight.Do(t.Context(), key, judge) }); got > 1 {
		t.Errorf("allocations = %v, want at most 1", got)
	}
}
