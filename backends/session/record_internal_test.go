// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/store"
)

func sample() *record {
	return &record{
		key: "session/x", number: 7, created: 1767323045000, seen: 1767323045123, end: 1767366245000,
		device: Device{"laptop \"1\"", "Mozilla/5.0 \\ (X11)", "192.0.2.1"},
		user: grpcauth.User{
			ID: "alice\x01ä\u2028", Issuer: "https://login.example.com", Name: "<A & B>\n\U0001f600", Method: method, Scopes: []string{"a", "", "\"b\""}, Permissions: []string{"orders.*"},
			AuthTime: time.UnixMilli(-1), ACR: "pwd", Binding: grpcauth.Binding{CertSHA256: "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}, RawClaims: json.RawMessage(`{"a":[1,{"b":"}"}],"c":"\u0041"}`),
		},
	}
}

func TestRecordSurvivesTheStore(t *testing.T) {
	t.Parallel()
	bare := &record{key: "session/x", user: grpcauth.User{ID: "a", Method: method}}
	many := sample()
	for i := range 20 {
		many.user.Scopes, many.user.Permissions = append(many.user.Scopes, strconv.Itoa(i)), append(many.user.Permissions, strconv.Itoa(-i))
	}
	for _, r := range []*record{sample(), bare, many} {
		value, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(value) {
			t.Errorf("not JSON: %s", value)
		}
		got, err := decode(&store.Record{Key: r.key, Owner: ownerOf(r.user.Issuer, r.user.ID), Value: bytes.Clone(value)})
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v and %v, want %+v", got, err, r)
		}
	}
}

func TestRecordOfAnotherHandIsRefused(t *testing.T) {
	t.Parallel()
	good := `{"v":1,"n":0,"created":0,"seen":0,"end":0,"id":"a"}`
	if _, err := decode(&store.Record{Owner: ownerOf("", "a"), Value: []byte(good)}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][2]string{
		{"", " "},
		{`"}`, `"} `},
		{`"}`, `"}}`},
		{`"}`, `","x":1}`},
		{`"}`, `","id":"a"}`},
		{`"v":1`, `"v":1.0`},
		{`"v":1`, `"v":2`},
		{`"n":0`, `"n":-1`},
		{`"n":0`, `"n":00`},
		{`"n":0`, `"n":01`},
		{`"n":0`, `"n":`},
		{`"n":0`, `"n":9223372036854775808`},
		{`"seen":0`, `"seen":"0"`},
		{`"seen":0`, `"seen":null`},
		{`"seen":0`, `"seen":1.5`},
		{`"seen":0,`, ``},
		{`"id":"a"`, `"id":""`},
		{`"id":"a"`, `"id":"a`},
		{`"id":"a"`, `"id":null`},
		{`"id":"a"`, `"ID":"a"`},
		{`"a"}`, `"a","name":"\xff"}`},
		{`"a"}`, "\"a\",\"name\":\"\xff\"}"},
		{`"a"}`, "\"a\",\"name\":\"\n\"}"},
		{`"a"}`, `"a","name":"\ud800"}`},
		{`"a"}`, `"a","scopes":[]}`},
		{`"a"}`, `"a","scopes":["b",]}`},
		{`"a"}`, `"a","scopes":["b"}`},
		{`"a"}`, `"a","scopes":[1]}`},
		{`"a"}`, `"a","claims":[]}`},
		{`"a"}`, `"a","claims":{}}}`},
		{`"a"}`, `"a","claims":{}`},
		{`"a"}`, `"a","claims":}`},
		{`"a"}`, `"a","claims":{"b":1,"b":2}}`},
		{good, "null"},
	} {
		value := strings.Replace(good, bad[0], bad[1], 1)
		if r, err := decode(&store.Record{Owner: ownerOf("", "a"), Value: []byte(value)}); r != nil || err == nil {
			t.Errorf("%q was taken", value)
		}
	}
}

