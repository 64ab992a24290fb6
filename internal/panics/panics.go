// SPDX-License-Identifier: Apache-2.0

// Package panics describes panics for logs without their values.
package panics

import (
	"fmt"
	"runtime"
	"strings"
)

// Describe names the type of a recovered value and the line that panicked; nil means that the goroutine was ended by runtime.Goexit.
// The value itself may hold a secret, unless the runtime made it. It is called by the deferred function that recovered.
func Describe(recovered any) string {
	what := fmt.Sprintf("a panic with a %T", recovered)
	if recovered == nil {
		what = "the goroutine was ended"
	} else if e, ok := recovered.(runtime.Error); ok {
		what = "a panic: " + e.Error()
	}
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])]) // the deferred function is left out
	for {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s at %s:%d", what, f.File, f.Line)
		}
		if !more {
			return what
		}
	}
}
