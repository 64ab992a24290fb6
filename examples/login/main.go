// SPDX-License-Identifier: Apache-2.0

// Command login is a gRPC service that logs its own users in and out, and a client for it.
//
// "login serve" keeps accounts, sessions, API keys and refresh tokens in one store: a SQLite file, memory, PostgreSQL or Redis. The other commands call it; README.md
// walks through them.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `usage:
  login serve [-listen ADDRESS] [-store STORE] [-key FILE] [-user NAME]
  login COMMAND [-to ADDRESS] [-state FILE] ...

  in NAME        log in with the password in GRPCAUTH_PASSWORD; with -tokens for an access and a refresh token instead of a session
  say TEXT       call a method that needs a user
  whoami         say who is logged in
  sessions       list the logins of this user
  refresh        trade the refresh token for new tokens
  out            log out

`

// run is the whole program. It returns the exit code: 1 if something failed, 2 if the command line is wrong.
func run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		_, _ = io.WriteString(stderr, usage)
		return 2
	}
	var err error
	switch command, args := args[0], args[1:]; command {
	case "serve":
		err = serveCommand(ctx, args, env, stdout, stderr)
	case "-h", "-help", "--help", "help":
		_, _ = io.WriteString(stdout, usage)
	default:
		err = clientCommand(ctx, command, args, env, stdout, stderr)
	}
	var wrong usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, "login:", err)
		return 2
	case err != nil:
		fmt.Fprintln(stderr, "login:", err)
		return 1
	}
	return 0
}

// usageError is a command line that is wrong.
type usageError struct{ error }

// parse parses flags, which say themselves what is wrong with them.
func parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return usageError{err}
	}
	return err
}

func serveCommand(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("login serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:50051", "serve on this `address`")
	place := flags.String("store", "sqlite:login.db", "keep everything in this `store`: "+storesHelp)
	keyFile := flags.String("key", "", "sign access tokens with the key in this `file`, which is made if it is missing; otherwise they end with the server")
	user := flags.String("user", "", "make this user first, unless it is there, with the password in GRPCAUTH_PASSWORD or one that is printed")
	guesses := flags.Int("guesses", 5, "let this `number` of wrong passwords pass in a minute at one account")
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", flags.Arg(0))}
	}
	s, closeStore, err := openStore(ctx, *place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	key, err := loadKey(*keyFile)
	if err != nil {
		return err
	}
	site, err := newSite(s, key, *guesses, stderr)
	if err != nil {
		return err
	}
	defer site.close()
	if *user != "" {
		if err := site.firstUser(ctx, *user, env("GRPCAUTH_PASSWORD"), stdout); err != nil {
			return err
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "serving on", listener.Addr())
	defer context.AfterFunc(ctx, site.server.GracefulStop)()
	return site.server.Serve(listener)
}

// firstUser makes a user so that there is one who can log in.
func (s *site) firstUser(ctx context.Context, name, password string, out io.Writer) error {
	generated := password == ""
	if generated {
		password = rand.Text()
	}
	hash, err := s.hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	switch created, err := s.accounts.create(ctx, name, hash); {
	case err != nil:
		return err
	case !created:
		fmt.Fprintf(out, "the user %q is there already, with her own password\n", name)
	case generated:
		fmt.Fprintf(out, "made the user %q with the password %s\n", name, password)
	default:
		fmt.Fprintf(out, "made the user %q\n", name)
	}
	return nil
}
