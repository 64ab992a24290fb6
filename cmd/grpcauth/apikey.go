// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/grpcauth/grpcauth/backends/apikey"
	"github.com/grpcauth/grpcauth/store"
	"github.com/grpcauth/grpcauth/store/memstore"
)

const machineHelp = `Makes an API key, which is shown once, and the record that a store keeps of it: put that into the store as it is. A service that runs makes keys itself, with
Backend.Create.`

// recorder keeps the record that is made of a key.
type recorder struct {
	store.Store
	made store.Record
}

func (r *recorder) Put(ctx context.Context, rec store.Record) error {
	r.made = rec
	return r.Store.Put(ctx, rec)
}

func apiKeyCommand(args []string, _ io.Reader, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("new-api-key", flag.ContinueOnError)
	prefix := flags.String("prefix", "", "what the key begins with: whose it is and for which environment, such as `orders_live`")
	owner := flags.String("owner", "", "the `user` whose key it is")
	name := flags.String("name", "", "a `name` for lists of keys")
	switch file, err := parse(flags, args, machineHelp, stderr); {
	case err != nil:
		return err
	case file != "-":
		return fmt.Errorf("unexpected argument %q", file)
	case *owner == "":
		return errors.New("-owner is missing: write the user whose key it is")
	}
	memory, err := memstore.New(memstore.Options{})
	if err != nil {
		return err
	}
	kept := &recorder{Store: memory}
	keys, err := apikey.New(apikey.Options{Store: kept, Prefix: *prefix, FlushEvery: -1})
	if err != nil {
		return err
	}
	defer keys.Close() //nolint:errcheck // there is nothing to flush
	text, key, err := keys.Create(context.Background(), apikey.Key{Owner: *owner, Name: *name})
	if err != nil {
		return err
	}
	record, err := json.MarshalIndent(struct {
		ID    string `json:"id"`
		Key   string `json:"record_key"`
		Owner string `json:"record_owner"`
		Value string `json:"record_value"` // as a text: it counts byte by byte
	}{key.ID, kept.made.Key, kept.made.Owner, string(kept.made.Value)}, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s\n%s\n", text, record)
	return err
}
