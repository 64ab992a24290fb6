// SPDX-License-Identifier: Apache-2.0

package password_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/grpcauth/grpcauth/password"
)

// cheap hashes cost next to nothing, so that tests can make many.
var cheap = password.Options{Memory: 64, Time: 1, Cost: password.MinCost}

func newHasher(tb testing.TB, opts password.Options) *password.Hasher {
	tb.Helper()
	h, err := password.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// phc writes an argon2id hash of a password as any other program would.
func phc(pass, salt string, memory, passes uint32, lanes uint8, length uint32) string {
	encode := base64.RawStdEncoding.EncodeToString
	hash := argon2.IDKey([]byte(pass), []byte(salt), passes, memory, lanes, length)
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, passes, lanes, encode([]byte(salt)), encode(hash))
}

func bcryptOf(tb testing.TB, pass string) string {
	tb.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(pass), bcrypt.MinCost)
	if err != nil {
		tb.Fatal(err)
	}
	return string(hash)
}

func TestRightPasswordVerifiesAndNoOther(t *testing.T) {
	t.Parallel()
	for name, algorithm := range map[string]password.Algorithm{"argon2id": password.Argon2id, "bcrypt": password.Bcrypt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := cheap
			opts.Algorithm = algorithm
			h := newHasher(t, opts)
			for _, pass := range []string{"", " ", "pass word", "pässwörd", strings.Repeat("x", 72)} {
				hash, err := h.Hash(t.Context(), pass)
				if err != nil {
					t.Fatal(err)
				}
				if err := h.Verify(t.Context(), hash, pass); err != nil {
					t.Errorf("%q: got %v", pass, err)
				}
				for _, other := range []string{pass[:len(pass)/2] + "!" + pass[len(pass)/2:], strings.ToUpper(pass) + "X"} {
					if err := h.Verify(t.Context(), hash, other); !errors.Is(err, password.ErrMismatch) && len(other) <= 72 {
						t.Errorf("%q instead of %q: got %v, want %v", other, pass, err, password.ErrMismatch)
					}
				}
			}
		})
	}
}

func TestHashesOfOnePasswordDiffer(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	one, errOne := h.Hash(t.Context(), "secret")
	two, errTwo := h.Hash(t.Context(), "secret")
	if err := errors.Join(errOne, errTwo); err != nil || one == two {
		t.Errorf("got %v and two hashes, equal: %t", err, one == two)
	}
}

func TestHashesOfOtherProgramsVerify(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	ofBcrypt := bcryptOf(t, "secret")
	for name, hash := range map[string]string{
		"argon2id":                   phc("secret", "0123456789abcdef", 64, 1, 1, 32),
		"argon2id with lanes":        phc("secret", "0123456789abcdef", 256, 3, 4, 32),
		"argon2id, shortest":         phc("secret", "01234567", 8, 1, 1, 16),
		"argon2id, longest":          phc("secret", strings.Repeat("s", 64), 64, 1, 1, 64),
		"bcrypt":                     ofBcrypt,
		"bcrypt of OpenBSD":          "$2b$" + ofBcrypt[4:],
		"bcrypt of PHP":              "$2y$" + ofBcrypt[4:],
		"argon2id with more than us": phc("secret", "0123456789abcdef", 4096, 1, 1, 32),
	} {
		if err := h.Verify(t.Context(), hash, "secret"); err != nil {
			t.Errorf("%s: got %v", name, err)
		}
		if err := h.Verify(t.Context(), hash, "Secret"); !errors.Is(err, password.ErrMismatch) {
			t.Errorf("%s, wrong password: got %v, want %v", name, err, password.ErrMismatch)
		}
	}
}

