// SPDX-License-Identifier: Apache-2.0

package tokentest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/token"
)

func rotates(k *kit) {
	r := k.refresher(nil)
	text, started := k.start(r, grant())
	k.clock.Add(time.Minute)
	next, g, err := r.Rotate(k.Context(), text, by)
	if err != nil || next == text {
		k.Fatalf("got %v, the same token: %t", err, next == text)
	}
	if g.Family != started.Family || g.Subject != subject || g.ClientID != client || !slices.Equal(g.Scopes, grant().Scopes) || !slices.Equal(g.Audiences, grant().Audiences) ||
		g.ACR != "pwd" || !bytes.Equal(g.Data, grant().Data) || !g.End.Equal(started.End) || !g.Started.Equal(started.Started) || g.Used.Sub(g.Started) != time.Minute {
		k.Errorf("got %+v of %+v", g, started)
	}
	last := next
	for range 20 {
		last = k.rotate(r, last)
	}
	k.refuse(r, next, token.ErrReused)
}

func restarts(k *kit) {
	text, _ := k.start(k.refresher(nil), grant())
	text = k.rotate(k.refresher(nil), text)
	k.rotate(k.refresher(nil), text)
}

func endsOnReuse(k *kit) {
	r := k.refresher(nil)
	old, g := k.start(r, grant())
	current := k.rotate(r, old)
	if k.denied(g.Family) {
		k.Error("access tokens were denied before anything was used twice")
	}
	k.refuse(r, old, token.ErrReused)
	k.refuse(r, current, token.ErrRevoked)
	k.refuse(r, old, token.ErrReused)
	if !k.denied(g.Family) {
		k.Error("the access tokens of the family are not denied")
	}
	events := k.events()
	if len(events) != 2 || events[0].Grant.Family != g.Family || events[0].Grant.Subject != subject || events[0].By != by || !events[0].Ended || !events[0].Time.Equal(k.clock.Now()) {
		k.Errorf("got the events %+v", events)
	}
	k.rotate(r, first(k.start(r, grant()))) // a new login works
}

func ignoresInvented(k *kit) {
	r := k.refresher(nil)
	text, g := k.start(r, grant())
	other, _ := k.start(r, grant())
	for _, invented := range []string{
		g.Family + "." + strings.Repeat("A", 64),
		g.Family + "." + secrets(other),
	} {
		k.refuse(r, invented, token.ErrInvalid)
	}
	k.faults.arm(1, mode{lasting: true}) // what is no refresh token costs the store nothing
	for _, invented := range []string{
		text[:21] + "B" + text[22:], strings.Repeat("=", 22) + text[22:], text[1:22] + text[22:], text[:10] + "\n" + text[10:21] + text[22:],
		text[:20] + "\r\n" + text[22:], text[:83] + "\n\n\n\n", text[:23] + "\n\n\n\n" + text[27:], // the standard decoder skips these
		g.Family, g.Family + ".", "", ".", text[1:], text[:len(text)-1], text + "A", text + "\n", " " + text, strings.ReplaceAll(text, ".", ":"), strings.Repeat("A", 1<<20),
	} {
		k.refuse(r, invented, token.ErrInvalid)
	}
	k.faults.heal()
	k.rotate(r, text)
	if len(k.events()) > 0 {
		k.Error("an invented token is told of as one that was used")
	}
}

func oneOfMany(k *kit) {
	r := k.refresher(nil)
	text, g := k.start(r, grant())
	texts, errs := k.many(func() (string, error) {
		next, _, err := r.Rotate(k.Context(), text, by)
		return next, err
	})
	if len(texts) != 1 || len(errs) != 99 {
		k.Fatalf("%d of 100 succeeded, want 1", len(texts))
	}
	for _, err := range errs {
		if !errors.Is(err, token.ErrReused) {
			k.Errorf("got %v, want all the others to be second uses", err)
		}
	}
	k.refuse(r, texts[0], token.ErrRevoked)
	if !k.denied(g.Family) {
		k.Error("the access tokens of the family are not denied")
	}
}

