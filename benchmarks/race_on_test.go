// SPDX-License-Identifier: Apache-2.0

//go:build race

package benchmarks

// raceEnabled: the race detector slows each kind of work differently, and has pools drop what they are given.
const raceEnabled = true
