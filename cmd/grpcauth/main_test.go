// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/grpcauthtest"
	"github.com/grpcauth/grpcauth/jwks"
	"github.com/grpcauth/grpcauth/password"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/token"
)

// image is a descriptor set with rules.
const image = "../../protopolicy/testdata/rules.binpb"

type result struct {
	code           int
	stdout, stderr string
}

func call(stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := run(args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

func (r result) want(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.stdout, stdout) || !strings.Contains(r.stderr, stderr) {
		t.Errorf("got %d\nstdout: %s\nstderr: %s\nwant %d with %q and %q", r.code, r.stdout, r.stderr, code, stdout, stderr)
	}
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestWrongCommandLinesAreTold(t *testing.T) {
	t.Parallel()
	call("").want(t, 2, "", "Usage: grpcauth COMMAND")
	call("", "help").want(t, 0, "new-api-key", "")
	call("", "nope").want(t, 2, "", `there is no command "nope"`)
	call("", "version").want(t, 0, "grpcauth ", "")
	for name := range commands {
		call("", name, "-h").want(t, 0, "", "Usage: grpcauth "+name)
		call("", name, "-nope").want(t, 2, "", "flag provided but not defined: -nope")
		call("", name, "a", "b").want(t, 2, "", `unexpected argument "b"`)
	}
	call("", "hash-password", "/does/not/exist").want(t, 2, "", "/does/not/exist")
	call("", "hash-password", "-algorithm", "md5").want(t, 2, "", "write argon2id or bcrypt")
	call("\n", "hash-password").want(t, 2, "", "the password is empty")
	call(strings.Repeat("x", 1<<20+1), "hash-password").want(t, 2, "", "more than")
	call("", "new-key", "-algorithm", "none").want(t, 2, "", "write EdDSA")
	call("", "new-key", "-format", "der").want(t, 2, "", "write jwk or pem")
	call("", "new-key", "file").want(t, 2, "", "unexpected argument")
	call("", "new-api-key", "-prefix", "orders_live").want(t, 2, "", "-owner is missing")
	call("", "new-api-key", "-prefix", "Orders!", "-owner", "ci").want(t, 2, "", "Prefix")
	call("", "inspect", "-issuer", "https://idp.example.com").want(t, 2, "", "-issuer needs -audience")
	call("", "inspect", "-audience", "orders").want(t, 2, "", "-audience needs -issuer")
	call("", "inspect").want(t, 2, "", "3")
	call("a.b.c", "inspect").want(t, 2, "", "header")
	call("e30.W10.x", "inspect").want(t, 2, "", "claims")
	call("not a set", "policy").want(t, 2, "", "no descriptor set")
	call("", "policy").want(t, 2, "", "no descriptor set")
	call("", "policy", "-format", "xml", image).want(t, 2, "", "write table, markdown or json")
	call("", "policy", "-services", "no.Such", image).want(t, 2, "", "no.Such")
	call("", "policy", "-backends", "staff", image).want(t, 2, "", "rules.proto:")
	call("", "policy", "-overlay", write(t, "o.json", []byte(`{"/a.B/C":{"acces":"public"}}`)), image).want(t, 2, "", "acces")
	call("", "policy", "-overlay", write(t, "o.json", []byte(`{"/a.B/C":{"access":"open"}}`)), image).want(t, 2, "", "write required")
	call("", "policy", "-overlay", write(t, "o.json", []byte(`{} {}`)), image).want(t, 2, "", "behind the object")
}

func TestHashedPasswordIsTheOneThatWasTyped(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"argon2id", "bcrypt"} {
		r := call("open sesame\r\n", "hash-password", "-algorithm", algorithm)
		r.want(t, 0, map[string]string{"argon2id": "$argon2id$", "bcrypt": "$2"}[algorithm], "")
		h, err := password.New(password.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Verify(t.Context(), strings.TrimSpace(r.stdout), "open sesame"); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
}

func TestNewKeySignsWhatItsPublicSetVerifies(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"EdDSA", "ES256", "ES384", "ES512", "RS256", "PS384"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "key.pem")
			r := call("", "new-key", "-algorithm", algorithm, "-format", "pem", "-out", file)
			r.want(t, 0, `"keys"`, "")
			if strings.Contains(r.stdout, `"d"`) {
				t.Error("the private key is on the standard output")
			}
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("got %v, %v", info, err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(text)
			private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			set, err := jwks.Parse([]byte(r.stdout))
			if err != nil {
				t.Fatal(err)
			}
			kid := set.All()[0].ID
			if kid != set.All()[0].Thumbprint() {
				t.Errorf("the key's ID is %q, not its thumbprint", kid)
			}
			ring, err := token.NewRing(token.RingOptions{Keys: []token.SigningKey{{ID: kid, Algorithm: algorithm, Key: private.(crypto.Signer)}}})
			if err != nil {
				t.Fatal(err)
			}
			issuer, err := token.New(token.Options{Issuer: "https://auth.example.com", Audiences: []string{"orders"}, Ring: ring})
			if err != nil {
				t.Fatal(err)
			}
			signed, _, err := issuer.Sign(t.Context(), token.Claims{Subject: "alice", ClientID: "app"})
			if err != nil {
				t.Fatal(err)
			}
			verifier, err := jwt.NewVerifier(jwt.Options{Issuers: []jwt.Issuer{{URL: "https://auth.example.com", Audiences: []string{"orders"}, Algorithms: []string{algorithm}, Keys: set}}})
			if err != nil {
				t.Fatal(err)
			}
			if user, err := verifier.Verify(t.Context(), signed); err != nil || user.ID != "alice" {
				t.Errorf("got %v, %v", user, err)
			}
			call("", "new-key", "-out", file).want(t, 2, "", "the file is there already")
		})
	}
}