func otherClient(k *kit) {
	r := k.refresher(nil)
	text, _ := k.start(r, grant())
	for _, id := range []string{"", "SHOP", "shop2", "sho"} {
		if next, _, err := r.Rotate(k.Context(), text, token.Client{ID: id}); !errors.Is(err, token.ErrOtherClient) || next != "" {
			k.Errorf("client %q: got %v", id, err)
		}
	}
	next := k.rotate(r, text)
	if _, _, err := r.Rotate(k.Context(), text, token.Client{ID: "thief"}); !errors.Is(err, token.ErrOtherClient) {
		k.Errorf("a used token of another client: got %v", err)
	}
	k.rotate(r, next)
}

func otherCertificate(k *kit) {
	r := k.refresher(nil)
	g := grant()
	g.CertSHA256 = base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))
	text, _ := k.start(r, g)
	for _, shown := range []string{"", base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{2}, 32))} {
		if _, _, err := r.Rotate(k.Context(), text, token.Client{ID: client, CertSHA256: shown}); !errors.Is(err, token.ErrOtherClient) {
			k.Errorf("certificate %q: got %v", shown, err)
		}
	}
	if _, _, err := r.Rotate(k.Context(), text, token.Client{ID: client, CertSHA256: g.CertSHA256}); err != nil {
		k.Error(err)
	}
}

func idles(k *kit) {
	r := k.refresher(func(o *token.RefreshOptions) { o.Idle = time.Hour })
	text, _ := k.start(r, grant())
	k.clock.Add(time.Hour - time.Millisecond)
	text = k.rotate(r, text)
	k.clock.Add(time.Hour)
	k.refuse(r, text, token.ErrExpired)
	k.clock.Add(24 * time.Hour) // the store has forgotten it
	k.refuse(r, text, token.ErrInvalid)
}

func absolute(k *kit) {
	r := k.refresher(func(o *token.RefreshOptions) { o.Idle, o.Absolute = time.Hour, 3*time.Hour })
	text, g := k.start(r, grant())
	for range 3 {
		k.clock.Add(time.Hour - time.Millisecond)
		text = k.rotate(r, text)
	}
	k.clock.Add(3 * time.Millisecond)
	if !k.clock.Now().Equal(g.End) {
		k.Fatalf("it is %v, want %v", k.clock.Now(), g.End)
	}
	k.refuse(r, text, token.ErrExpired)
	sooner := grant()
	sooner.End = k.clock.Now().Add(time.Minute)
	if _, g := k.start(r, sooner); !g.End.Equal(sooner.End) {
		k.Errorf("it ends at %v, want the %v that was asked for", g.End, sooner.End)
	}
	sooner.End = k.clock.Now().Add(24 * time.Hour)
	if _, g := k.start(r, sooner); !g.End.Equal(k.clock.Now().Add(3 * time.Hour)) {
		k.Errorf("it ends at %v, later than allowed", g.End)
	}
}

func clockJumps(k *kit) {
	r := k.refresher(func(o *token.RefreshOptions) { withGrace(5)(o); o.Idle, o.Absolute = 2*time.Hour, 24*time.Hour })
	text, g := k.start(r, grant())
	text = k.rotate(r, text)
	k.clock.Add(-time.Hour)
	old := text
	text = k.rotate(r, text)
	k.clock.Add(time.Hour)
	text = k.rotate(r, text)
	k.clock.Add(time.Hour)
	k.clock.Add(-time.Hour)
	text = k.rotate(r, text)
	k.refuse(r, old, token.ErrReused)
	k.refuse(r, text, token.ErrRevoked)
	k.clock.Add(-time.Hour)
	k.refuse(r, text, token.ErrRevoked)
	k.clock.Add(2 * time.Hour)
	k.refuse(r, text, token.ErrRevoked)
	if !g.End.Equal(g.Started.Add(24 * time.Hour)) {
		k.Errorf("the family ends at %v", g.End)
	}

	used, _ := k.start(r, grant())
	k.rotate(r, used)
	k.clock.Add(-time.Hour) // its first use seems to be an hour to come
	k.refuse(r, used, token.ErrReused)
}