// corrupt are texts that no password matches, least of all the text itself.
func corrupt(tb testing.TB) map[string]string {
	tb.Helper()
	good := phc("secret", "0123456789abcdef", 64, 1, 1, 32)
	parts := strings.Split(good, "$")
	salt, hash := parts[4], parts[5]
	with := func(costs, salt, hash string) string { return "$argon2id$v=19$" + costs + "$" + salt + "$" + hash }
	const costs = "m=64,t=1,p=1"
	ofBcrypt := bcryptOf(tb, "secret")
	return map[string]string{
		"empty": "", "null": "null", "a star": "*", "an exclamation mark": "!", "the password itself": "secret",
		"MD5 crypt": "$1$salt$qJH7.N4xYta3aEG/dfqo/0", "SHA-512 crypt": "$6$salt$" + strings.Repeat("a", 86),
		"argon2i": strings.Replace(good, "argon2id", "argon2i", 1), "argon2d": strings.Replace(good, "argon2id", "argon2d", 1),
		"old version": strings.Replace(good, "v=19", "v=16", 1), "no version": strings.Replace(good, "$v=19", "", 1),
		"no passes": with("m=64,t=0,p=1", salt, hash), "no lanes": with("m=64,t=1,p=0", salt, hash), "no memory": with("m=0,t=1,p=1", salt, hash),
		"less than 8 KiB for each lane": with("m=31,t=1,p=4", salt, hash),
		"4 GiB":                         with("m=4194304,t=1,p=1", salt, hash),
		"just above the memory":         with(fmt.Sprintf("m=%d,t=1,p=1", password.MaxMemory+1), salt, hash),
		"just above the passes":         with(fmt.Sprintf("m=64,t=%d,p=1", password.MaxTime+1), salt, hash),
		"just above the lanes":          with(fmt.Sprintf("m=1024,t=1,p=%d", password.MaxParallelism+1), salt, hash),
		"memory beyond 32 bits":         with("m=4294967360,t=1,p=1", salt, hash),
		"lanes beyond 8 bits":           with("m=64,t=1,p=257", salt, hash),
		"negative":                      with("m=-64,t=1,p=1", salt, hash), "a plus sign": with("m=+64,t=1,p=1", salt, hash),
		"a leading zero": with("m=064,t=1,p=1", salt, hash), "another order": with("t=1,m=64,p=1", salt, hash),
		"an unknown parameter": with(costs+",x=1", salt, hash), "no parameter": with("", salt, hash),
		"padded": with(costs, salt+"==", hash), "not canonical": with(costs, salt[:len(salt)-1]+"h", hash),
		"a line break": with(costs, salt, hash[:20]+"\n"+hash[20:]), "more text": good + "$",
		"short salt": phc("secret", "0123456", 64, 1, 1, 32), "no salt": with(costs, "", hash), "no hash": with(costs, salt, ""),
		"short hash": phc("secret", "0123456789abcdef", 64, 1, 1, 15), "long hash": phc("secret", "0123456789abcdef", 64, 1, 1, 65),
		"a salt of a mebibyte":  with(costs, strings.Repeat("A", 1<<20), hash),
		"bcrypt cut off":        ofBcrypt[:59],
		"bcrypt and more":       ofBcrypt + "a",
		"bcrypt cost 31":        "$2a$31$" + ofBcrypt[7:],
		"bcrypt cost above max": fmt.Sprintf("$2a$%d$%s", password.MaxCost+1, ofBcrypt[7:]),
		"bcrypt cost 3":         "$2a$03$" + ofBcrypt[7:],
		"bcrypt of 2011":        "$2x$" + ofBcrypt[4:], "bcrypt prefix alone": "$2a$",
		"bcrypt with letters for a cost": "$2a$ab$" + ofBcrypt[7:], "bcrypt with a plus sign": "$2a$+4$" + ofBcrypt[7:],
		"bcrypt with a space": "$2a$ 4$" + ofBcrypt[7:], "bcrypt with one digit": "$2a$4$" + ofBcrypt[7:] + "a",
		"bcrypt with another separator":   ofBcrypt[:6] + "." + ofBcrypt[7:],
		"bcrypt salt in another alphabet": ofBcrypt[:10] + "+" + ofBcrypt[11:], "bcrypt digest in another alphabet": ofBcrypt[:40] + "+" + ofBcrypt[41:],
		"bcrypt salt not canonical": ofBcrypt[:28] + "/" + ofBcrypt[29:], "bcrypt digest not canonical": ofBcrypt[:59] + "/",
		"bcrypt with line breaks": ofBcrypt[:10] + "\n\n" + ofBcrypt[12:],
	}
}

func TestCorruptHashMatchesNothing(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	for name, hash := range corrupt(t) {
		before := h.Computations()
		for _, pass := range []string{"secret", "", hash} {
			if err := h.Verify(t.Context(), hash, pass); !errors.Is(err, password.ErrCorrupt) {
				t.Errorf("%s: got %v, want %v", name, err, password.ErrCorrupt)
			}
		}
		if h.Computations() != before {
			t.Errorf("%s was computed", name)
		}
	}
}