func TestNewKeyIsAPairOfJWKs(t *testing.T) {
	t.Parallel()
	r := call("", "new-key", "-kid", "2026-01")
	r.want(t, 0, `"kid": "2026-01"`, "")
	decoder := json.NewDecoder(strings.NewReader(r.stdout))
	var private map[string]string
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := decoder.Decode(&private); err != nil {
		t.Fatal(err)
	}
	if err := decoder.Decode(&set); err != nil {
		t.Fatal(err)
	}
	seed, err := base64.RawURLEncoding.DecodeString(private["d"])
	if err != nil || len(seed) != ed25519.SeedSize {
		t.Fatalf("got %v, %v", private, err)
	}
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	if got := set.Keys[0]; got["x"] != base64.RawURLEncoding.EncodeToString(public) || got["d"] != "" || got["kid"] != "2026-01" || got["alg"] != "EdDSA" || got["use"] != "sig" {
		t.Errorf("got %v", got)
	}
	for algorithm, members := range map[string][]string{"ES256": {"crv", "x", "y", "d"}, "RS256": {"n", "e", "d", "p", "q", "dp", "dq", "qi"}} {
		r := call("", "new-key", "-algorithm", algorithm)
		for _, name := range members {
			if !strings.Contains(r.stdout, `"`+name+`":`) {
				t.Errorf("%s: no %q in %s", algorithm, name, r.stdout)
			}
		}
	}
}

