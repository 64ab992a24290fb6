// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
	"github.com/grpcauth/grpcauth/store/redisstore"
	"github.com/grpcauth/grpcauth/store/sqlstore"
)

const storesHelp = "sqlite:FILE, memory, postgres:URL or redis:URL"

// database is where logins are kept, and failed attempts counted.
type database interface {
	store.Store
	store.Counter
}

// openStore opens what -store names.
func openStore(ctx context.Context, name string) (s database, stop func() error, err error) {
	kind, place, _ := strings.Cut(name, ":")
	switch {
	case kind == "memory" && place == "":
		s, err = memstore.New(memstore.Options{})
		return s, func() error { return nil }, err
	case kind == "sqlite" && place != "":
		// One writer at a time is the most that SQLite has: others wait for it instead of failing, and readers do not wait.
		return openSQL(ctx, "sqlite", "file:"+place+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)", sqlstore.SQLite)
	case (kind == "postgres" || kind == "postgresql") && place != "":
		return openSQL(ctx, "pgx", urlOf(kind, place), sqlstore.PostgreSQL)
	case kind == "redis" && place != "":
		opts, err := redis.ParseURL(urlOf(kind, place))
		if err != nil {
			return nil, nil, errors.New("-store: the URL of Redis is malformed: write redis://HOST:PORT") // the URL may hold a password
		}
		opts.ContextTimeoutEnabled = true // a call's deadline is one for the store too
		client := redis.NewClient(opts)
		s, err := redisstore.New(redisstore.Options{Client: client})
		return s, client.Close, err
	}
	return nil, nil, fmt.Errorf("-store %q: write %s", kind, storesHelp)
}

// urlOf takes both redis:redis://host and redis://host.
func urlOf(kind, place string) string {
	if strings.HasPrefix(place, "//") {
		return kind + ":" + place
	}
	return place
}

func openSQL(ctx context.Context, driver, dsn string, dialect sqlstore.Dialect) (database, func() error, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, nil, fmt.Errorf("-store: the %s database cannot be opened", dialect) // the error may hold a password
	}
	s, err := sqlstore.New(ctx, sqlstore.Options{DB: db, Dialect: dialect})
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return s, func() error { return errors.Join(s.Close(), db.Close()) }, nil
}