func TestHashBeyondTheBoundsCostsNoMemory(t *testing.T) { //nolint:paralleltest // it measures what the process allocates
	h := newHasher(t, cheap)
	hashes := corrupt(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, hash := range hashes {
		_ = h.Verify(t.Context(), hash, "secret")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 256<<10 {
		t.Errorf("%d corrupt hashes allocated %d bytes", len(hashes), got)
	}
}

func TestBcryptRefusesWhatItWouldCutOff(t *testing.T) {
	t.Parallel()
	opts := cheap
	opts.Algorithm = password.Bcrypt
	h := newHasher(t, opts)
	ofAB, long := bcryptOf(t, "ab"), bcryptOf(t, strings.Repeat("x", 72))
	for name, test := range map[string]struct{ hash, pass string }{
		"73 bytes":             {long, strings.Repeat("x", 73)},
		"NUL in the middle":    {ofAB, "ab\x00ab"},
		"NUL at the end":       {ofAB, "ab\x00"},
		"NUL at the beginning": {ofAB, "\x00ab"},
	} {
		if _, err := h.Hash(t.Context(), test.pass); !errors.Is(err, password.ErrUnusable) {
			t.Errorf("Hash, %s: got %v, want %v", name, err, password.ErrUnusable)
		}
		if err := h.Verify(t.Context(), test.hash, test.pass); !errors.Is(err, password.ErrUnusable) {
			t.Errorf("Verify, %s: got %v, want %v", name, err, password.ErrUnusable)
		}
	}
}

func TestLongPasswordIsRefusedBeforeItIsHashed(t *testing.T) {
	t.Parallel()
	for limit, opts := range map[int]password.Options{1024: cheap, 8: {Memory: 64, Time: 1, MaxPasswordBytes: 8}} {
		h := newHasher(t, opts)
		hash, err := h.Hash(t.Context(), strings.Repeat("x", limit))
		if err != nil {
			t.Fatal(err)
		}
		before := h.Computations()
		_, err = h.Hash(t.Context(), strings.Repeat("x", limit+1))
		if verr := h.Verify(t.Context(), hash, strings.Repeat("x", limit+1)); !errors.Is(err, password.ErrUnusable) || !errors.Is(verr, password.ErrUnusable) {
			t.Errorf("limit %d: got %v and %v, want %v", limit, err, verr, password.ErrUnusable)
		}
		if h.Computations() != before {
			t.Errorf("limit %d: it was hashed", limit)
		}
	}
}

func TestNeedsRehashOfWhatIsWeakerThanANewHash(t *testing.T) {
	t.Parallel()
	argon := newHasher(t, password.Options{Memory: 64, Time: 2, Cost: 5})
	crypt := newHasher(t, password.Options{Algorithm: password.Bcrypt, Memory: 64, Time: 2, Cost: 5})
	const salt = "0123456789abcdef"
	four := bcryptOf(t, "x")
	for _, test := range []struct {
		name          string
		hash          string
		argon, bcrypt bool
	}{
		{"as strong", phc("x", salt, 64, 2, 1, 32), false, true},
		{"stronger", phc("x", salt, 128, 3, 2, 64), false, true},
		{"less memory", phc("x", salt, 63, 2, 1, 32), true, true},
		{"fewer passes", phc("x", salt, 64, 1, 1, 32), true, true},
		{"fewer passes, as much work", phc("x", salt, 128, 1, 1, 32), true, true},
		{"fewer passes, more work", phc("x", salt, 129, 1, 1, 32), false, true},
		{"less memory, as much work", phc("x", salt, 32, 4, 1, 32), true, true},
		{"less memory, more work", phc("x", salt, 32, 5, 1, 32), false, true},
		{"short salt", phc("x", salt[:15], 64, 2, 1, 32), true, true},
		{"short salt, more work", phc("x", salt[:15], 65, 2, 1, 32), false, true},
		{"short hash", phc("x", salt, 64, 2, 1, 31), true, true},
		{"bcrypt", "$2a$05$" + four[7:], true, false},
		{"weak bcrypt", four, true, true},
		{"strong bcrypt", "$2a$15$" + four[7:], true, false},
		{"bcrypt out of bounds", "$2a$16$" + four[7:], true, true},
		{"corrupt", "*", true, true},
	} {
		if a, b := argon.NeedsRehash(test.hash), crypt.NeedsRehash(test.hash); a != test.argon || b != test.bcrypt {
			t.Errorf("%s: got %t for argon2id and %t for bcrypt, want %t and %t", test.name, a, b, test.argon, test.bcrypt)
		}
	}
	for _, h := range []*password.Hasher{argon, crypt} {
		if hash, err := h.Hash(t.Context(), "x"); err != nil || h.NeedsRehash(hash) || h.NeedsRehash(h.Dummy()) {
			t.Errorf("a new hash needs a new hash, or %v", err)
		}
	}
}

func TestDummyCostsWhatAWrongPasswordCosts(t *testing.T) {
	t.Parallel()
	for name, algorithm := range map[string]password.Algorithm{"argon2id": password.Argon2id, "bcrypt": password.Bcrypt} {
		opts := cheap
		opts.Algorithm = algorithm
		h := newHasher(t, opts)
		hash, err := h.Hash(t.Context(), "secret")
		if err != nil {
			t.Fatal(err)
		}
		costs := func(hash string) string { return hash[:strings.LastIndexByte(hash[:len(hash)-50], '$')] }
		if got, want := costs(h.Dummy()), costs(hash); got != want {
			t.Errorf("%s: the dummy says %s, want %s", name, got, want)
		}
		for range 3 {
			before := h.Computations()
			if err := h.Verify(t.Context(), h.Dummy(), ""); !errors.Is(err, password.ErrMismatch) || h.Computations() != before+1 {
				t.Errorf("%s: got %v and %d computations, want %v and one", name, err, h.Computations()-before, password.ErrMismatch)
			}
		}
	}
}

func TestNewNamesTheOptionThatIsWrong(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string]password.Options{
		"Algorithm":        {Algorithm: password.Bcrypt + 1},
		"Memory":           {Memory: 7},
		"Memory, Time":     {Memory: password.MaxMemory + 1},
		"Time":             {Time: password.MaxTime + 1},
		"Parallelism":      {Parallelism: password.MaxParallelism + 1},
		"Cost":             {Cost: password.MinCost - 1},
		"Cost is 16":       {Cost: password.MaxCost + 1},
		"MaxMemory":        {Memory: 128, MaxMemory: 127},
		"MaxWait":          {MaxWait: -1},
		"MaxPasswordBytes": {MaxPasswordBytes: -1},
	} {
		if h, err := password.New(opts); err == nil || h != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want an error about %s", opts, err, want)
		}
	}
	if h, err := password.New(password.Options{}); err != nil || !strings.HasPrefix(h.Dummy(), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("the defaults: got %v", err)
	}
}

