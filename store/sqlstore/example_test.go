// SPDX-License-Identifier: Apache-2.0

package sqlstore_test

import (
	"fmt"
	"strings"

	"github.com/grpcauth/grpcauth/store/sqlstore"
)

// Those who apply their schemas themselves add this to them.
func Example() {
	schema, err := sqlstore.Schema(sqlstore.PostgreSQL, "auth")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(schema) {
		if strings.HasPrefix(line, "CREATE TABLE") {
			fmt.Print(line)
		}
	}
	// Output:
	// CREATE TABLE IF NOT EXISTS auth_records (
	// CREATE TABLE IF NOT EXISTS auth_counters (
}
