// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"

	"github.com/grpcauth/grpcauth/jwks"
)

const keyHelp = `Makes a key to sign access tokens. The private key goes to -out, which must not be there yet, or to the standard output; behind it, the standard
output has the key set to publish. -format pem writes the private key in PKCS #8, as x509.ParsePKCS8PrivateKey takes it.`

func keyCommand(args []string, _ io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("new-key", flag.ContinueOnError)
	algorithm := flags.String("algorithm", "EdDSA", "what it signs by: `EdDSA`, ES256, ES384, ES512, RS256 to RS512 or PS256 to PS512")
	kid := flags.String("kid", "", "the key's `ID`; the thumbprint of the public key (RFC 7638) by default")
	out := flags.String("out", "", "write the private key to this `file`, for its owner alone")
	format := flags.String("format", "jwk", "of the private key: `jwk` or pem")
	file, err := parse(flags, args, keyHelp, stderr)
	switch {
	case err != nil:
		return err
	case file != "-":
		return fmt.Errorf("unexpected argument %q", file)
	case *format != "jwk" && *format != "pem":
		return fmt.Errorf("-format %q: write jwk or pem", *format)
	}
	key, err := generate(*algorithm)
	if err != nil {
		return err
	}
	public := jwks.Key{ID: *kid, Algorithm: *algorithm, Public: key.Public()}
	if public.ID == "" {
		public.ID = public.Thumbprint()
	}
	if err := public.Validate(); err != nil {
		return err
	}
	members := publicMembers(key.Public())
	members["kid"], members["alg"], members["use"] = public.ID, *algorithm, "sig"
	set, err := json.MarshalIndent(map[string]any{"keys": []any{members}}, "", "  ")
	if err != nil {
		return err
	}
	private, err := encodePrivate(key, members, *format)
	if err != nil {
		return err
	}
	if *out == "" {
		_, err = stdout.Write(private)
	} else {
		err = writeNew(*out, private)
	}
	if err != nil {
		return err
	}
	_, err = stdout.Write(append(set, '\n'))
	return err
}

func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "EdDSA":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, fmt.Errorf("-algorithm %q: write EdDSA, ES256, ES384, ES512, RS256 to RS512 or PS256 to PS512", algorithm)
}

var encode = base64.RawURLEncoding.EncodeToString

// publicMembers are the members of a JWK that make the key (RFC 7518, section 6, and RFC 8037, section 2).
func publicMembers(key crypto.PublicKey) map[string]any {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encode(k)}
	case *ecdsa.PublicKey:
		point, _ := k.Bytes() // a key that was just made has one
		size := (len(point) - 1) / 2
		return map[string]any{"kty": "EC", "crv": k.Params().Name, "x": encode(point[1 : 1+size]), "y": encode(point[1+size:])}
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "n": encode(k.N.Bytes()), "e": encode(big.NewInt(int64(k.E)).Bytes())}
	}
	return nil
}

func encodePrivate(key crypto.Signer, public map[string]any, format string) ([]byte, error) {
	if format == "pem" {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
	}
	members := maps.Clone(public)
	switch k := key.(type) {
	case ed25519.PrivateKey:
		members["d"] = encode(k.Seed())
	case *ecdsa.PrivateKey:
		d, err := k.Bytes()
		if err != nil {
			return nil, err
		}
		members["d"] = encode(d)
	case *rsa.PrivateKey:
		members["d"], members["p"], members["q"] = encode(k.D.Bytes()), encode(k.Primes[0].Bytes()), encode(k.Primes[1].Bytes())
		members["dp"], members["dq"], members["qi"] = encode(k.Precomputed.Dp.Bytes()), encode(k.Precomputed.Dq.Bytes()), encode(k.Precomputed.Qinv.Bytes())
	}
	text, err := json.MarshalIndent(members, "", "  ")
	return append(text, '\n'), err
}

// writeNew writes a file that nobody else can read, and never over another.
func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // it is what was asked for
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("-out %s: the file is there already: take it away first, if nobody needs its key any more", name)
	} else if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(data))
	return errors.Join(err, f.Close())
}
