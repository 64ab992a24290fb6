// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"strings"
)

const (
	familySize = 16
	proofSize  = 16
	secretSize = 32
)

// text is a refresh token taken apart: the ID of its family, which is no secret; a proof, the same in all tokens of the family, that tells a token which was
// used before from one that somebody made up for a family whose ID he knows; and the secret that is good once.
type text struct {
	family        string
	proof, secret []byte
}

// newText is a token of a family, with a fresh proof and a fresh secret.
func newText(family string) text {
	t := text{family, make([]byte, proofSize), make([]byte, secretSize)}
	_, _ = rand.Read(t.proof)  // it never fails: the process ends before that
	_, _ = rand.Read(t.secret) // nor here
	return t
}

// String is the token as clients get it: the ID, a dot, and proof and secret in unpadded base64url.
func (t text) String() string {
	return t.family + "." + base64url.EncodeToString(append(append(make([]byte, 0, proofSize+secretSize), t.proof...), t.secret...))
}

// Format prints the ID of the family alone, whatever the verb.
func (t text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "text("+t.family+")") }

// parseText takes what String made and nothing else.
func parseText(s string) (text, bool) {
	family, rest, _ := strings.Cut(s, ".")
	secrets := decode(rest, proofSize+secretSize)
	if secrets == nil || !isFamily(family) {
		return text{}, false
	}
	return text{family, secrets[:proofSize], secrets[proofSize:]}, true
}

func isFamily(id string) bool { return decode(id, familySize) != nil }

// hash is what the store sees of a secret. Secrets are random, so nobody can try them all.
func hash(secret []byte) []byte {
	sum := sha256.Sum256(secret)
	return sum[:]
}

// equal compares two texts in constant time.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
