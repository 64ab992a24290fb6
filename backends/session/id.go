// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math"

	"google.golang.org/grpc/metadata"

	"github.com/grpcauth/grpcauth"
)

const (
	// idBytes fill whole characters, so that there is one way to write an id.
	idBytes  = 24
	idSize   = idBytes / 3 * 4
	keyWord  = "session/"
	keySize  = len(keyWord) + hashSize
	hashSize = (sha256.Size*8 + 5) / 6
	// maxCookies is the size of cookies beyond which [grpcauth.Request.Cookie] looks at none.
	maxCookies = 16 << 10
)

// newID is a fresh id of 192 random bits.
func newID() string {
	var random [idBytes]byte
	_, _ = rand.Read(random[:]) // it never fails: the process ends before that
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// wellFormed reports whether newID may have made the text.
func wellFormed(id string) bool { return len(id) == idSize && inAlphabet(id) }

func inAlphabet(text string) bool {
	for i := range len(text) {
		if !isDigit[text[i]] {
			return false
		}
	}
	return true
}

var isDigit = func() (table [math.MaxUint8 + 1]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = true
	}
	return table
}()

// keyOf is the key of the record of an id. An id has so many random bits that a plain hash hides it; the rest of the key is the handle.
func keyOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	var key [keySize]byte
	copy(key[:], keyWord)
	base64.RawURLEncoding.Encode(key[len(keyWord):], sum[:])
	return string(key[:])
}

func isHandle(handle string) bool { return len(handle) == hashSize && inAlphabet(handle) }

// credential takes the id off a call. It is refused if it comes twice, or is none that this package makes.
func (b *Backend) credential(req *grpcauth.Request) (id string, byCookie bool, err error) {
	err = grpcauth.ErrNoCredentials
	if b.opts.Cookie != noCookie {
		id, err = req.Cookie(b.opts.Cookie)
		byCookie = !errors.Is(err, grpcauth.ErrNoCredentials)
	}
	if b.opts.MetadataKey != "" {
		value, valueErr := req.Value(b.opts.MetadataKey)
		switch {
		case errors.Is(valueErr, grpcauth.ErrNoCredentials):
		case byCookie:
			return "", false, grpcauth.Errorf(grpcauth.CodeAmbiguous, "session: an id in the cookie and one in %s", b.opts.MetadataKey)
		default:
			id, err = value, valueErr
		}
	}
	if err != nil {
		return "", false, err
	}
	if !wellFormed(id) {
		return "", false, grpcauth.Errorf(grpcauth.CodeMalformed, "session: the id is not one of a session")
	}
	return id, byCookie, nil
}

// incoming is the key of the session that the call of ctx came with; empty if there is none, or what there is cannot be the id of one.
func (b *Backend) incoming(ctx context.Context) (key string, err error) {
	id, _, err := b.credential(grpcauth.NewRequest(ctx, ""))
	switch {
	case err == nil:
		return keyOf(id), nil
	case errors.Is(err, grpcauth.ErrNoCredentials):
		return "", nil
	case grpcauth.CodeOf(err) == grpcauth.CodeMalformed && cookieBytes(ctx) <= maxCookies:
		return "", nil
	}
	return "", err
}

// cookieBytes is the size of all cookies of a call: among too many there may be one that nobody looked at.
func cookieBytes(ctx context.Context) (size int) {
	for _, field := range metadata.ValueFromIncomingContext(ctx, "cookie") {
		size += len(field)
	}
	return size
}
