// SPDX-License-Identifier: Apache-2.0

// Package password hashes passwords and checks them: argon2id (RFC 9106) by default, and bcrypt for hashes that are there already.
//
// What a stored hash may ask for is bounded before anything is allocated, and so is the memory of all computations together.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"
)

// The reasons why a password does not verify. Their texts never hold a password or a hash.
var (
	// ErrMismatch means that the password is wrong.
	ErrMismatch = errors.New("the password does not match")
	// ErrCorrupt means that the stored hash is none that can be computed: empty, malformed, of an unknown kind, or beyond the bounds.
	ErrCorrupt = errors.New("the stored hash is corrupt or beyond the bounds")
	// ErrUnusable means that the password is one that this kind of hash does not take: too long, or with a NUL under bcrypt.
	ErrUnusable = errors.New("the password cannot be hashed")
	// ErrBusy means that other computations took all memory for longer than Options.MaxWait.
	ErrBusy = errors.New("too many passwords are being checked")
)

// Algorithm is a kind of hash.
type Algorithm uint8

// The kinds of hashes.
const (
	// Argon2id is the default (RFC 9106).
	Argon2id Algorithm = iota
	// Bcrypt takes passwords of at most 72 bytes without NUL.
	Bcrypt
)

// Options are how new hashes are made and what checking may cost. The zero value is a good choice.
type Options struct {
	// Algorithm makes new hashes. Both kinds are verified.
	Algorithm Algorithm
	// Memory is the memory of argon2id in KiB, 19456 (19 MiB) by default, at most [MaxMemory].
	Memory uint32
	// Time is the number of passes of argon2id, 2 by default, at most [MaxTime].
	Time uint32
	// Parallelism is the number of lanes of argon2id, 1 by default, at most [MaxParallelism].
	Parallelism uint8
	// Cost is the cost of bcrypt, 12 by default, from [MinCost] to [MaxCost].
	Cost int
	// MaxMemory is the memory in KiB that all computations together may take; by default room for as many default hashes as there are processors
	// but one, and for one at least, so that a rush of logins leaves one to the other calls.
	// A bcrypt computation counts as one default hash. A stored hash that needs more than there is runs alone.
	MaxMemory int64
	// MaxWait is how long a caller waits for memory before [ErrBusy], 2 seconds by default; the end of its context ends the wait too.
	MaxWait time.Duration
	// MaxPasswordBytes is the length of the longest password, 1024 by default.
	MaxPasswordBytes int
}

// The bounds of what a stored hash may ask for, and of Options.
const (
	MaxMemory      = 256 << 10 // KiB
	MaxTime        = 16
	MaxParallelism = 16
	MinCost        = 4
	MaxCost        = 15
)

const (
	defaultMemory = 19 << 10 // KiB: the first choice of OWASP's cheat sheet, with two passes and one lane
	saltBytes     = 16
	hashBytes     = 32
	bcryptBytes   = 72
)

// Hasher hashes and verifies. It is safe for concurrent use, has no goroutine, and shows nothing of its own when printed.
type Hasher struct {
	opts         Options
	memory       *semaphore.Weighted
	dummy        string
	computations atomic.Uint64
}

// New returns a Hasher. An error names the option that is wrong and says what to write.
func New(opts Options) (*Hasher, error) {
	setDefault(&opts.Memory, defaultMemory)
	setDefault(&opts.Time, 2)
	setDefault(&opts.Parallelism, 1)
	setDefault(&opts.Cost, 12)
	setDefault(&opts.MaxMemory, int64(max(1, runtime.GOMAXPROCS(0)-1))*int64(max(opts.Memory, defaultMemory)))
	setDefault(&opts.MaxWait, 2*time.Second)
	setDefault(&opts.MaxPasswordBytes, 1024)
	p := params{memory: opts.Memory, time: opts.Time, lanes: opts.Parallelism}
	switch {
	case opts.Algorithm > Bcrypt:
		return nil, errors.New("password: Options.Algorithm is unknown: write Argon2id or Bcrypt")
	case !p.bounded():
		return nil, fmt.Errorf("password: Options.Memory, Time or Parallelism is out of bounds: at most %d KiB (and 8 for each lane), %d and %d", MaxMemory, MaxTime, MaxParallelism)
	case opts.Cost < MinCost || opts.Cost > MaxCost:
		return nil, fmt.Errorf("password: Options.Cost is %d: write %d to %d", opts.Cost, MinCost, MaxCost)
	case opts.MaxMemory < int64(opts.Memory):
		return nil, errors.New("password: Options.MaxMemory is less than one hash needs: write at least Memory")
	case opts.MaxWait < 0:
		return nil, errors.New("password: Options.MaxWait is negative: write a positive duration")
	case opts.MaxPasswordBytes < 0:
		return nil, errors.New("password: Options.MaxPasswordBytes is negative: write a positive number")
	}
	h := &Hasher{opts: opts, memory: semaphore.NewWeighted(opts.MaxMemory)}
	var err error
	h.dummy, err = h.makeDummy()
	return h, err
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Format prints the type alone, whatever the verb.
func (*Hasher) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "password.Hasher") }