func checkRefuses(k *kit) {
	var verdict error
	r := k.refresher(func(o *token.RefreshOptions) {
		withGrace(1)(o)
		o.Check = func(_ context.Context, g *token.Grant) error {
			if g.Subject != subject || g.ClientID != client || !slices.Equal(g.Scopes, grant().Scopes) {
				return fmt.Errorf("got the grant %+v", g)
			}
			return verdict
		}
	})
	text, _ := k.start(r, grant())
	verdict = fmt.Errorf("disabled: %w", token.ErrRevoked)
	k.refuse(r, text, token.ErrRevoked)
	verdict = errDown
	k.refuse(r, text, errDown)
	verdict = nil
	lost := k.rotate(r, text) // what was refused was not used up
	verdict = fmt.Errorf("disabled: %w", token.ErrRevoked)
	k.refuse(r, text, token.ErrRevoked) // nor does grace go around it
	verdict = nil
	if again := k.rotate(r, text); again != lost {
		k.Error("a refusal cost the grace")
	}
}

func checkNarrows(k *kit) {
	narrowed := false
	r := k.refresher(func(o *token.RefreshOptions) {
		o.Check = func(_ context.Context, g *token.Grant) error {
			if !narrowed {
				g.Scopes, g.Audiences, g.Data = g.Scopes[:1], g.Audiences[1:], []byte("tablet")
				narrowed = true
			}
			return nil
		}
	})
	text, _ := k.start(r, grant())
	for range 2 {
		next, g, err := r.Rotate(k.Context(), text, by)
		if err != nil || !slices.Equal(g.Scopes, []string{"orders.read"}) || !slices.Equal(g.Audiences, []string{"invoices"}) || string(g.Data) != "tablet" {
			k.Fatalf("got %+v and %v", g, err)
		}
		text = next
	}
}

func checkCannotWiden(k *kit) {
	for name, change := range map[string]func(*token.Grant){
		"scope":       func(g *token.Grant) { g.Scopes = append(g.Scopes, "admin") },
		"other scope": func(g *token.Grant) { g.Scopes = []string{"admin"} },
		"in place":    func(g *token.Grant) { g.Scopes[0] = "admin" },
		"audience":    func(g *token.Grant) { g.Audiences = []string{"bank"} },
		"no audience": func(g *token.Grant) { g.Audiences = nil },
		"user":        func(g *token.Grant) { g.Subject = "root" },
		"client":      func(g *token.Grant) { g.ClientID = "other" },
		"certificate": func(g *token.Grant) { g.CertSHA256 = "other" },
		"family":      func(g *token.Grant) { g.Family = "other" },
		"end":         func(g *token.Grant) { g.End = g.End.Add(1) },
		"login":       func(g *token.Grant) { g.AuthTime = k.clock.Now() },
		"acr":         func(g *token.Grant) { g.ACR = "mfa" },
		"data":        func(g *token.Grant) { g.Data = make([]byte, 64<<10) },
	} {
		widen := true
		r := k.refresher(func(o *token.RefreshOptions) {
			o.Check = func(_ context.Context, g *token.Grant) error {
				if widen {
					change(g)
				}
				return nil
			}
		})
		text, _ := k.start(r, grant())
		next, g, err := r.Rotate(k.Context(), text, by)
		if next != "" || g != nil || err == nil {
			k.Errorf("%s: got the grant %+v and %v", name, g, err)
		}
		widen = false
		k.rotate(r, text)
	}
}

func noSecrets(k *kit) {
	r := k.refresher(withGrace(1))
	text, _ := k.start(r, grant())
	texts := []string{text}
	for range 3 {
		text = k.rotate(r, text)
		texts = append(texts, text)
	}
	k.rotate(r, texts[2])
	if err := r.Revoke(k.Context(), text); err != nil {
		k.Fatal(err)
	}
	for _, rec := range k.faults.puts() {
		all := append([]byte(rec.Key+rec.Owner), rec.Value...)
		for _, text := range texts {
			raw, err := base64.RawURLEncoding.DecodeString(secrets(text))
			if err != nil {
				k.Fatal(err)
			}
			for _, secret := range [][]byte{raw[:16], raw[16:]} {
				for _, form := range []string{
					string(secret), base64.RawURLEncoding.EncodeToString(secret), base64.RawStdEncoding.EncodeToString(secret), hex.EncodeToString(secret), secrets(text)[:20], secrets(text)[24:44],
				} {
					if bytes.Contains(all, []byte(form)) {
						k.Errorf("the store was given a secret: %s", rec.Key)
					}
				}
			}
		}
	}
}

