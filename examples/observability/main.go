// SPDX-License-Identifier: Apache-2.0

// Command observability is a gRPC server whose every decision can be seen: as a record in an audit log, and as metrics for Prometheus.
//
// It serves the echo service and a page of metrics on loopback until it is interrupted. The audit log goes to the standard output, one JSON object in a line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program. It returns the exit code: 1 if something failed, 2 if the command line is wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("observability", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:50051", "serve gRPC on this `address`")
	metrics := flags.String("metrics", "127.0.0.1:9464", "serve metrics on this `address`")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // flag has said why
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "observability: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if err := serve(ctx, *listen, *metrics, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "observability:", err)
		return 1
	}
	return 0
}

// serve serves until the context ends. What it listens on goes to stderr, so that stdout is the audit log alone.
func serve(ctx context.Context, listen, metrics string, audit, stderr io.Writer) (err error) {
	s, err := newSite(ctx, audit)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var config net.ListenConfig
	calls, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	page, err := config.Listen(ctx, "tcp", metrics)
	if err != nil {
		return errors.Join(err, calls.Close())
	}
	web := &http.Server{Handler: s.metrics, ReadHeaderTimeout: 5 * time.Second}
	fmt.Fprintf(stderr, "calls on %s, metrics on http://%s/metrics\n", calls.Addr(), page.Addr())

	ended := make(chan error, 2)
	go func() { ended <- s.server.Serve(calls) }()
	go func() { ended <- web.Serve(page) }()
	select {
	case <-ctx.Done():
	case err = <-ended:
		ended <- nil
	}
	s.server.Stop()
	err = errors.Join(err, web.Close())
	for range 2 {
		if e := <-ended; e != nil && !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}
