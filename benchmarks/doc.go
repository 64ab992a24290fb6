// SPDX-License-Identifier: Apache-2.0

// Package benchmarks measures the library against its peers: what a server would write without it, and the same work without any
// authentication. It has no code but its tests.
//
//	make bench                          # the table of all figures, each with its bound; a few minutes
//	make bench GRPCAUTH_BENCH=strict    # the same, and a figure that falls short fails
//	go test -run '^$' -bench . -benchmem ./...    # the same work as ordinary benchmarks
//
// GRPCAUTH_BENCH says how TestTable measures: "full" takes its time, "strict" also fails where a bound does not hold. Without it each operation
// runs a few times, which shows that it works and what it allocates: allocations are counted, not timed, so they always fail when there are too many.
//
// A figure is a ratio of two sides that take turns within one run, so a machine that is slow or busy slows down both.
package benchmarks
