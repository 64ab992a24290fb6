// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/internal/strictjson"
	"github.com/grpcauth/grpcauth/store"
)

// keepExpired is how long the store keeps what has expired, so that the holder is told so, and so that a store whose clock is a little fast ends nothing early.
const keepExpired = 10 * time.Minute

// keepDead is how long the store keeps what was replaced. It is longer than a list takes: one that misses the new session, since it was not there yet when the list
// began, finds the old one, dead or alive, and so its reader knows to look again.
const keepDead = time.Minute

var errRecord = errors.New("session: the record of the session is not what this package writes")

// record is what the store keeps of a session. It is never changed once it is made. Times are in milliseconds since 1970.
type record struct {
	key     string
	version int64 // of the store's record
	number  int64 // later logins of a user have higher ones, whatever the clock said
	created int64
	seen    int64
	end     int64 // 0: it was replaced
	device  Device
	user    grpcauth.User
}

// document is the value of a record, whose decode reads its members in this order.
type document struct {
	Version     int            `json:"v"`
	Number      int64          `json:"n"`
	Created     int64          `json:"created"`
	Seen        int64          `json:"seen"`
	End         int64          `json:"end"`
	ID          string         `json:"id"`
	Issuer      string         `json:"iss,omitempty"`
	Name        string         `json:"name,omitempty"`
	Scopes      []string       `json:"scopes,omitempty"`
	Permissions []string       `json:"permissions,omitempty"`
	AuthTime    int64          `json:"auth_time,omitzero"`
	ACR         string         `json:"acr,omitempty"`
	CertSHA256  string         `json:"x5t,omitempty"`
	Device      string         `json:"device,omitempty"`
	UserAgent   string         `json:"agent,omitempty"`
	Address     string         `json:"address,omitempty"`
	Claims      jsontext.Value `json:"claims,omitzero"`
}

// encode writes the value of the record. The error says what of the user cannot be kept.
func (r *record) encode() ([]byte, error) {
	value, err := jsonv2.Marshal(&document{
		Version: 1, Number: r.number, Created: r.created, Seen: r.seen, End: r.end, ID: r.user.ID, Issuer: r.user.Issuer, Name: r.user.Name, Scopes: r.user.Scopes,
		Permissions: r.user.Permissions, AuthTime: toMillis(r.user.AuthTime), ACR: r.user.ACR, CertSHA256: r.user.Binding.CertSHA256,
		Device: r.device.Name, UserAgent: r.device.UserAgent, Address: r.device.Address, Claims: jsontext.Value(r.user.RawClaims),
	}, jsontext.PreserveRawStrings(true))
	switch {
	case err != nil:
		return nil, errors.New("session: the user has text that is not UTF-8, or claims that are not JSON")
	case len(value) > store.MaxValue:
		return nil, fmt.Errorf("session: the user takes %d bytes, more than %d: leave claims out", len(value), store.MaxValue)
	}
	return value, nil
}

func decode(rec *store.Record) (*record, error) {
	r := &record{}
	if err := r.decode(rec); err != nil {
		return nil, err
	}
	return r, nil
}

// decode reads what encode wrote and nothing else, in one pass and with few allocations. The record takes over the value. After an error it holds nothing
// that counts.
func (r *record) decode(rec *store.Record) error {
	p := reader{text: string(rec.Value)}
	*r = record{key: rec.Key, version: rec.Version}
	p.need(`{"v":1,"n":`)
	r.number = p.integer()
	p.need(`,"created":`)
	r.created = p.integer()
	p.need(`,"seen":`)
	r.seen = p.integer()
	p.need(`,"end":`)
	r.end = p.integer()
	p.need(`,"id":`)
	u := &r.user
	u.ID = p.string()
	u.Issuer = p.optional(`,"iss":`)
	u.Name = p.optional(`,"name":`)
	if p.has(`,"scopes":`) {
		u.Scopes = p.strings()
	}
	if p.has(`,"permissions":`) {
		u.Permissions = p.strings()
	}
	if p.has(`,"auth_time":`) {
		u.AuthTime = time.UnixMilli(p.integer())
	}
	u.ACR = p.optional(`,"acr":`)
	u.Binding.CertSHA256 = p.optional(`,"x5t":`)
	r.device.Name = p.optional(`,"device":`)
	r.device.UserAgent = p.optional(`,"agent":`)
	r.device.Address = p.optional(`,"address":`)
	if p.has(`,"claims":`) && p.at < len(p.text) { // they are the last
		end := len(p.text) - 1
		u.RawClaims = rec.Value[p.at:end:end]
		p.bad = strictjson.Object(u.RawClaims, func(string, strictjson.Value) error { return nil }) != nil || p.bad
		p.at = end
	}
	p.need(`}`)
	if p.bad || p.at != len(p.text) || !utf8.ValidString(p.text) || u.ID == "" || r.number < 0 {
		return errRecord // which shows nothing of what the record says
	}
	if !ownedBy(rec.Owner, u.Issuer, u.ID) {
		return store.ErrSwapped
	}
	u.Method = method
	return nil
}

// reader takes a text apart from its beginning. Once something is not as it must be, all is bad.
type reader struct {
	text string
	at   int
	bad  bool
}

func (p *reader) has(next string) bool {
	if !strings.HasPrefix(p.text[p.at:], next) {
		return false
	}
	p.at += len(next)
	return true
}

func (p *reader) need(next string) { p.bad = !p.has(next) || p.bad }

