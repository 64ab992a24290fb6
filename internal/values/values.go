// SPDX-License-Identifier: Apache-2.0

// Package values answers questions about values whose type is not known.
package values

import (
	"context"
	"reflect"
)

// IsNil also finds the nil pointer, function or map inside an interface, which a dropped constructor error leaves behind.
func IsNil(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Pointer || r.Kind() == reflect.Func || r.Kind() == reflect.Map) && r.IsNil()
}

// Identity is a value that is equal to itself alone, as the key of a map: v if it can be compared, else one that is never found again.
func Identity(v any) any {
	if Comparable(v) {
		return v
	}
	return new(byte)
}

// Comparable reports whether comparing v with == cannot panic.
func Comparable(v any) bool { return v != nil && reflect.TypeOf(v).Comparable() }

// KeyAskedFor is the key of the last value that ask wants of its context. It is how a key is learnt that a package does not export.
func KeyAskedFor(ask func(context.Context)) any {
	var heard listener
	ask(&heard)
	return heard.key
}

type listener struct {
	context.Context //nolint:containedctx // only Value is called
	key             any
}

func (l *listener) Value(key any) any {
	l.key = key
	return nil
}