func swapped(k *kit) {
	r := k.refresher(nil)
	text, _ := k.start(r, grant())
	mallory := grant()
	mallory.Subject = "mallory"
	_, other := k.start(r, mallory)
	k.faults.answer(func(store.Record) (store.Record, error) {
		return k.faults.Store.Get(k.Context(), "refresh/"+other.Family)
	})
	k.refuse(r, text, store.ErrSwapped)
	_, err := k.denylist(0).Revoked(k.Context(), issuer, subject, "id", k.clock.Now())
	if err != nil {
		k.Errorf("what is not there cannot be swapped: %v", err)
	}
	if err := k.denylist(0).RevokeToken(k.Context(), "id", time.Time{}); err != nil {
		k.Fatal(err)
	}
	if revoked, err := k.denylist(0).Revoked(k.Context(), issuer, subject, "id", k.clock.Now()); revoked || !errors.Is(err, store.ErrSwapped) {
		k.Errorf("got %t and %v, want ErrSwapped", revoked, err)
	}
	k.faults.answer(nil)
	k.rotate(r, text)
}

func damaged(k *kit) {
	r := k.refresher(nil)
	text, g := k.start(r, grant())
	for name, damage := range map[string]func(string) string{
		"cut":             func(s string) string { return s[:len(s)/2] },
		"empty":           func(string) string { return "" },
		"null":            func(string) string { return "null" },
		"array":           func(string) string { return "[]" },
		"empty object":    func(string) string { return "{}" },
		"behind":          func(s string) string { return s + "{}" },
		"other version":   func(s string) string { return strings.Replace(s, `"v":1`, `"v":2`, 1) },
		"wrong type":      func(s string) string { return strings.Replace(s, `"v":1`, `"v":"1"`, 1) },
		"other family":    func(s string) string { return strings.Replace(s, g.Family, strings.Repeat("A", 22), 1) },
		"other user":      func(s string) string { return strings.Replace(s, subject, "mallory", 1) },
		"unknown member":  func(s string) string { return strings.Replace(s, `"v":1`, `"v":1,"w":1`, 1) },
		"twice":           func(s string) string { return strings.Replace(s, `"v":1`, `"v":1,"v":1`, 1) },
		"short hash":      func(s string) string { return replaceMember(s, "current", `"AAAA"`) },
		"no proof":        func(s string) string { return replaceMember(s, "proof", `""`) },
		"hash of nothing": func(s string) string { return replaceMember(s, "current", `null`) },
	} {
		k.faults.answer(func(rec store.Record) (store.Record, error) {
			rec.Value = []byte(damage(string(rec.Value)))
			return rec, nil
		})
		next, grant, err := r.Rotate(k.Context(), text, by)
		if next != "" || grant != nil {
			k.Errorf("%s: got a token", name)
		}
		k.undecided(err)
		if err != nil && strings.Contains(err.Error(), g.Family) {
			k.Errorf("%s: %v shows the record", name, err)
		}
		k.undecided(r.Revoke(k.Context(), text))
		k.undecided(r.RevokeFamily(k.Context(), g.Family))
	}
	k.faults.answer(nil)
	k.rotate(r, text)
}

// replaceMember gives a member of a record another value.
func replaceMember(record, name, value string) string {
	before, after, _ := strings.Cut(record, `"`+name+`":`)
	_, after, _ = strings.Cut(after, ",")
	return before + `"` + name + `":` + value + "," + after
}

func cancelled(k *kit) {
	r := k.refresher(nil)
	text, g := k.start(r, grant())
	ctx, cancel := context.WithCancel(k.Context())
	cancel()
	next, _, err := r.Rotate(ctx, text, by)
	if next != "" {
		k.Error("got a token")
	}
	k.undecided(err)
	k.undecided(r.RevokeFamily(ctx, g.Family))
	k.rotate(r, text)
}

func hangsUp(k *kit) {
	r := k.refresher(nil)
	old, _ := k.start(r, grant())
	current := k.rotate(r, old)
	ctx, cancel := context.WithCancel(k.Context())
	k.faults.beforePut(func(context.Context, store.Record) { cancel() })
	if _, _, err := r.Rotate(ctx, old, by); !errors.Is(err, token.ErrReused) {
		k.Errorf("got %v", err)
	}
	k.refuse(r, current, token.ErrRevoked)
}

func first(text string, _ *token.Grant) string { return text }