func TestNewAPIKeyIsAcceptedOnceItsRecordIsStored(t *testing.T) {
	t.Parallel()
	r := call("", "new-api-key", "-prefix", "orders_test", "-owner", "ci", "-name", "deploys")
	r.want(t, 0, "orders_test_", "")
	text, document, _ := strings.Cut(r.stdout, "\n")
	var record struct {
		ID    string `json:"id"`
		Key   string `json:"record_key"`
		Owner string `json:"record_owner"`
		Value string `json:"record_value"`
	}
	if err := json.Unmarshal([]byte(document), &record); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(document, strings.Split(text, "_")[3]) {
		t.Error("the record has the secret")
	}
	s, err := memstore.New(memstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), store.Record{Key: record.Key, Owner: record.Owner, Value: []byte(record.Value)}); err != nil {
		t.Fatal(err)
	}
	keys, err := apikey.New(apikey.Options{Store: s, Prefix: "orders_test", FlushEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keys.Close() })
	user, err := keys.Authenticate(t.Context(), grpcauthtest.RequestMD(t.Context(), "/a.B/C", metadata.Pairs("x-api-key", text)))
	if err != nil || user.ID != "ci" {
		t.Errorf("got %v, %v", user, err)
	}
}

func jwtOf(header, claims string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestInspectSaysLoudlyThatNothingIsVerified(t *testing.T) {
	t.Parallel()
	r := call("Bearer "+jwtOf(`{"alg":"RS256"}`, `{"sub":"alice","exp":1767323045,"iat":1767323045.5}`)+"\n", "inspect")
	r.want(t, 0, "exp is 2026-01-02T03:04:05Z", "UNVERIFIED")
	if !strings.HasPrefix(r.stdout, "UNVERIFIED") {
		t.Errorf("got %s", r.stdout)
	}
	call(jwtOf(`{"alg":"RS256"}`, `{"sub":"alice","sub":"bob"}`), "inspect").want(t, 0, "(the claims would be refused", "")
	call(jwtOf(`{}`, `{"a":9007199254740993}`), "inspect").want(t, 0, "9007199254740993", "")
	file := write(t, "token", []byte(jwtOf(`{}`, `{"sub":"carol"}`)))
	call("", "inspect", file).want(t, 0, "carol", "UNVERIFIED")
}

func TestInspectShowsNothingThatATerminalObeys(t *testing.T) {
	t.Parallel()
	r := call(jwtOf(`{"kid":"\u001b[31m\u202e"}`, `{"a\u009b":"\u2028\ud83d\ude00\u00ad"}`), "inspect")
	r.want(t, 0, `\u202e`, "")
	if strings.ContainsFunc(r.stdout, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }) {
		t.Errorf("got %q", r.stdout)
	}
	call(jwtOf(`{}`, "{\"a\x1b\":1}"), "inspect").want(t, 2, "", "the claims is no JSON object")
}

