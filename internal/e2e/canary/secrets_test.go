// SPDX-License-Identifier: Apache-2.0

package canary_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// book lists all secrets that are sent, received or configured. As the server's [stats.Handler] it sees whatever comes and goes, so that none is forgotten.
type book struct {
	s *sinks

	mu      sync.Mutex
	secrets map[string]string   // guarded by mu: the kind of each
	cookies map[string][]string // guarded by mu: the cookies of each kind that were sent, without their values
}

func newBook(s *sinks) *book {
	return &book{s: s, secrets: map[string]string{}, cookies: map[string][]string{}}
}

// mark is a new secret that can be chosen.
func (b *book) mark(what string) string {
	secret := "canary-" + what + "-" + strings.ToLower(rand.Text())
	b.add("the chosen "+what, secret)
	return secret
}

// add notes a secret. Of a long one its two ends are, too, since some programs log "only the beginning".
func (b *book) add(kind string, secrets ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, secret := range secrets {
		if len(secret) < shortest {
			continue
		}
		b.secrets[secret] = kind
		const end = 16
		if len(secret) >= 3*end/2 && !strings.ContainsAny(secret, "._$ ") { // others have a beginning that is no secret
			b.secrets[secret[:end]], b.secrets[secret[len(secret)-end:]] = "the beginning of "+kind, "the end of "+kind
		}
	}
}

func (b *book) all() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.secrets)
}

// credential notes a text that was sent as a credential, and the secrets within it.
func (b *book) credential(kind, value string) {
	_, text, ok := strings.Cut(value, " ")
	if !ok {
		text = value
	}
	if i := strings.LastIndexByte(text, '.'); i >= 0 { // what is before it says what everybody may know
		b.add("the signature or secret of "+kind, text[i+1:])
	}
	if parts := strings.Split(text, "_"); len(parts) > 3 && !strings.Contains(text, ".") { // an API key
		b.add("the secret of "+kind, parts[len(parts)-2])
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if decoded, err := encoding.DecodeString(text); err == nil {
			if _, password, ok := strings.Cut(string(decoded), ":"); ok {
				b.add("the password of "+kind, password)
				b.mu.Lock()
				b.secrets[text] = kind // begins with the name
				b.mu.Unlock()
				return
			}
		}
	}
	b.add(kind, text)
}

// carriers are the metadata keys that tests send secrets in.
var carriers = []string{"authorization", "dpop", "x-api-key", sessionKey, "x-panic", "x-forwarded-for", "x-misplaced"}

func (b *book) sent(md metadata.MD) {
	for _, key := range carriers {
		for _, value := range md[key] {
			b.credential(key, value)
		}
	}
	for _, field := range md["cookie"] {
		for cookie := range strings.SplitSeq(field, ";") {
			_, value, _ := strings.Cut(strings.TrimSpace(cookie), "=")
			b.credential("cookie", value)
		}
	}
}

// received notes the cookies that a caller is given. What is left of a cookie without its own value is looked through like everything else.
func (b *book) received(md metadata.MD) {
	for _, line := range md["set-cookie"] {
		cookie, err := http.ParseSetCookie(line)
		if err != nil {
			b.s.put("headers", line)
			continue
		}
		b.credential("set-cookie", cookie.Value)
		if cookie.Value != "" {
			line = strings.Replace(line, cookie.Value, "", 1)
		}
		b.s.put("headers", line)
	}
}

// message notes all fields that the API says are secrets.
func (b *book) message(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		options, _ := field.Options().(*descriptorpb.FieldOptions)
		switch {
		case options.GetDebugRedact():
			b.credential("the field "+string(field.FullName()), value.String())
		case field.Message() != nil && !field.IsList() && !field.IsMap():
			b.message(value.Message())
		}
		return true
	})
}

// public is a message without the fields that the API says are secrets.
func public(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		options, _ := field.Options().(*descriptorpb.FieldOptions)
		switch {
		case options.GetDebugRedact():
			m.Clear(field)
		case field.Message() != nil && !field.IsList() && !field.IsMap():
			public(value.Message())
		}
		return true
	})
}

func (b *book) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (b *book) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (b *book) HandleConn(context.Context, stats.ConnStats)                       {}

func (b *book) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.InHeader:
		b.sent(s.Header)
	case *stats.OutHeader:
		b.received(s.Header)
		b.s.answer(nil, s.Header)
	case *stats.OutTrailer:
		b.received(s.Trailer)
		b.s.answer(nil, s.Trailer)
	case *stats.InPayload:
		if m, ok := s.Payload.(proto.Message); ok {
			b.message(m.ProtoReflect())
		}
		b.s.message(s.Payload)
	case *stats.OutPayload:
		b.s.message(s.Payload)
		if m, ok := s.Payload.(proto.Message); ok {
			b.message(m.ProtoReflect())
			m = proto.Clone(m)
			public(m.ProtoReflect())
			b.s.put("answers", fmt.Sprint(m), string(must(proto.Marshal(m))(nil)))
		}
	}
}

// key notes a private key, however it may be written.
func (b *book) key(t testing.TB, kind string, key any) {
	t.Helper()
	encoded := must(x509.MarshalPKCS8PrivateKey(key))(t)
	var secret [][]byte
	switch key := key.(type) {
	case ed25519.PrivateKey:
		secret = append(secret, key.Seed())
	case *ecdsa.PrivateKey:
		secret = append(secret, must(key.Bytes())(t))
	case *rsa.PrivateKey:
		secret = append(secret, key.D.Bytes())
		for _, prime := range key.Primes {
			secret = append(secret, prime.Bytes())
			b.add(kind, prime.String())
		}
		b.add(kind, key.D.String())
	default:
		t.Fatalf("a key of type %T", key)
	}
	b.mu.Lock()
	b.secrets[string(encoded)] = kind // its beginning is that of every key
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
	b.secrets[string(block)] = kind
	b.mu.Unlock()
	if key, ok := key.(*ecdsa.PrivateKey); ok {
		b.add(kind, key.D.String()) //nolint:staticcheck // as it is printed
	}
	for _, raw := range secret {
		b.add(kind, string(raw), base64.RawURLEncoding.EncodeToString(raw))
	}
}

// hash notes a password's hash, and what in it is no parameter.
func (b *book) hash(hash string) {
	i := strings.LastIndexByte(hash, '$')
	b.add("a password hash", hash, hash[i+1:])
	b.add("the salt of a password hash", hash[strings.LastIndexByte(hash[:i], '$')+1:i])
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		if t != nil {
			t.Helper()
		}
		if err != nil {
			if t == nil {
				panic(err)
			}
			t.Fatal(err)
		}
		return v
	}
}
