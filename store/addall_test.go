// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/store"
)

// single is a Counter that knows Add alone. Each sum is how often it was asked.
type single struct {
	asked []store.Addition
	fail  int // at which question
}

var errDown = errors.New("down")

func (s *single) Add(_ context.Context, key string, n int64, window time.Duration) (int64, error) {
	s.asked = append(s.asked, store.Addition{Key: key, N: n, Window: window})
	if len(s.asked) == s.fail {
		return 0, errDown
	}
	return int64(len(s.asked)), nil
}

// multiple is one that is asked once for all.
type multiple struct {
	single

	sums []int64
	err  error
}

func (m *multiple) AddAll(_ context.Context, adds ...store.Addition) ([]int64, error) {
	m.asked = append(m.asked, adds...)
	return m.sums, m.err
}

var additions = []store.Addition{{"a", 1, time.Minute}, {"b", 0, time.Hour}, {"c", -1, time.Second}}

func TestAddAllAsksOneByOne(t *testing.T) {
	t.Parallel()
	s := &single{}
	sums, err := store.AddAll(t.Context(), s, additions...)
	if err != nil || !slices.Equal(sums, []int64{1, 2, 3}) || !slices.Equal(s.asked, additions) {
		t.Errorf("got %v and %v after %v", sums, err, s.asked)
	}
	s = &single{fail: 2}
	if sums, err := store.AddAll(t.Context(), s, additions...); !errors.Is(err, errDown) || sums != nil || len(s.asked) != 2 {
		t.Errorf("got %v and %v after %d questions, want the second to be the last", sums, err, len(s.asked))
	}
}

func TestAddAllAsksOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		m    multiple
		want error
	}{
		{"good", multiple{sums: []int64{7, 8, 9}}, nil},
		{"too few sums", multiple{sums: []int64{7, 8}}, store.ErrSwapped},
		{"too many sums", multiple{sums: []int64{7, 8, 9, 10}}, store.ErrSwapped},
		{"an outage", multiple{sums: []int64{7, 8, 9}, err: errDown}, errDown},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			sums, err := store.AddAll(t.Context(), &test.m, additions...)
			if !errors.Is(err, test.want) || test.want != nil && sums != nil || test.want == nil && !slices.Equal(sums, test.m.sums) {
				t.Errorf("got %v and %v, want %v", sums, err, test.want)
			}
			if !slices.Equal(test.m.asked, additions) {
				t.Errorf("asked for %v", test.m.asked)
			}
		})
	}
}
