// SPDX-License-Identifier: Apache-2.0

//go:build !race

package throttle_test

const raceEnabled = false
