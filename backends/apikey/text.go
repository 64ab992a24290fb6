// SPDX-License-Identifier: Apache-2.0

package apikey

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// The sizes of what a key consists of, in characters of base62. The last three are always the same, so a key is taken apart from its end.
const (
	minPrefix, maxPrefix = 2, 32
	idSize               = 16 // 95 bits: no two keys have the same
	secretSize           = 43 // 256 bits
	checksumSize         = 6  // 32 bits
	tailSize             = 1 + idSize + 1 + secretSize + 1 + checksumSize
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// parts are what the text of a key says. They share its memory.
type parts struct{ prefix, id, secret string }

var (
	errSize     = errors.New("the key is shorter or longer than any key")
	errShape    = errors.New("the key is not a prefix, an ID, a secret and a checksum between underscores")
	errChecksum = errors.New("the checksum is wrong, so the key was copied wrongly or cut off")
)

// parse takes a key apart and checks its checksum. It is right about every text, without asking anybody whether there is such a key.
func parse(text string) (parts, error) {
	head := len(text) - tailSize
	if head < minPrefix || head > maxPrefix {
		return parts{}, errSize
	}
	p := parts{prefix: text[:head], id: text[head+1:][:idSize], secret: text[head+1+idSize+1:][:secretSize]}
	body, checksum := text[:len(text)-checksumSize-1], text[len(text)-checksumSize:]
	if text[head] != '_' || text[head+1+idSize] != '_' || text[len(body)] != '_' ||
		!validPrefix(p.prefix) || !isBase62(p.id) || !isBase62(p.secret) || !isBase62(checksum) {
		return parts{}, errShape
	}
	if want := checksumOf(body); checksum != string(want[:]) {
		return parts{}, errChecksum
	}
	return p, nil
}

// textOf puts a key together.
func textOf(prefix, id, secret string) string {
	body := prefix + "_" + id + "_" + secret
	sum := checksumOf(body)
	return body + "_" + string(sum[:])
}

// checksumOf is the CRC-32 of the text in base62, the highest digit first.
func checksumOf(body string) (digits [checksumSize]byte) {
	sum := crc32.ChecksumIEEE([]byte(body))
	for i := range digits {
		digits[checksumSize-1-i] = base62[sum%62]
		sum /= 62
	}
	return digits
}

// random returns characters of base62, each as likely as the others.
func random(size int) string {
	const even = 256 / len(base62) * len(base62)
	var text strings.Builder
	text.Grow(size)
	for buffer := make([]byte, size+size/4); text.Len() < size; {
		_, _ = rand.Read(buffer) // it never fails: the process ends before that
		for _, c := range buffer {
			if int(c) < even && text.Len() < size {
				text.WriteByte(base62[int(c)%len(base62)])
			}
		}
	}
	return text.String()
}

func isBase62(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// validPrefix reports whether keys may begin with the text. It cannot end in an underscore or have two in a row, so that keys look the same everywhere.
func validPrefix(text string) bool {
	if len(text) < minPrefix || len(text) > maxPrefix || text[0] < 'a' || text[0] > 'z' {
		return false
	}
	for i := range len(text) {
		c := text[i]
		if c == '_' && (i == len(text)-1 || text[i+1] == '_') || c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// Pattern returns a regular expression in the syntax of RE2 that finds the keys of this backend in any text, for secret scanners.
//
// It begins without a word boundary: before a leaked key there may be what is left of an escaped line break or of a URL.
func (b *Backend) Pattern() string {
	return fmt.Sprintf(`%s_[0-9A-Za-z]{%d}_[0-9A-Za-z]{%d}_[0-9A-Za-z]{%d}\b`, b.opts.Prefix, idSize, secretSize, checksumSize)
}

// ID returns the ID within the text of a key of this backend, such as one that a secret scanner found; false if the text is none. It does not
// ask whether there is such a key, nor whether its secret is right.
func (b *Backend) ID(text string) (id string, ok bool) {
	p, err := parse(text)
	if err != nil || p.prefix != b.opts.Prefix {
		return "", false
	}
	return p.id, true
}