// Hash returns the encoded hash of a password: a PHC string for argon2id.
//
// The error is [ErrUnusable], [ErrBusy], or the context's.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if !h.usable(h.opts.Algorithm, password) {
		return "", ErrUnusable
	}
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	p := params{memory: h.opts.Memory, time: h.opts.Time, lanes: h.opts.Parallelism, salt: salt}
	done, err := h.reserve(ctx, int64(p.memory))
	if err != nil {
		return "", err
	}
	defer done()
	if h.opts.Algorithm == Bcrypt {
		encoded, err := bcrypt.GenerateFromPassword([]byte(password), h.opts.Cost)
		return string(encoded), err
	}
	p.hash = argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.lanes, hashBytes)
	return p.encode(), nil
}

// Verify returns nil if hash is that of the password.
//
// The error is [ErrMismatch], [ErrCorrupt], [ErrUnusable], [ErrBusy], or the context's. Only a right and a wrong password cost a computation.
func (h *Hasher) Verify(ctx context.Context, hash, password string) error {
	if isBcrypt(hash) {
		return h.verifyBcrypt(ctx, hash, password)
	}
	p, err := decode(hash)
	switch {
	case err != nil:
		return err
	case !h.usable(Argon2id, password):
		return ErrUnusable
	}
	done, err := h.reserve(ctx, int64(p.memory))
	if err != nil {
		return err
	}
	defer done()
	computed := argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.lanes, uint32(len(p.hash))) //nolint:gosec // at most 64
	if subtle.ConstantTimeCompare(computed, p.hash) != 1 {
		return ErrMismatch
	}
	return nil
}

func (h *Hasher) verifyBcrypt(ctx context.Context, hash, password string) error {
	if _, err := bcryptCost(hash); err != nil {
		return err
	}
	if !h.usable(Bcrypt, password) {
		return ErrUnusable
	}
	done, err := h.reserve(ctx, defaultMemory)
	if err != nil {
		return err
	}
	defer done()
	switch err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)); {
	case err == nil:
		return nil
	case errors.Is(err, bcrypt.ErrMismatchedHashAndPassword):
		return ErrMismatch
	default:
		return ErrCorrupt
	}
}

// NeedsRehash reports whether a new hash would be better than this one: of the chosen algorithm, or stronger in something without costing less
// memory times passes in all. A hash that cannot be verified needs one too.
func (h *Hasher) NeedsRehash(hash string) bool {
	if isBcrypt(hash) {
		cost, err := bcryptCost(hash)
		return h.opts.Algorithm != Bcrypt || err != nil || cost < h.opts.Cost
	}
	p, err := decode(hash)
	if err != nil || h.opts.Algorithm != Argon2id {
		return true
	}
	weaker := p.memory < h.opts.Memory || p.time < h.opts.Time || len(p.salt) < saltBytes || len(p.hash) < hashBytes
	return weaker && uint64(p.memory)*uint64(p.time) <= uint64(h.opts.Memory)*uint64(h.opts.Time)
}

// Dummy is a hash that no password matches and that costs to verify what a new hash costs. Comparing with it hides that there is none to compare with.
func (h *Hasher) Dummy() string { return h.dummy }

// Computations is how many hashes were computed so far, to verify or to make one.
func (h *Hasher) Computations() uint64 { return h.computations.Load() }

func (h *Hasher) makeDummy() (string, error) {
	p := params{memory: h.opts.Memory, time: h.opts.Time, lanes: h.opts.Parallelism, salt: make([]byte, saltBytes), hash: make([]byte, hashBytes)}
	if _, err := rand.Read(p.salt); err != nil {
		return "", err
	}
	if _, err := rand.Read(p.hash); err != nil {
		return "", err
	}
	if h.opts.Algorithm == Bcrypt {
		return encodeBcrypt(h.opts.Cost, p.salt, p.hash[:23]), nil
	}
	return p.encode(), nil
}

func (h *Hasher) usable(a Algorithm, password string) bool {
	if len(password) > h.opts.MaxPasswordBytes {
		return false
	}
	if a == Bcrypt {
		for i := range len(password) {
			if password[i] == 0 { // bcrypt implementations disagree on what follows
				return false
			}
		}
		return len(password) <= bcryptBytes
	}
	return true
}

// reserve waits for memory and counts a computation; a caller that gave up gets none, also where nobody waits.
func (h *Hasher) reserve(ctx context.Context, weight int64) (done func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	weight = min(weight, h.opts.MaxMemory)
	if !h.memory.TryAcquire(weight) {
		limited, cancel := context.WithTimeout(ctx, h.opts.MaxWait)
		defer cancel()
		if err := h.memory.Acquire(limited, weight); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, ErrBusy
		}
	}
	h.computations.Add(1)
	return func() { h.memory.Release(weight) }, nil
}
