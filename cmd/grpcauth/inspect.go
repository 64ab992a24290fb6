// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/jwt"
	"github.com/grpcauth/grpcauth/backends/oidc"
	"github.com/grpcauth/grpcauth/internal/strictjson"
	"github.com/grpcauth/grpcauth/jwks"
)

// maxToken is the size of the longest token that is looked at.
const maxToken = 64 << 10

const inspectHelp = `Shows the header and the claims of the token in FILE, or on the standard input. Nothing of it is verified unless -issuer is given: then the keys of
that provider are found by discovery, and the exit code is 1 if the token is refused.`

const unverified = "UNVERIFIED: anyone can have written this"

func inspectCommand(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("inspect", flag.ContinueOnError)
	issuer := flags.String("issuer", "", "verify the token as one of the provider with this `URL`")
	audience := flags.String("audience", "", "with -issuer: the `name` of the service that the token must be for")
	algorithms := flags.String("algorithms", "RS256,ES256,EdDSA", "with -issuer: the `names` of the algorithms that the provider may sign by")
	file, err := parse(flags, args, inspectHelp, stderr)
	switch {
	case err != nil:
		return err
	case *issuer != "" && *audience == "":
		return errors.New("-issuer needs -audience: a token for another service proves nothing to this one")
	case *issuer == "" && *audience != "":
		return errors.New("-audience needs -issuer")
	}
	text, err := read(file, stdin, maxToken)
	if err != nil {
		return err
	}
	token := strings.TrimSpace(string(text))
	token = strings.TrimSpace(strings.TrimPrefix(token, "Bearer "))
	if *issuer == "" {
		if err := show(stdout, unverified, token); err != nil {
			return err
		}
		fmt.Fprintln(stderr, unverified)
		return nil
	}
	user, err := verify(context.Background(), *issuer, *audience, strings.Split(*algorithms, ","), token)
	var refusal *grpcauth.AuthenticationError
	switch {
	case err == nil:
		return show(stdout, "VERIFIED: "+plain(user.ID)+" of "+plain(user.Issuer), token)
	case errors.As(err, &refusal) && refusal.Code() != grpcauth.CodeUnavailable && refusal.Code() != grpcauth.CodeInternal:
		fmt.Fprintln(stdout, "REFUSED: "+plain(err.Error()))
		if err := show(stdout, unverified, token); err != nil {
			fmt.Fprintln(stdout, plain(err.Error()))
		}
		return errNo
	default:
		return fmt.Errorf("the token could not be judged: %s", plain(err.Error()))
	}
}

// trusted is the client of discovery in tests; nil is a default one.
var trusted jwks.Options

func verify(ctx context.Context, issuer, audience string, algorithms []string, token string) (*grpcauth.User, error) {
	provider, err := oidc.New(jwt.Issuer{URL: issuer, Audiences: []string{audience}, Algorithms: algorithms}, oidc.Options{Keys: trusted, Eager: true}) //nolint:contextcheck // it waits no longer than MaxWait
	if err != nil {
		return nil, err
	}
	defer provider.Close() //nolint:errcheck // nothing is left
	verifier, err := jwt.NewVerifier(jwt.Options{Issuers: []jwt.Issuer{provider.Issuer()}})
	if err != nil {
		return nil, err
	}
	return verifier.Verify(ctx, token)
}

// show prints the parts of a token.
func show(w io.Writer, headline, token string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return fmt.Errorf("no signed token: it has %d parts, not 3", len(parts))
	}
	var out bytes.Buffer
	fmt.Fprintln(&out, headline)
	for i, name := range []string{"header", "claims"} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return fmt.Errorf("the %s is not base64url", name)
		}
		var members map[string]any
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&members); err != nil || members == nil {
			return fmt.Errorf("the %s is no JSON object", name)
		}
		indented, err := json.MarshalIndent(members, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s: %s\n", name, lines(indented))
		if i == 1 {
			times(&out, members)
		}
		if err := strictjson.Object(text, func(string, strictjson.Value) error { return nil }); err != nil {
			fmt.Fprintf(&out, "(the %s would be refused: %s)\n", name, plain(err.Error()))
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

// times prints the members that are times as such.
func times(w io.Writer, claims map[string]any) {
	for _, name := range []string{"iat", "nbf", "auth_time", "exp"} {
		number, ok := claims[name].(json.Number)
		if !ok {
			continue
		}
		if seconds, err := strconv.ParseFloat(number.String(), 64); err == nil && seconds >= 0 && seconds < 1e11 {
			fmt.Fprintf(w, "%s is %s\n", name, time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339))
		}
	}
}

// lines leaves line feeds and escapes all else that a terminal may take for more than text. What it is given is JSON, in which the escapes mean the same.
func lines(text []byte) string {
	var out strings.Builder
	for _, r := range string(text) {
		if r == '\n' || unicode.IsPrint(r) && r != unicode.ReplacementChar {
			out.WriteRune(r)
		} else {
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&out, `\u%04x`, unit)
			}
		}
	}
	return out.String()
}

// plain is a text in one line that a terminal shows as it is.
func plain(text string) string {
	quoted := strconv.QuoteToGraphic(text)
	return quoted[1 : len(quoted)-1]
}
