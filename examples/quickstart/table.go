// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/grpcauth/grpcauth"
)

// attempt is a call with its credentials, and the answer that it must get.
type attempt struct {
	method        method
	credential    string // in words
	authorization []string
	want          answer
}

// answer is what a caller learns. The user of a refused stream is the one that it had until then.
type answer struct {
	code   codes.Code
	reason string
	user   string
}

// outcome is an attempt and the answer it got.
type outcome struct {
	attempt

	got answer
}

func letIn(user string) answer { return answer{code: codes.OK, user: user} }

func refused(code grpcauth.Code) answer { return answer{code: code.GRPC(), reason: code.String()} }

// attempts are the calls to make. Those by password cost a hash computation, those by token a signature check.
func (s *site) attempts() ([]attempt, error) {
	stranger, err := newIssuer()
	if err != nil {
		return nil, err
	}
	var errs []error
	sign := func(by *issuer, lifetime time.Duration) string {
		token, err := by.token(bob, collectScope, lifetime)
		errs = append(errs, err)
		return bearer(token)
	}
	var (
		password   = basicOf(alice, s.password)
		token      = sign(s.issuer, time.Hour)
		ofStranger = sign(stranger, time.Hour) // with the issuer's name and key ID
		expired    = sign(s.issuer, -time.Hour)
		brief      = sign(s.issuer, 4*time.Second)
		endsAsBob  = refused(grpcauth.CodeExpired)
	)
	endsAsBob.user = bob

	return []attempt{
		{callHealth, "none", nil, letIn("")},
		{callEcho, "none", nil, refused(grpcauth.CodeMissing)},

		{callEcho, "password", []string{password}, letIn(alice)},
		{callEcho, "wrong password", []string{basicOf(alice, "guess")}, refused(grpcauth.CodeInvalid)},
		{callEcho, "unknown user", []string{basicOf("mallory", "guess")}, refused(grpcauth.CodeInvalid)},

		{callEcho, "token", []string{token}, letIn(bob)},
		{callEcho, "expired token", []string{expired}, refused(grpcauth.CodeExpired)},
		{callEcho, "token of a stranger's key", []string{ofStranger}, refused(grpcauth.CodeInvalid)},
		{callEcho, "token of two words", []string{token + " x"}, refused(grpcauth.CodeMalformed)},

		{callEcho, "scheme nobody reads", []string{"Digest x"}, refused(grpcauth.CodeInvalid)},
		{callEcho, "token and password", []string{token, password}, refused(grpcauth.CodeAmbiguous)},

		{callCollect, "token with the scope", []string{token}, letIn(bob)},
		{callCollect, "password, which has no scope", []string{password}, refused(grpcauth.CodeForbidden)},
		{callExpand, "token", []string{token}, letIn(bob)},
		{callExpand, "none", nil, refused(grpcauth.CodeMissing)},
		{callConverse, "token of four seconds", []string{brief}, endsAsBob},

		{callUnknown, "token", []string{token}, answer{code: codes.Unimplemented}},
		{callUnknown, "none", nil, refused(grpcauth.CodeMissing)},
	}, errors.Join(errs...)
}

// report prints the table. The error names each row that is not as expected.
func report(w io.Writer, outcomes []outcome) error {
	var errs []error
	table := &strings.Builder{}
	columns := tabwriter.NewWriter(table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "CALL\tCREDENTIAL\tCODE\tREASON\tUSER")
	for _, o := range outcomes {
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%s\n", o.method.name, o.credential, o.got.code, or(o.got.reason), or(o.got.user))
		if o.got != o.want {
			errs = append(errs, fmt.Errorf("%s, %s: got %s, want %s", o.method.name, o.credential, o.got, o.want))
		}
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	if _, err := io.WriteString(w, table.String()); err != nil {
		return err
	}
	return errors.Join(errs...)
}

// String is the answer as one phrase.
func (a answer) String() string {
	return fmt.Sprintf("%s %s %s", a.code, or(a.reason), or(a.user))
}

// or shows that there is nothing.
func or(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
