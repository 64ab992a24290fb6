// SPDX-License-Identifier: Apache-2.0

package origin

import (
	"context"

	"google.golang.org/grpc/metadata"
)

// Carrier is a context that has the metadata of its call, and gives it away without a copy.
type Carrier interface {
	context.Context

	// IncomingValues returns the values of a key in lower case. They are not changed.
	IncomingValues(key string) []string
}

// Values returns the values of an incoming metadata key. They are not changed.
func Values(ctx context.Context, key string) []string {
	if c, ok := ctx.(Carrier); ok {
		return c.IncomingValues(key)
	}
	return metadata.ValueFromIncomingContext(ctx, key)
}
