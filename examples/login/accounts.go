// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/authservice"
	"github.com/grpcauth/grpcauth/store"
)

// accounts keeps this service's users where its sessions are. A real service has a table of its own.
type accounts struct{ store store.Store }

type account struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Scopes       []string `json:"scopes"`
	PasswordHash string   `json:"password_hash"`
	Disabled     bool     `json:"disabled"`
}

func accountKey(name string) string { return "account/" + name }

// byName is what a login asks for. The zero Account says that there is no such user.
func (a accounts) byName(ctx context.Context, name string) (authservice.Account, error) {
	found, _, err := a.get(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return authservice.Account{}, nil
	}
	if err != nil {
		return authservice.Account{}, err
	}
	return authservice.Account{
		User: &grpcauth.User{ID: found.ID, Name: found.Name, Scopes: found.Scopes}, PasswordHash: found.PasswordHash, Disabled: found.Disabled,
	}, nil
}

// of is the account of a user who has logged in. Here users are called what they log in with.
func (a accounts) of(ctx context.Context, user *grpcauth.User) (authservice.Account, error) {
	return a.byName(ctx, user.ID)
}

func (a accounts) get(ctx context.Context, name string) (account, int64, error) {
	rec, err := store.Get(ctx, a.store, accountKey(name))
	if err != nil {
		return account{}, 0, err
	}
	var found account
	if err := json.Unmarshal(rec.Value, &found); err != nil {
		return account{}, 0, fmt.Errorf("the account is damaged: %w", err)
	}
	return found, rec.Version, nil
}

// create makes an account, unless there is one of the name, whose password then stays.
func (a accounts) create(ctx context.Context, name, hash string) (created bool, err error) {
	value, err := json.Marshal(account{ID: name, Name: name, Scopes: []string{"echo"}, PasswordHash: hash})
	if err != nil {
		return false, err
	}
	err = a.store.Put(ctx, store.Record{Key: accountKey(name), Value: value})
	if errors.Is(err, store.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// setPassword replaces a user's hash, if it is still the one that she knew the password of.
func (a accounts) setPassword(ctx context.Context, user *grpcauth.User, old, hash string) error {
	found, version, err := a.get(ctx, user.ID)
	if err != nil {
		return err
	}
	if found.PasswordHash != old {
		return authservice.ErrChanged
	}
	found.PasswordHash = hash
	value, err := json.Marshal(found)
	if err != nil {
		return err
	}
	err = a.store.Put(ctx, store.Record{Key: accountKey(user.ID), Value: value, Version: version})
	if errors.Is(err, store.ErrConflict) {
		return authservice.ErrChanged
	}
	return err
}
