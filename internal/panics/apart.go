// SPDX-License-Identifier: Apache-2.0

package panics

import "errors"

// ErrEnded is the outcome of a function that called runtime.Goexit.
var ErrEnded = errors.New("the goroutine was ended")

// Outcome is what became of a function: the error that it returned, or the value that it panicked with.
type Outcome struct {
	Err      error
	Panicked any
}

// Repanic panics with what the function panicked with, if it did.
func (o Outcome) Repanic() {
	if o.Panicked != nil {
		panic(o.Panicked)
	}
}

// Apart runs f in a goroutine of its own, which ends with f. The channel gets its outcome, and nobody needs to wait for it.
func Apart(f func() error) <-chan Outcome {
	done := make(chan Outcome, 1)
	go func() {
		o := Outcome{Err: ErrEnded}
		returned := false
		defer func() {
			if !returned {
				o.Panicked = recover()
			}
			done <- o
		}()
		o.Err = f()
		returned = true
	}()
	return done
}
