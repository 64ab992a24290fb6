// SPDX-License-Identifier: Apache-2.0

//go:build race

package remember_test

const raceEnabled = true
