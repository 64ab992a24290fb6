// SPDX-License-Identifier: Apache-2.0

package panics_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/grpcauth/grpcauth/internal/panics"
)

func describe(f func()) (text string) {
	defer func() { text = panics.Describe(recover()) }()
	f()
	return ""
}

func Example() {
	text := describe(func() { panic("the password is hunter2") })
	fmt.Println(strings.Contains(text, "hunter2"), strings.HasPrefix(text, "a panic with a string at "))
	// Output: false true
}

func TestDescribeNamesTheLineThatPanicked(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]func(){
		"a panic with a *errors.errorString":                   func() { panic(fmt.Errorf("canary")) },
		"a panic: runtime error: index out of range [5]":       func() { _ = make([]int, 3)[len(t.Name())*0+5] },
		"a panic: runtime error: invalid memory address or ni": func() { p := new(*struct{ a int }); (*p).a++ },
	} {
		got := describe(f)
		if !strings.HasPrefix(got, want) || !strings.Contains(got, "panics_test.go:") || strings.Contains(got, "canary") {
			t.Errorf("got %q, want %q, the file and line, and nothing of the value", got, want)
		}
	}
}
