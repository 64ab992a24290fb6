// SPDX-License-Identifier: Apache-2.0

package remember

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

const (
	// secretSize is one block of SHA-256, so that the secret fills the first compression and no input shares it.
	secretSize = sha256.BlockSize
	// lengthSize is what stands before each part, and the number of parts before all of them.
	lengthSize = 8
	// bufferSize takes 16 KiB in up to 15 parts. No sensible credential is longer; what is gets an array of its own, so
	// that one caller's giant does not stay in the pool.
	bufferSize = 16<<10 + secretSize + 16*lengthSize
)

// Keyer makes keys: SHA-256 under a random secret of its own, over parts of which each is preceded by its length.
// It is safe for concurrent use. Keys of two Keyers are unrelated, so a key is worthless outside the process, and
// nobody who does not know the secret can choose inputs whose keys meet. Always use it by the pointer.
type Keyer struct {
	secret  [secretSize]byte
	buffers sync.Pool // of *[bufferSize]byte, all zero
}

// NewKeyer returns a Keyer with a fresh secret from crypto/rand.
func NewKeyer() *Keyer {
	k := &Keyer{buffers: sync.Pool{New: func() any { return new([bufferSize]byte) }}}
	_, _ = rand.Read(k.secret[:]) // it never fails: the process ends before that

	return k
}

// Key returns the key of the parts, all of them and in this order: ("ab", "c") and ("a", "bc") have different keys,
// and so have ("a") and ("a", ""). Parts of up to 16 KiB in all cost no allocation, and no copy of them is left behind.
func (k *Keyer) Key(parts ...string) Key {
	size := secretSize + lengthSize
	for _, part := range parts {
		size += lengthSize + len(part)
	}

	if size > bufferSize {
		// Sized before the first byte is written: growing would leave copies of the secret in outgrown arrays.
		large := make([]byte, size)
		key := k.sum(large, parts)
		clear(large)

		return key
	}

	buffer := k.buffers.Get().(*[bufferSize]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	key := k.sum(buffer[:size], parts)
	clear(buffer[:size])
	k.buffers.Put(buffer)

	return key
}

// sum lays out secret, number of parts, and each part after its length. With the number and the lengths in front no
// input is a beginning of another, which is what makes a plain hash behind a secret block a keyed one.
func (k *Keyer) sum(buffer []byte, parts []string) Key {
	at := copy(buffer, k.secret[:])
	binary.LittleEndian.PutUint64(buffer[at:], uint64(len(parts)))
	at += lengthSize

	for _, part := range parts {
		binary.LittleEndian.PutUint64(buffer[at:], uint64(len(part)))
		at += lengthSize
		at += copy(buffer[at:], part)
	}

	return sha256.Sum256(buffer[:at])
}
