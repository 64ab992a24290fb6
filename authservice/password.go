// SPDX-License-Identifier: Apache-2.0

package authservice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/password"
)

// maxSecret and maxName bound what is looked at of a request. A password that the Hasher finds too long costs what a wrong one does.
const (
	maxSecret = 8 << 10
	maxName   = 1 << 10
)

var (
	errUnknown  = errors.New("no such user")
	errDisabled = errors.New("the account is disabled")
	errChanged  = errors.New("the account was changed during the login")
)

// account finds the account of a name. A cause is why the name is refused, which nobody must notice before a hash was computed; noName is one that
// is known before.
func (s *Server) account(ctx context.Context, name string, noName error) (account Account, cause, err error) {
	if noName != nil {
		return Account{}, noName, nil
	}
	account, err = s.opts.Account(ctx, name)
	switch {
	case err != nil && grpcauth.CodeOf(err) == grpcauth.CodeInvalid:
		return Account{}, err, nil
	case err != nil:
		return Account{}, nil, fmt.Errorf("the account could not be looked up: %w", err)
	}
	return account, unusable(account), nil
}

func unusable(account Account) error {
	switch {
	case account.User == nil:
		return errUnknown
	case account.Disabled:
		return errDisabled
	}
	return nil
}

// compare checks a password. Whatever is wrong with the account or the password, it costs one hash computation: where no hash can be compared, a
// dummy stands in.
func (s *Server) compare(ctx context.Context, account Account, cause error, pass string) error {
	hash := account.PasswordHash
	if cause != nil {
		hash = s.opts.Hasher.Dummy()
	}
	err := s.opts.Hasher.Verify(ctx, hash, pass)
	if errors.Is(err, password.ErrCorrupt) || errors.Is(err, password.ErrUnusable) {
		if dummy := s.opts.Hasher.Verify(ctx, s.opts.Hasher.Dummy(), ""); !mismatch(dummy) {
			err = dummy // the work was not done, so nothing is decided, as for a wrong password
		}
	}
	switch {
	case errors.Is(err, password.ErrBusy):
		return busy(err)
	case mismatch(err):
		return grpcauth.Errorf(grpcauth.CodeInvalid, "authservice: %w", errors.Join(cause, err))
	case err != nil:
		return err
	case cause != nil:
		return grpcauth.Errorf(grpcauth.CodeInvalid, "authservice: %w", cause)
	}
	return nil
}

func mismatch(err error) bool {
	return errors.Is(err, password.ErrMismatch) || errors.Is(err, password.ErrCorrupt) || errors.Is(err, password.ErrUnusable)
}

func busy(err error) error {
	return grpcauth.Errorf(grpcauth.CodeThrottled, "authservice: %w", err).WithRetryDelay(time.Second)
}

// rehash offers a better hash of a password that was just found right, and returns the hashes that the account may then have: a write that failed may
// have happened nevertheless.
func (s *Server) rehash(ctx context.Context, account Account, pass string) []string {
	hashes := []string{account.PasswordHash}
	if s.opts.SetPassword == nil || !s.opts.Hasher.NeedsRehash(account.PasswordHash) {
		return hashes
	}
	if better, err := s.opts.Hasher.Hash(ctx, pass); err == nil {
		_ = s.opts.SetPassword(ctx, account.User.Clone(), account.PasswordHash, better)
		hashes = append(hashes, better)
	}
	return hashes
}

// wellFormed refuses what is no name or no password, before anything is looked up.
func wellFormed(name string, passwords ...string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return grpcauth.Errorf(grpcauth.CodeMalformed, "authservice: the name is empty, too long, or not text")
	}
	for _, pass := range passwords {
		if len(pass) > maxSecret || !utf8.ValidString(pass) || strings.ContainsFunc(pass, unicode.IsControl) {
			return grpcauth.Errorf(grpcauth.CodeMalformed, "authservice: the password is too long, or not text")
		}
	}
	return nil
}
