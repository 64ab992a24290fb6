// SPDX-License-Identifier: Apache-2.0

// Command gateway serves one set of users over gRPC and over HTTPS, with a page to sign in by.
//
// The page, programs with an API key and gRPC clients are judged by the same backends and the same rules. README.md shows how to call each.
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv("GRPCAUTH_PASSWORD"), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// flags are the command line.
type flags struct {
	listen, grpc, user, public, ca string
	guesses                        int
	session                        time.Duration
	plain                          bool
	behind                         []netip.Prefix
}

func parse(args []string, stderr io.Writer) (f flags, err error) {
	set := flag.NewFlagSet("gateway", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&f.listen, "listen", "127.0.0.1:8443", "serve HTTPS on this `address`")
	set.StringVar(&f.grpc, "grpc", "127.0.0.1:50051", "serve gRPC on this `address`")
	set.IntVar(&f.guesses, "guesses", 5, "let this `number` of wrong passwords pass in a minute")
	set.DurationVar(&f.session, "session", 30*time.Minute, "end sessions that were not used for this `time`")
	set.StringVar(&f.user, "user", "alice", "the `name` of the user; her password is in GRPCAUTH_PASSWORD, or made and printed")
	set.BoolVar(&f.plain, "plain", false, "serve HTTP without TLS, for a proxy that ends it")
	set.Func("behind", "believe the X-Forwarded headers of proxies in this `network`", func(text string) error {
		p, err := netip.ParsePrefix(text)
		f.behind = append(f.behind, p)
		return err
	})
	set.StringVar(&f.public, "public", "", "the `origin` that browsers know the page by, such as https://localhost:8443")
	set.StringVar(&f.ca, "ca", "", "write the certificate authority to this `file`, for callers to trust")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
		fmt.Fprintln(stderr, "gateway:", err)
	}
	return f, err
}

// run is the whole program. It returns the exit code: 1 if something failed, 2 if the command line is wrong.
func run(ctx context.Context, args []string, password string, stdout, stderr io.Writer) int {
	f, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := serve(ctx, &f, password, stdout); err != nil {
		fmt.Fprintln(stderr, "gateway:", err)
		return 1
	}
	return 0
}

// serve serves until the context ends.
func serve(ctx context.Context, f *flags, password string, stdout io.Writer) (err error) {
	ca, certificate, err := newCertificate()
	if err != nil {
		return err
	}
	if f.ca != "" {
		if err := os.WriteFile(f.ca, ca, 0o644); err != nil { //nolint:gosec // it is for everybody
			return err
		}
	}
	made := password == ""
	if made {
		password = rand.Text()
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	site, err := newSite(ctx, f, password, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.close()) }()

	grpcListener, err := new(net.ListenConfig).Listen(ctx, "tcp", f.grpc)
	if err != nil {
		return err
	}
	httpListener, err := new(net.ListenConfig).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return errors.Join(err, grpcListener.Close())
	}
	scheme := "https"
	web := &http.Server{Handler: site.handler, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	// Open event streams would keep Shutdown waiting for as long as their pages are open.
	requests, end := context.WithCancel(context.WithoutCancel(ctx))
	web.BaseContext = func(net.Listener) context.Context { return requests }
	ended := make(chan error, 2)
	go func() { ended <- site.server.Serve(grpcListener) }()
	go func() {
		if f.plain {
			ended <- web.Serve(httpListener)
		} else {
			ended <- web.ServeTLS(httpListener, "", "")
		}
	}()
	if f.plain {
		scheme = "http"
	}
	fmt.Fprintf(stdout, "%s on %s://%s\n", map[string]string{"http": "HTTP", "https": "HTTPS"}[scheme], scheme, httpListener.Addr())
	fmt.Fprintf(stdout, "gRPC on %s\n", grpcListener.Addr())
	if made {
		fmt.Fprintf(stdout, "sign in as %s with the password %s\n", f.user, password)
	}

	left := 2
	select {
	case <-ctx.Done():
	case err = <-ended:
		left--
	}
	end()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if web.Shutdown(last) != nil {
		_ = web.Close()
	}
	site.server.Stop()
	for range left {
		if last := <-ended; last != nil && !errors.Is(last, http.ErrServerClosed) {
			err = errors.Join(err, last)
		}
	}
	return err
}