func TestPrintingAHasherShowsNothing(t *testing.T) {
	t.Parallel()
	h := newHasher(t, cheap)
	_, hash, _ := strings.Cut(h.Dummy(), "p=1$")
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s %d %x", h, h, h, h, h, h)
	_ = json.NewEncoder(&out).Encode(map[string]any{"hasher": h})
	_ = gob.NewEncoder(&out).Encode(h)
	if strings.Contains(out.String(), hash) || !strings.Contains(out.String(), "password.Hasher") {
		t.Errorf("got %s", &out)
	}
	for _, err := range []error{h.Verify(t.Context(), "canary", "canary"), h.Verify(t.Context(), h.Dummy(), "canary")} {
		if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), hash) {
			t.Errorf("got %v", err)
		}
	}
}

var bcryptShape = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$`)

// FuzzVerify gives hashes that nobody made: none costs more than the bounds, and none is equal to a password.
func FuzzVerify(f *testing.F) {
	good := phc("secret", "0123456789abcdef", 64, 1, 1, 32)
	f.Add(good, "secret")
	f.Add(phc("x", "01234567", 8, 1, 1, 16), "x")
	f.Add(bcryptOf(f, "secret"), "secret")
	for _, hash := range corrupt(f) {
		if len(hash) < 1<<10 {
			f.Add(hash, hash)
		}
	}
	h := newHasher(f, password.Options{Memory: 64, Time: 1, MaxMemory: 64, Cost: password.MinCost})
	f.Fuzz(func(t *testing.T, hash, pass string) {
		if costly(hash) {
			return // within the bounds, but too slow to fuzz
		}
		err := h.Verify(t.Context(), hash, pass)
		switch {
		case errors.Is(err, password.ErrMismatch), errors.Is(err, password.ErrCorrupt), errors.Is(err, password.ErrUnusable):
		case err != nil:
			t.Fatalf("got %v", err)
		case strings.HasPrefix(hash, "$2"):
			if bcrypt.CompareHashAndPassword([]byte(hash), []byte(pass)) != nil || !bcryptShape.MatchString(hash) {
				t.Fatal("accepted what bcrypt refuses, or what no program writes")
			}
		default:
			var memory, passes uint32
			var lanes uint8
			var salt, sum string
			if _, err := fmt.Sscanf(strings.ReplaceAll(hash, "$", " "), " argon2id v=19 m=%d,t=%d,p=%d %s %s", &memory, &passes, &lanes, &salt, &sum); err != nil {
				t.Fatal(err)
			}
			raw, err := base64.RawStdEncoding.DecodeString(salt)
			want, errSum := base64.RawStdEncoding.DecodeString(sum)
			if err != nil || errSum != nil || phc(pass, string(raw), memory, passes, lanes, uint32(len(want))) != hash {
				t.Fatal("accepted what argon2id refuses")
			}
		}
	})
}

// costly reports whether a hash may take long to compute.
func costly(hash string) bool {
	if strings.HasPrefix(hash, "$2") {
		cost, err := bcrypt.Cost([]byte(hash))
		return err == nil && cost > password.MinCost
	}
	var memory, passes, lanes int
	_, err := fmt.Sscanf(hash, "$argon2id$v=19$m=%d,t=%d,p=%d$", &memory, &passes, &lanes)
	return err == nil && memory*passes > 1<<10 && memory <= password.MaxMemory
}
