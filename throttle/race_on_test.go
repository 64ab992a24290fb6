// SPDX-License-Identifier: Apache-2.0

//go:build race

package throttle_test

// raceEnabled: the race detector takes its time, and has pools drop what they are given.
const raceEnabled = true
