// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/grpcauth/grpcauth/password"
)

func hashCommand(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("hash-password", flag.ContinueOnError)
	algorithm := flags.String("algorithm", "argon2id", "`argon2id or bcrypt`")
	file, err := parse(flags, args, "Hashes the password in FILE, or on the standard input, without its last line break.", stderr)
	if err != nil {
		return err
	}
	var opts password.Options
	switch *algorithm {
	case "argon2id":
	case "bcrypt":
		opts.Algorithm = password.Bcrypt
	default:
		return fmt.Errorf("-algorithm %q: write argon2id or bcrypt", *algorithm)
	}
	hasher, err := password.New(opts)
	if err != nil {
		return err
	}
	text, err := read(file, stdin, 1<<20)
	if err != nil {
		return err
	}
	pass := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if pass == "" {
		return errors.New("the password is empty")
	}
	hash, err := hasher.Hash(context.Background(), pass)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, hash)
	return nil
}
