// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	echov1 "github.com/grpcauth/grpcauth/internal/gen/echo/v1"
	grpcauthv1 "github.com/grpcauth/grpcauth/proto/grpcauth/v1"
)

// state is what a client keeps between its commands: a session or two tokens.
type state struct {
	Session, Access, Refresh string `json:",omitempty"`
}

func loadState(path string) (state, error) {
	var s state
	text, err := os.ReadFile(path) //nolint:gosec // the caller names it
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}

func (s state) save(path string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return writeNew(path, text)
}

// with puts the credential on a call. Loopback needs no TLS; elsewhere credentials must not leave without it.
func (s state) with(ctx context.Context) context.Context {
	switch {
	case s.Session != "":
		return metadata.AppendToOutgoingContext(ctx, sessionKey, s.Session)
	case s.Access != "":
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.Access)
	}
	return ctx
}

// patience is how long a command takes at the most.
const patience = 10 * time.Second

// client calls the service for one command.
type client struct {
	auth     grpcauthv1.AuthServiceClient
	echo     echov1.EchoServiceClient
	password string
	tokens   bool
	state    state
	out      io.Writer
}

// commands take a text if that is said here.
var commands = map[string]struct {
	argument bool
	run      func(*client, context.Context, string) error
}{
	"in":       {true, (*client).in},
	"say":      {true, (*client).say},
	"whoami":   {false, (*client).whoAmI},
	"sessions": {false, (*client).sessions},
	"refresh":  {false, (*client).refresh},
	"out":      {false, (*client).logout},
}

func clientCommand(ctx context.Context, name string, args []string, env func(string) string, stdout, stderr io.Writer) (err error) {
	command, ok := commands[name]
	if !ok {
		return usageError{fmt.Errorf("there is no command %q; login help lists them", name)}
	}
	flags := flag.NewFlagSet("login "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	to := flags.String("to", "127.0.0.1:50051", "call the server at this loopback `address`")
	path := flags.String("state", "login.json", "keep the login in this `file`")
	c := &client{password: env("GRPCAUTH_PASSWORD"), out: stdout}
	if name == "in" {
		flags.BoolVar(&c.tokens, "tokens", false, "ask for an access and a refresh token instead of a session")
	}
	if err := parse(flags, args); err != nil {
		return err
	}
	if command.argument == (flags.NArg() == 0) {
		return usageError{fmt.Errorf("%s: wrong number of arguments; login help shows them", name)}
	}
	if host, _, err := net.SplitHostPort(*to); err != nil || !net.ParseIP(host).IsLoopback() {
		return usageError{fmt.Errorf("-to %q: write a loopback address with a port, such as 127.0.0.1:50051: credentials do not leave the machine in plaintext", *to)}
	}
	if c.state, err = loadState(*path); err != nil {
		return fmt.Errorf("%s: %w", *path, err)
	}
	conn, err := grpc.NewClient(*to, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true))) // the server may just be starting
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the program ends
	c.auth, c.echo = grpcauthv1.NewAuthServiceClient(conn), echov1.NewEchoServiceClient(conn)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before := c.state
	if err := command.run(c, ctx, strings.Join(flags.Args(), " ")); err != nil {
		return err
	}
	if c.state == before {
		return nil
	}
	return c.state.save(*path)
}

func (c *client) in(ctx context.Context, name string) error {
	req := &grpcauthv1.LoginRequest{Username: name, Password: c.password, Credential: grpcauthv1.Credential_CREDENTIAL_SESSION_ID}
	if c.tokens {
		req.Credential, req.ClientId = grpcauthv1.Credential_CREDENTIAL_TOKENS, "cli"
	}
	resp, err := c.auth.Login(ctx, req)
	if err != nil {
		return err
	}
	issued := resp.GetIssued()
	c.state = state{issued.GetSessionId(), issued.GetTokens().GetAccessToken(), issued.GetTokens().GetRefreshToken()}
	fmt.Fprintf(c.out, "logged in as %s\n", issued.GetUser().GetId())
	return nil
}

func (c *client) say(ctx context.Context, text string) error {
	resp, err := c.echo.Echo(c.state.with(ctx), &echov1.EchoRequest{Text: text})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s says %s\n", resp.GetUserId(), resp.GetText())
	return nil
}

func (c *client) whoAmI(ctx context.Context, _ string) error {
	resp, err := c.auth.WhoAmI(c.state.with(ctx), &grpcauthv1.WhoAmIRequest{})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s, by %s\n", resp.GetUser().GetId(), resp.GetUser().GetMethod())
	return nil
}

func (c *client) sessions(ctx context.Context, _ string) error {
	resp, err := c.auth.ListSessions(c.state.with(ctx), &grpcauthv1.ListSessionsRequest{})
	if err != nil {
		return err
	}
	for _, s := range resp.GetSessions() {
		mark := " "
		if s.GetCurrent() {
			mark = "*"
		}
		fmt.Fprintf(c.out, "%s since %s, until %s\n", mark, s.GetCreated().AsTime().Format("15:04:05"), s.GetEnd().AsTime().Format("2006-01-02 15:04"))
	}
	return nil
}

func (c *client) refresh(ctx context.Context, _ string) error {
	if c.state.Refresh == "" {
		return errors.New("there is no refresh token: log in with -tokens")
	}
	resp, err := c.auth.Refresh(ctx, &grpcauthv1.RefreshRequest{RefreshToken: c.state.Refresh, ClientId: "cli"})
	if err != nil {
		return err
	}
	c.state.Access, c.state.Refresh = resp.GetTokens().GetAccessToken(), resp.GetTokens().GetRefreshToken()
	fmt.Fprintln(c.out, "refreshed")
	return nil
}

// logout keeps the credential, to show what it is worth afterwards.
func (c *client) logout(ctx context.Context, _ string) error {
	if _, err := c.auth.Logout(c.state.with(ctx), &grpcauthv1.LogoutRequest{RefreshToken: c.state.Refresh}); err != nil {
		return err
	}
	fmt.Fprintln(c.out, "logged out")
	return nil
}