// maxDigits are what a time has for the next 30 million years, and no number with them is too large.
const maxDigits = 18

func (p *reader) integer() int64 {
	negative := p.has("-")
	rest, digits, n := p.text[p.at:], 0, int64(0)
	for ; digits < len(rest) && rest[digits]-'0' <= 9 && digits <= maxDigits; digits++ {
		n = 10*n + int64(rest[digits]-'0')
	}
	p.at += digits
	p.bad = p.bad || digits == 0 || digits > maxDigits || digits > 1 && rest[0] == '0'
	if negative {
		return -n
	}
	return n
}

func (p *reader) optional(name string) string {
	if !p.has(name) {
		return ""
	}
	return p.string()
}

func (p *reader) string() string {
	p.need(`"`)
	rest, escaped := p.text[p.at:], false
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			p.at += i + 1
			if !escaped {
				return rest[:i]
			}
			text, err := jsontext.AppendUnquote(nil, `"`+rest[:i+1])
			p.bad = p.bad || err != nil
			return string(text)
		case c == '\\':
			i++
			escaped = true
		case c < ' ':
			p.bad = true
		}
	}
	p.at, p.bad = len(p.text), true
	return ""
}

// strings is a list that is not empty.
func (p *reader) strings() []string {
	var room [8]string
	list := room[:0]
	p.need(`[`)
	for {
		list = append(list, p.string())
		if p.bad || !p.has(`,`) {
			break
		}
	}
	p.need(`]`)
	return append([]string(nil), list...) // as many as there are, in one allocation
}

// toMillis is a time in milliseconds, rounded down; 0 if it is zero.
func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// expiry is when a session ends without further use. The limits are those of today, also for a session of yesterday.
func (b *Backend) expiry(r *record) time.Time {
	return time.UnixMilli(min(b.end(r), r.seen+b.opts.Idle.Milliseconds()))
}

func (b *Backend) end(r *record) int64 { return min(r.end, r.created+b.opts.Absolute.Milliseconds()) }

func (b *Backend) expired(r *record, now time.Time) bool { return !now.Before(b.expiry(r)) }

// ownerOf is whose sessions a list has. An issuer never has a NUL, so the halves are told apart.
func ownerOf(issuer, id string) string {
	owner := keyWord + issuer + "\x00" + id
	if len(owner) <= store.MaxKey {
		return owner
	}
	sum := sha256.Sum256([]byte(owner))
	return keyWord + base64.RawURLEncoding.EncodeToString(sum[:])
}

// ownedBy is owner == ownerOf(issuer, id).
func ownedBy(owner, issuer, id string) bool {
	rest, ok := strings.CutPrefix(owner, keyWord)
	if at := len(issuer); ok && len(rest) == at+1+len(id) {
		return rest[:at] == issuer && rest[at] == 0 && rest[at+1:] == id
	}
	return len(keyWord)+len(issuer)+1+len(id) > store.MaxKey && owner == ownerOf(issuer, id)
}

// checkUser says why a user cannot have a session.
func checkUser(user *grpcauth.User, now time.Time) error {
	switch {
	case user == nil || user.ID == "":
		return errors.New("session: the user is nil, or has no ID")
	case strings.Contains(user.Issuer, "\x00"):
		return errors.New("session: the user's Issuer has a NUL")
	case user.Binding.JKT != "":
		return errors.New("session: the user is bound to a DPoP key, which no session can prove")
	case !user.Expiry.IsZero() && !now.Before(user.Expiry):
		return errors.New("session: the user's Expiry has come")
	}
	return nil
}

// put stores a record in place of its version, and returns it with the next.
func (b *Backend) put(ctx context.Context, r record) (*record, error) {
	value, err := r.encode()
	if err != nil {
		return nil, err
	}
	expiry := b.expiry(&r).Add(keepExpired)
	if r.end == 0 {
		expiry = b.opts.Now().Add(keepDead)
	}
	rec := store.Record{Key: r.key, Owner: ownerOf(r.user.Issuer, r.user.ID), Value: value, Expiry: expiry, Version: r.version}
	if r.version == 0 {
		if _, err := decode(&rec); err != nil {
			return nil, errors.New("session: the user has claims that are not an object of plain JSON")
		}
	}
	if err := b.opts.Store.Put(ctx, rec); err != nil {
		return nil, failed("write", err)
	}
	r.version++
	return &r, nil
}

// cleaned is the device as it is kept.
func (d Device) cleaned() Device {
	return Device{clean(d.Name, 64), clean(d.UserAgent, 256), clean(d.Address, 64)}
}

// clean leaves what can be printed, which no control character and none that turns the direction of text is, up to a number of bytes.
func clean(text string, most int) string {
	if len(text) > 4*most { // no more than that is looked at
		text = text[:4*most]
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text)
	if len(text) > most {
		text = text[:most]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	return strings.TrimSpace(text)
}

// session is what an application sees of a record.
func (b *Backend) session(r *record) *Session {
	s := &Session{
		Handle: r.key[len(keyWord):], User: r.user.Clone(), Device: r.device,
		Created: time.UnixMilli(r.created), Seen: time.UnixMilli(r.seen), Expiry: b.expiry(r), End: time.UnixMilli(b.end(r)),
	}
	s.User.Expiry = s.Expiry
	return s
}

// damaged is the number of a record that nobody can read. It is lower than all others.
const damaged = -1

// older orders the sessions of a user by their logins.
func older(a, b *record) int {
	return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.created, b.created), strings.Compare(a.key, b.key))
}
