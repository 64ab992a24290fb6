// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// nonces are made of the time and a secret, so that nothing is stored of those that were given out.
type nonces struct {
	mac    func(period uint64) string // a function, since printing one shows nothing
	period time.Duration
}

func newNonces(secret []byte, period time.Duration) nonces {
	key := bytes.Clone(secret)
	if len(key) == 0 {
		key = make([]byte, sha256.Size)
		_, _ = rand.Read(key) // which does not fail
	}
	return nonces{func(n uint64) string {
		h := hmac.New(sha256.New, key)
		_, _ = h.Write(binary.BigEndian.AppendUint64([]byte("dpop-nonce"), n))
		return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
	}, period}
}

type nonceState uint8

const (
	nonceUnknown nonceState = iota
	nonceEnding             // of the period before
	nonceCurrent
)

func (n *nonces) at(now time.Time) uint64 {
	return uint64(max(now.Unix(), 1) / max(int64(n.period/time.Second), 1))
}

func (n *nonces) current(now time.Time) string { return n.mac(n.at(now)) }

func (n *nonces) state(nonce string, now time.Time) nonceState {
	at := n.at(now)
	switch {
	case nonce == "":
		return nonceUnknown
	case hmac.Equal([]byte(nonce), []byte(n.mac(at))):
		return nonceCurrent
	case hmac.Equal([]byte(nonce), []byte(n.mac(at-1))):
		return nonceEnding
	}
	return nonceUnknown
}
