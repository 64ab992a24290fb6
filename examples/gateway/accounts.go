// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authservice"
)

// accounts are those of one user. A real service has a table.
type accounts struct {
	user grpcauth.User

	mu   sync.Mutex
	hash string // guarded by mu
}

// byName is what a login asks for. The zero Account says that there is no such user.
func (a *accounts) byName(_ context.Context, name string) (authservice.Account, error) {
	if name != a.user.ID {
		return authservice.Account{}, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return authservice.Account{User: a.user.Clone(), PasswordHash: a.hash}, nil
}

// of is the account of a user who has logged in.
func (a *accounts) of(ctx context.Context, user *grpcauth.User) (authservice.Account, error) {
	return a.byName(ctx, user.ID)
}

// setPassword replaces the hash, if it is still the one that the user knew the password of.
func (a *accounts) setPassword(_ context.Context, _ *grpcauth.User, before, after string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hash != before {
		return authservice.ErrChanged
	}
	a.hash = after
	return nil
}