func FuzzInspect(f *testing.F) {
	f.Add(`{"alg":"RS256"}`, `{"sub":"alice","exp":1e10}`)
	f.Add(`{}`, "{\"\x1b\":\"\u202e\"}")
	f.Add(`[]`, `null`)
	f.Add(`{"a":{"b":[1,2,{}]}}`, `{"exp":-1,"iat":1e400}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		r := call(jwtOf(header, claims), "inspect")
		if r.code != 0 && r.code != 2 {
			t.Fatalf("exit code %d", r.code)
		}
		if r.code == 0 && !strings.HasPrefix(r.stdout, unverified+"\n") {
			t.Fatalf("got %q", r.stdout)
		}
		if strings.ContainsFunc(r.stdout+r.stderr, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }) {
			t.Fatalf("got %q, %q", r.stdout, r.stderr)
		}
	})
}

// It changes what all of the program trusts, and so runs alone.
func TestInspectVerifiesWithTheKeysOfTheProvider(t *testing.T) { //nolint:paralleltest // see above
	var provider *httptest.Server
	key := call("", "new-key", "-algorithm", "ES256", "-format", "pem")
	block, rest := pem.Decode([]byte(key.stdout))
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	down := false
	provider = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/keys":
			_, _ = w.Write(rest)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"issuer": provider.URL, "jwks_uri": provider.URL + "/keys"})
		}
	}))
	t.Cleanup(provider.Close)
	trusted = jwks.Options{Client: provider.Client()}
	t.Cleanup(func() { trusted = jwks.Options{} })
	set, err := jwks.Parse(rest)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := token.NewRing(token.RingOptions{Keys: []token.SigningKey{{ID: set.All()[0].ID, Algorithm: "ES256", Key: private.(crypto.Signer)}}})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(audience string, at time.Time) string {
		issuer, err := token.New(token.Options{Issuer: provider.URL, Audiences: []string{audience}, Ring: ring, Now: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		signed, _, err := issuer.Sign(t.Context(), token.Claims{Subject: "alice", ClientID: "app"})
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	good := sign("orders", time.Now())
	inspect := func(text string) result { return call(text, "inspect", "-issuer", provider.URL, "-audience", "orders") }
	inspect(good).want(t, 0, "VERIFIED: alice of "+provider.URL, "")
	if r := inspect(good); strings.Contains(r.stdout, "UNVERIFIED") {
		t.Errorf("got %s", r.stdout)
	}
	inspect(sign("shipping", time.Now())).want(t, 1, "REFUSED: CREDENTIALS_INVALID", "")
	inspect(good[:len(good)-4]+"AAAA").want(t, 1, "REFUSED: CREDENTIALS_INVALID", "")
	inspect("nonsense").want(t, 1, "REFUSED", "")
	call(good, "inspect", "-issuer", provider.URL, "-audience", "orders", "-algorithms", "RS256").want(t, 1, "REFUSED", "")
	call(good, "inspect", "-issuer", "http://idp.example.com", "-audience", "orders").want(t, 2, "", "write https")
	down = true
	inspect(good).want(t, 2, "", "could not be judged")
}

func TestPolicyShowsEveryMethod(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	fromFile, fromInput := call("", "policy", image), call(string(raw), "policy", "-")
	fromFile.want(t, 0, "/rules.v1.OrderService/Import  /rules.v1.OrderService/Import  denied", "")
	fromFile.want(t, 0, "/rules.v1.OrderService/Get     /rules.v1.OrderService/*       required scopes=orders.read", "")
	fromFile.want(t, 0, "/rules.v1.LedgerService/Post   (none)                         required\n", "")
	if fromFile.stdout != fromInput.stdout {
		t.Errorf("a file: %s\nthe standard input: %s", fromFile.stdout, fromInput.stdout)
	}
	call("", "policy", "-format", "markdown", image).want(t, 0, "| METHOD | RULE | ASKS |\n|---|---|---|\n| /rules.v1.LedgerService/Post | (none) | required |\n", "")
	call("", "policy", "-format", "markdown", image).want(t, 0, `backends=staff\|partners`, "")
	var document struct {
		Methods []struct {
			Method, Rule, Access string
			Scopes               []string
		}
	}
	if err := json.Unmarshal([]byte(call("", "policy", "-format", "json", image).stdout), &document); err != nil {
		t.Fatal(err)
	}
	if m := document.Methods[5]; m.Method != "/rules.v1.OrderService/Get" || m.Rule != "/rules.v1.OrderService/*" || m.Access != "required" || len(m.Scopes) != 1 {
		t.Errorf("got %+v", document.Methods)
	}
	if r := call("", "policy", "-services", "rules.v1.LegacyService", image); r.code != 0 || strings.Contains(r.stdout, "OrderService") {
		t.Errorf("got %+v", r)
	}
	call("", "policy", "-backends", "staff,partners", image).want(t, 0, "staff", "")
}

// setOf is a descriptor set of the health service, whose rules somebody else could not have written into its .proto.
func setOf(t *testing.T) string {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(grpc_health_v1.File_grpc_health_v1_health_proto)}}
	raw, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "health.binpb", raw)
}

func TestPolicyTakesAnOverlayForProtosOfOthers(t *testing.T) {
	t.Parallel()
	file := setOf(t)
	call("", "policy", file).want(t, 0, "METHOD", "")
	call("", "policy", "-services", "all", file).want(t, 0, "/grpc.health.v1.Health/Check  (none)  required", "")
	overlay := write(t, "o.json", []byte(`{"/grpc.health.v1.Health/Check": {"access": "public"}, "/grpc.health.v1.Health/*": {"scopes": ["ops"], "max_age": "10m"}}`))
	r := call("", "policy", "-overlay", overlay, file)
	r.want(t, 0, "/grpc.health.v1.Health/Check  /grpc.health.v1.Health/Check  public", "")
	r.want(t, 0, "/grpc.health.v1.Health/Watch  /grpc.health.v1.Health/*      required scopes=ops max_age=10m0s", "")
	call("", "policy", "-overlay", write(t, "o.json", []byte(`{"/grpc.health.v1.Health/Nope": {}}`)), file).want(t, 2, "", "Nope")
}

func TestDiffExitsWithOneIfSomebodyGains(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	change := func(t *testing.T, f func(*descriptorpb.ServiceDescriptorProto)) string {
		t.Helper()
		set := &descriptorpb.FileDescriptorSet{}
		if err := proto.Unmarshal(raw, set); err != nil {
			t.Fatal(err)
		}
		for _, file := range set.GetFile() {
			for _, service := range file.GetService() {
				if service.GetName() == "OrderService" {
					f(service)
				}
			}
		}
		changed, err := proto.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		return write(t, "changed.binpb", changed)
	}
	without := func(name string) func(*descriptorpb.ServiceDescriptorProto) {
		return func(s *descriptorpb.ServiceDescriptorProto) {
			s.Method = slices.DeleteFunc(s.GetMethod(), func(m *descriptorpb.MethodDescriptorProto) bool { return m.GetName() == name })
		}
	}
	unruled := func(name string) func(*descriptorpb.ServiceDescriptorProto) {
		return func(s *descriptorpb.ServiceDescriptorProto) {
			for _, m := range s.GetMethod() {
				if m.GetName() == name {
					m.Options = nil
				}
			}
		}
	}
	call("", "policy", "-diff", image, image).want(t, 0, "METHOD  CHANGE  OLD  NEW\n", "")
	// Import falls back to the rule of its service, which lets in whom its own denied; Watch was public.
	call("", "policy", "-diff", image, change(t, unruled("Import"))).want(t, 1, "/rules.v1.OrderService/Import  gains   denied  required scopes=orders.read", "somebody gains access")
	call("", "policy", "-diff", image, change(t, unruled("Watch"))).want(t, 0, "/rules.v1.OrderService/Watch  loses   public  required scopes=orders.read", "")
	call("", "policy", "-diff", image, change(t, without("Get"))).want(t, 0, "/rules.v1.OrderService/Get  loses   required scopes=orders.read  (no such method)", "")
	call("", "policy", "-diff", change(t, without("Get")), image).want(t, 1, "/rules.v1.OrderService/Get  gains   (no such method)  required scopes=orders.read", "")
	call("", "policy", "-diff", change(t, without("Import")), image).want(t, 0, "/rules.v1.OrderService/Import  same callers", "")
	call("", "policy", "-diff", image, "-format", "json", image).want(t, 0, `"changes": []`, "")
	call("", "policy", "-diff", image, "-format", "json", change(t, unruled("Import"))).want(t, 1, `"gains": true`, "")
	call("", "policy", "-diff", "/does/not/exist", image).want(t, 2, "", "-diff")
}

// The program as it is installed.
func TestBinaryExitsAsItSays(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "grpcauth")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for want, args := range map[int][]string{0: {"policy", image}, 2: {"nope"}, 1: {"policy", "-diff", setOf(t), image}} {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		if _ = cmd.Run(); cmd.ProcessState.ExitCode() != want {
			t.Errorf("%v: exit code %d, want %d", args, cmd.ProcessState.ExitCode(), want)
		}
	}
}
