// SPDX-License-Identifier: Apache-2.0

package jwks_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/grpcauth/grpcauth/jwks"
)

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkix(tb testing.TB, public crypto.PublicKey) string {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		tb.Fatal(err)
	}
	return block("PUBLIC KEY", der)
}

func pkcs8(tb testing.TB, private crypto.PrivateKey) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// certificate is one of this key by another, whose dates are nobody's business here.
func certificate(tb testing.TB, public crypto.PublicKey) string {
	tb.Helper()
	day := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: day, NotAfter: day.AddDate(0, 0, 1)}
	der, err := x509.CreateCertificate(nil, template, template, public, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		tb.Fatal(err)
	}
	return block("CERTIFICATE", der)
}

func rsaKey(bits uint) *rsa.PublicKey { return &rsa.PublicKey{N: modulus(bits), E: 65537} }

func TestParsesPEM(t *testing.T) {
	t.Parallel()
	every := []crypto.PublicKey{rsaKey(2048), pointOn(elliptic.P256()), pointOn(elliptic.P384()), pointOn(elliptic.P521()), edwards(1)}
	var joined []string
	for _, public := range every {
		texts := []string{pkix(t, public), certificate(t, public), " \r\n\t" + pkix(t, public) + "\n\n", strings.ReplaceAll(pkix(t, public), "\n", "\r\n"), strings.TrimSuffix(pkix(t, public), "\n")}
		if public, ok := public.(*rsa.PublicKey); ok {
			texts = append(texts, block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(public)))
		}
		for _, text := range texts {
			if got := all(t, []byte(text)); len(got) != 1 || !got[0].Equal(jwks.Key{Public: public}) {
				t.Errorf("%T in %q: got %v", public, text, got)
			}
		}
		joined = append(joined, texts[len(joined)%2])
	}
	for _, between := range []string{"", "\n", " \r\n\t\n"} {
		got := all(t, []byte(strings.Join(joined, between)))
		if len(got) != len(every) {
			t.Fatalf("%d blocks with %q between: got %v", len(every), between, got)
		}
		for i, public := range every {
			if !got[i].Equal(jwks.Key{Public: public}) {
				t.Errorf("block %d: got %v", i, got[i])
			}
		}
	}
}

func TestRefusesPEMThatIsNotOnlyPublicKeys(t *testing.T) {
	t.Parallel()
	good, edPrivate := pkix(t, edwards(1)), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	x25519, err := ecdh.X25519().NewPublicKey(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	der := func(text string) []byte {
		b, _ := pem.Decode([]byte(text))
		return b.Bytes
	}
	cut := der(good)[:20]
	for _, test := range []struct{ text, why string }{
		{block("PRIVATE KEY", pkcs8(t, edPrivate)), "a private key"},
		{block("RSA PRIVATE KEY", []byte("canary")), "a private key"},
		{block("EC PRIVATE KEY", nil), "a private key"},
		{block("ENCRYPTED PRIVATE KEY", nil), "a private key"},
		{block("OPENSSH PRIVATE KEY", nil), `type "OPENSSH PRIVATE KEY"`},
		{block("CERTIFICATE REQUEST", nil), `type "CERTIFICATE REQUEST"`},
		{block("EC PARAMETERS", nil), `type "EC PARAMETERS"`},
		{block("public key", der(good)), `type "public key"`},
		{block(strings.Repeat("X", 1000), nil), `type "` + strings.Repeat("X", 32) + `"`},
		{block("PUBLIC KEY", nil), "not a public key in PKIX form"},
		{block("PUBLIC KEY", cut), "not a public key in PKIX form"},
		{block("PUBLIC KEY", append(der(good), 0)), "not a public key in PKIX form"},
		{block("PUBLIC KEY", der(certificate(t, edwards(1)))), "not a public key in PKIX form"},
		{block("PUBLIC KEY", pkcs8(t, edPrivate)), "not a public key in PKIX form"},
		{block("RSA PUBLIC KEY", der(pkix(t, rsaKey(2048)))), "not a public key in PKCS #1 form"},
		{block("RSA PUBLIC KEY", append(x509.MarshalPKCS1PublicKey(rsaKey(2048)), 0)), "not a public key in PKCS #1 form"},
		{block("CERTIFICATE", der(good)), "not a certificate"},
		{block("CERTIFICATE", append(der(certificate(t, edwards(1))), 0)), "not a certificate"},
		{pkix(t, rsaKey(2047)), "2047 bits"},
		{certificate(t, rsaKey(1024)), "1024 bits"},
		{block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: modulus(2048), E: 1})), "below 3"},
		{pkix(t, pointOn(elliptic.P224())), "another curve"},
		{pkix(t, x25519), "Public is a *ecdh.PublicKey"},
	} {
		refuses(t, []byte(test.text), test.why)
		refuses(t, []byte(pkix(t, rsaKey(3072))+test.text), test.why)
		refuses(t, []byte(test.text+pkix(t, rsaKey(3072))), test.why)
	}
	refuses(t, []byte(good+good), "another key without an ID serves the same algorithm")
	refuses(t, []byte(good+pkix(t, edwards(2))), "another key without an ID serves the same algorithm")
}

func TestRefusesTextAroundPEMBlocks(t *testing.T) {
	t.Parallel()
	const malformed = "malformed, or text between the blocks"
	good, other := pkix(t, edwards(1)), pkix(t, rsaKey(2048))
	broken := strings.Replace(good, "\nM", "\n*", 1)
	for _, text := range []string{
		good + "text", good + "\ntext\n" + other, good + "text\n" + other, good + "# a comment\n", good + "\x00", good + "\v", good + "{}", good + "-----", good + "-----BEGIN PUBLIC KEY-----\n",
		"-----", "-----BEGIN PUBLIC KEY-----", "-----text\n" + good, "-----END PUBLIC KEY-----\n" + good, "----- BEGIN PUBLIC KEY-----\n" + good, good[:len(good)-10], good[:len(good)/2],
		strings.Replace(good, "END PUBLIC KEY", "END RSA PUBLIC KEY", 1), strings.Replace(good, "END PUBLIC", "END  PUBLIC", 1), broken, strings.Replace(good, "-----BEGIN", "------BEGIN", 1),
		// A block that cannot be read is not passed over for the next one, of whatever type that is.
		broken + good, broken + other, good + broken + other, broken + certificate(t, edwards(1)), "-----BEGIN PUBLIC KEY-----\nAAAA\n" + good, "-----BEGIN PUBLIC KEY-----\n" + good, good[:len(good)/2] + "\n" + good,
		"-----BEGIN PUBLIC KEY X-----\n" + good,
	} {
		refuses(t, []byte(text), malformed)
	}
	for _, text := range []string{"text\n" + good, "# a comment\n" + good, "\ufeff" + good, "\v" + good, "\x00" + good} {
		refuses(t, []byte(text), "not an object")
	}
}
