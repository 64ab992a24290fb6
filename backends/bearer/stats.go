// SPDX-License-Identifier: Apache-2.0

package bearer

// Stats are counts since the backend was made, and the state of now. Rechecks of streams, for which nothing is remembered, do not count.
type Stats struct {
	// Hits is how many tokens were remembered, as accepted or as refused, and Misses how many were not.
	// One that was remembered as accepted on grounds that no longer hold is both.
	Hits, Misses uint64
	// Evictions is how many verdicts were forgotten for want of room before they expired. If they are many, the room is small or somebody makes up tokens.
	Evictions uint64
	// Remembered is how many accepted tokens are remembered, and Refused how many refused ones; those that expired and were not asked for since count.
	Remembered, Refused int
}

// Stats returns what metrics may want to know.
func (b *Backend) Stats() Stats {
	good, bad := b.accepted.Stats(), b.refused.Stats()
	return Stats{
		Hits:       good.Hits + bad.Hits,
		Misses:     bad.Misses, // the refused tokens are asked last
		Evictions:  good.Evictions + bad.Evictions,
		Remembered: good.Entries,
		Refused:    bad.Entries,
	}
}
