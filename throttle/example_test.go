// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grpcauth/grpcauth/throttle"
)

// A guesser has as many attempts as the Limit says, and the next one when there is room for it.
func Example() {
	limiter, err := throttle.New(throttle.Options{Account: throttle.Limit{Attempts: 3, Window: time.Minute}})
	if err != nil {
		panic(err)
	}
	login := func(name, password string) error {
		done, err := limiter.Reserve(context.Background(), name, "192.0.2.1")
		if err != nil {
			return err
		}
		outcome := throttle.Failed // if the caller hangs up, too
		defer func() { done(outcome) }()
		if password != "correct horse" {
			return errors.New("wrong password")
		}
		outcome = throttle.Succeeded
		return nil
	}
	for _, guess := range []string{"123456", "password", "qwerty", "correct horse"} {
		err := login("alice", guess)
		if refused, ok := errors.AsType[*throttle.Error](err); ok {
			err = fmt.Errorf("%w, try again in %v", err, refused.RetryAfter.Round(time.Second))
		}
		fmt.Println(err)
	}
	// Output:
	// wrong password
	// wrong password
	// wrong password
	// too many attempts, try again in 20s
}