// FuzzRecord compares the reader of records with a general one of JSON: what is taken says the same to both, and comes back when it is written again.
func FuzzRecord(f *testing.F) {
	value, err := sample().encode()
	if err != nil {
		f.Fatal(err)
	}
	text := string(value)
	for _, seed := range []string{
		text, text + " ", " " + text, text[:len(text)-1], text[1:], `{}`, `{"v":1}`, `{"v":1,"n":0,"created":0,"seen":0,"end":0,"id":"a"}`, `{"v":1,"n":0,"created":0,"seen":0,"end":0,"id":"a","claims":{}}`,
		`{"v":1,"n":01,"created":0,"seen":0,"end":0,"id":"a"}`, `{"v":1,"n":-0,"created":0,"seen":0,"end":0,"id":"a"}`, `{"v":1,"n":0,"created":1e3,"seen":0,"end":0,"id":"a"}`,
		`{"v":1,"n":0,"created":0,"seen":0,"end":0,"id":"\ud800"}`, `{"v":1,"n":0,"created":0,"seen":0,"end":0,"id":"\"}`, `{"v":1,"n":0,"created":0,"seen":0,"end":0,"id":"a","scopes":[]}`,
		`{"v":1,"n":0,"created":0,"seen":0,"end":0,"id":"a","scopes":["a",]}`, `{"v":1,"n":0,"created":0,"seen":0,"end":0,"id":"a","claims":{}}}`, `{"v":1,"n":0,"created":0,"seen":0,"end":0,"id":"a","claims":{},"x":{}}`,
		`{"v":1,"n":0,"created":0,"seen":0,"end":0,"id":"a","claims":[{}]}`, strings.Replace(text, "alice", "\xff", 1), strings.Replace(text, "alice", "\x00", 1), strings.Replace(text, `"id"`, `"ID"`, 1),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var d document
		oracle := jsonv2.Unmarshal(value, &d, jsonv2.RejectUnknownMembers(true))
		owner := ownerOf(d.Issuer, d.ID)
		r, err := decode(&store.Record{Key: "session/x", Owner: owner, Value: bytes.Clone(value)})
		if err != nil {
			return
		}
		if oracle != nil {
			t.Fatalf("%q was taken, and is no record: %v", value, oracle)
		}
		if r.user.ID != d.ID || r.user.Issuer != d.Issuer || r.number != d.Number || r.created != d.Created || r.seen != d.Seen || r.end != d.End || d.Version != 1 ||
			r.user.Name != d.Name || !reflect.DeepEqual(r.user.Scopes, d.Scopes) || !bytes.Equal(r.user.RawClaims, d.Claims) || r.device != (Device{d.Device, d.UserAgent, d.Address}) {
			t.Errorf("%q was read as %+v", value, r)
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if next, err := decode(&store.Record{Key: "session/x", Owner: owner, Value: again}); err != nil || next.user.ID != r.user.ID || next.seen != r.seen {
			t.Errorf("%q was written as %q and read as %+v, %v", value, again, next, err)
		}
	})
}

func TestOwnersAreToldApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	seen := map[string][2]string{}
	for _, issuer := range []string{"", "a", "ab", long, long + "a"} {
		for _, id := range []string{"a", "b", "\x00a", "b\x00", long, "a" + long} {
			owner := ownerOf(issuer, id)
			if other, taken := seen[owner]; taken || len(owner) > store.MaxKey {
				t.Errorf("%q of %q is %q, or %d bytes are too many", id, issuer, other, len(owner))
			}
			seen[owner] = [2]string{issuer, id}
		}
	}
	for owner, is := range seen {
		for _, other := range seen {
			if got := ownedBy(owner, other[0], other[1]); got != (is == other) {
				t.Errorf("%q is the owner of %q: %t", other, owner, got)
			}
		}
	}
}

func FuzzDevice(f *testing.F) {
	f.Add("laptop", 64)
	f.Add(strings.Repeat("ä", 200), 64)
	f.Add("a\x00\r\n\u202e\xff\u200d", 4)
	f.Fuzz(func(t *testing.T, text string, most int) {
		most = 1 + most&0xff
		got := clean(text, most)
		if len(got) > most || strings.ContainsAny(got, "\x00\x1b\r\n\t\u202e\u2066\u2028") || strings.ToValidUTF8(got, "") != got || clean(got, most) != got {
			t.Errorf("got %q", got)
		}
	})
}
