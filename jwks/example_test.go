// SPDX-License-Identifier: Apache-2.0

package jwks_test

import (
	"context"
	"fmt"
	"time"

	"github.com/grpcauth/grpcauth/jwks"
)

// published has the keys of RFC 7517, appendix A.1, and RFC 8037, appendix A.2.
const published = `{"keys": [
	{"kty": "EC", "kid": "1", "use": "enc", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},
	{"kty": "RSA", "kid": "2011-04-29", "alg": "RS256", "e": "AQAB", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"},
	{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
]}`

func ExampleParse() {
	set, err := jwks.Parse([]byte(published))
	if err != nil {
		panic(err)
	}
	fmt.Println(set) // the first key is for encryption
	for _, kid := range []string{"2011-04-29", "1"} {
		keys, err := set.Keys(context.Background(), kid)
		fmt.Println(keys, err)
	}
	_, err = jwks.Parse([]byte(`{"keys": [{"kty": "oct", "kid": "hmac", "k": "c2VjcmV0"}]}`))
	fmt.Println(err)
	// Output:
	// StaticSet(2 keys)
	// [Key("2011-04-29", "RS256", *rsa.PublicKey)] <nil>
	// [Key("", "", ed25519.PublicKey)] <nil>
	// jwks: key 0 (ID "hmac"): it holds a secret or a private key: publish the public key alone, and give secrets to Static
}

func ExampleRemote() {
	set, err := jwks.Remote("https://idp.example.com/.well-known/jwks.json", jwks.Options{MaxStale: 2 * time.Hour})
	if err != nil {
		panic(err)
	}
	defer set.Close()
	fmt.Println(set, set.Stats().Fetches) // nothing is fetched before a token needs it

	_, err = jwks.Remote("http://idp.example.com/.well-known/jwks.json", jwks.Options{})
	fmt.Println(err)
	// Output:
	// RemoteSet("https://idp.example.com/.well-known/jwks.json") 0
	// jwks: the URL of the key set: http: write https, or allow plaintext by name
}
