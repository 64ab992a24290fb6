// SPDX-License-Identifier: Apache-2.0

package password

import (
	"encoding/base64"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// params are what a PHC string of argon2id says.
type params struct {
	memory, time uint32
	lanes        uint8
	salt, hash   []byte
}

// bounded reports whether the parameters may be computed at all (RFC 9106, section 3.1, and our own bounds).
func (p *params) bounded() bool {
	return p.time >= 1 && p.time <= MaxTime && p.lanes >= 1 && p.lanes <= MaxParallelism && p.memory >= 8*uint32(p.lanes) && p.memory <= MaxMemory
}

const argon2Prefix = "$argon2id$v=19$"

var phc64 = base64.RawStdEncoding.Strict()

func (p *params) encode() string {
	number := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	return argon2Prefix + "m=" + number(p.memory) + ",t=" + number(p.time) + ",p=" + number(uint32(p.lanes)) +
		"$" + phc64.EncodeToString(p.salt) + "$" + phc64.EncodeToString(p.hash)
}

// decode reads a PHC string. It takes exactly what encode writes, so that a hash has one text, and allocates little whatever the text says.
func decode(encoded string) (*params, error) {
	rest, ok := strings.CutPrefix(encoded, argon2Prefix)
	if !ok || argon2.Version != 0x13 || len(encoded) > 256 {
		return nil, ErrCorrupt
	}
	costs, rest, _ := strings.Cut(rest, "$")
	salt, hash, _ := strings.Cut(rest, "$")
	p := &params{}
	m, costs, _ := strings.Cut(strings.TrimPrefix(costs, "m="), ",t=")
	t, lanes, _ := strings.Cut(costs, ",p=")
	memory, errM := strconv.ParseUint(m, 10, 32)
	time, errT := strconv.ParseUint(t, 10, 32)
	parallelism, errP := strconv.ParseUint(lanes, 10, 8)
	if errM != nil || errT != nil || errP != nil {
		return nil, ErrCorrupt
	}
	p.memory, p.time, p.lanes = uint32(memory), uint32(time), uint8(parallelism)
	var errS, errH error
	p.salt, errS = phc64.DecodeString(salt)
	p.hash, errH = phc64.DecodeString(hash)
	if errS != nil || errH != nil || len(p.salt) < 8 || len(p.salt) > 64 || len(p.hash) < 16 || len(p.hash) > 64 || !p.bounded() || p.encode() != encoded {
		return nil, ErrCorrupt
	}
	return p, nil
}

const bcryptLength = 60

func isBcrypt(hash string) bool {
	return strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$")
}

// bcryptCost is the cost of a bcrypt hash. It takes exactly what encodeBcrypt writes, since the bcrypt package looks at neither the sign of the cost
// nor what follows it.
func bcryptCost(hash string) (int, error) {
	if len(hash) != bcryptLength {
		return 0, ErrCorrupt
	}
	cost, errC := strconv.Atoi(hash[4:6])
	salt, errS := bcrypt64.DecodeString(hash[7:29])
	digest, errD := bcrypt64.DecodeString(hash[29:])
	if errC != nil || errS != nil || errD != nil || cost < MinCost || cost > MaxCost || encodeBcrypt(cost, salt, digest)[4:] != hash[4:] {
		return 0, ErrCorrupt
	}
	return cost, nil
}

// bcrypt64 is bcrypt's own base64.
var bcrypt64 = base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").WithPadding(base64.NoPadding)

// encodeBcrypt writes a bcrypt hash from 16 bytes of salt and 23 of digest.
func encodeBcrypt(cost int, salt, digest []byte) string {
	two := strconv.Itoa(cost)
	if cost < 10 {
		two = "0" + two
	}
	return "$2a$" + two + "$" + bcrypt64.EncodeToString(salt) + bcrypt64.EncodeToString(digest)
}
