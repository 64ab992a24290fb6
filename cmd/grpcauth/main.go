// SPDX-License-Identifier: Apache-2.0

// Command grpcauth shows who may call what, and makes and inspects what authentication needs.
//
//	grpcauth policy         the rules of a descriptor set as a table; with -diff, who gains or loses access
//	grpcauth hash-password  the hash of a password
//	grpcauth new-key        a key to sign tokens, and the key set that verifies them
//	grpcauth inspect        what a token says, and, with -issuer, whether it is to be believed
//	grpcauth new-api-key    an API key, and the record that a store keeps of it
//	grpcauth version        the version of the program
//
// "grpcauth COMMAND -h" says more. The exit code is 0 if all is well, 1 if the answer is no (somebody gains access, a token is refused), and 2 if the
// command line or the input is wrong. Passwords and tokens are read from files or the standard input: others can see a command line.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"slices"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// command is a subcommand. It returns errNo, or wraps it, if the answer is no.
type command struct {
	about string
	run   func(args []string, stdin io.Reader, stdout, stderr io.Writer) error
}

var commands = map[string]command{
	"policy":        {"show the rules of a descriptor set, or who gains and loses access", policyCommand},
	"hash-password": {"hash a password", hashCommand},
	"new-key":       {"make a key to sign tokens", keyCommand},
	"inspect":       {"show what a token says", inspectCommand},
	"new-api-key":   {"make an API key", apiKeyCommand},
	"version":       {"show the version", versionCommand},
}

// errNo is the answer no.
var errNo = errors.New("no")

// run is the whole program. It returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return 2
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		usage(stdout)
		return 0
	}
	c, ok := commands[args[0]]
	if !ok {
		fmt.Fprintf(stderr, "grpcauth: there is no command %q\n", args[0])
		usage(stderr)
		return 2
	}
	switch err := c.run(args[1:], stdin, stdout, stderr); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errNo):
		return 1
	default:
		if !errors.Is(err, errTold) {
			fmt.Fprintf(stderr, "grpcauth %s: %v\n", args[0], err)
		}
		return 2
	}
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "Usage: grpcauth COMMAND [FLAGS] [FILE]")
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		fmt.Fprintf(w, "  %-14s %s\n", name, commands[name].about)
	}
}

// errTold is a mistake of which package flag has told already.
var errTold = errors.New("the flags are wrong")

// parse parses flags and returns the file that is named behind them, or "-".
func parse(flags *flag.FlagSet, args []string, about string, stderr io.Writer) (file string, err error) {
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "Usage: grpcauth %s [FLAGS] [FILE]\n%s\n", flags.Name(), about)
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return "", err
	case err != nil:
		return "", errTold
	case flags.NArg() > 1:
		return "", fmt.Errorf("unexpected argument %q", flags.Arg(1))
	case flags.NArg() == 1:
		return flags.Arg(0), nil
	}
	return "-", nil
}

// read reads a file, or the standard input if it is "-", of so many bytes at the most.
func read(file string, stdin io.Reader, most int64) (data []byte, err error) {
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // it is what was asked for
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // nothing was written
		stdin = f
	}
	data, err = io.ReadAll(io.LimitReader(stdin, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d bytes", file, most)
	}
	return data, err
}

func versionCommand(args []string, _ io.Reader, stdout, stderr io.Writer) error {
	if _, err := parse(flag.NewFlagSet("version", flag.ContinueOnError), args, "Shows the version of the program.", stderr); err != nil {
		return err
	}
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	fmt.Fprintln(stdout, "grpcauth", version)
	return nil
}
