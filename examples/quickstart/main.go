// SPDX-License-Identifier: Apache-2.0

// Command quickstart is a gRPC server that knows its callers by tokens or passwords, and a client that tries to get past it.
//
// Without flags it starts the server on loopback, makes one call of every kind, and prints how each was answered. With -listen it
// serves until it is interrupted and prints what it takes to call it. What an application needs of it is in server.go, and echo.go shows handlers.
package main

import (
	"context"
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
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program. It returns the exit code: 1 if something failed, 2 if the command line is wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var address, caFile string
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("listen", "serve on this `address`, such as 127.0.0.1:0, until interrupted, instead of making calls", func(value string) error {
		address = value
		if _, _, err := net.SplitHostPort(value); err != nil {
			return fmt.Errorf("write a host and a port, such as 127.0.0.1:0: %w", err)
		}
		return nil
	})
	flags.StringVar(&caFile, "ca", "", "with -listen: write the certificate to trust to this `file`, and leave it there, instead of to a temporary one")

	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // flag has said why
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "quickstart: unexpected argument %q\n", flags.Arg(0))
		return 2
	case caFile != "" && address == "":
		fmt.Fprintln(stderr, "quickstart: -ca needs -listen")
		return 2
	case address != "":
		err = serve(ctx, address, caFile, stdout, stderr)
	default:
		err = tryCalls(ctx, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return 1
	}
	return 0
}

// tryCalls makes all calls, prints the table of the answers, and fails if one is not as expected.
func tryCalls(ctx context.Context, stdout io.Writer) error {
	s, err := startSite(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer s.stop()
	c, err := dial(s)
	if err != nil {
		return err
	}
	defer c.close()
	attempts, err := s.attempts()
	if err != nil {
		return err
	}
	return report(stdout, c.makeAll(ctx, attempts))
}
