// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	_ "embed" // for the scripts
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/grpcauth/grpcauth/store"
)

// script is a script in Lua, with the hash by which Redis knows it once it has seen it. Each reads and writes one key, so that it works in a
// Cluster. It answers with its first argument, which no other call has, and with what it has to say: the answer to another call is known.
type script struct{ text, hash string }

//go:embed put.lua
var putText string

//go:embed add.lua
var addText string

//go:embed index.lua
var indexText string

//go:embed tidy.lua
var tidyText string

var (
	putScript   = newScript(putText)
	addScript   = newScript(addText)
	indexScript = newScript(indexText)
	tidyScript  = newScript(tidyText)
)

func newScript(text string) script { return script{text, redis.NewScript(text).Hash()} }

// once is a command that go-redis sends once. One whose answer was lost has been done or not; done again, it could meet what it did
// itself, undo what was done since, or count twice.
type once struct{ *redis.Cmd }

// NoRetry is asked by go-redis.
func (once) NoRetry() bool { return true }

// call is a script with its arguments.
type call struct {
	script    script
	key, mark string
	args      []any
}

func newCall(s script, key string, args ...any) call {
	mark := strconv.FormatUint(rand.Uint64(), 36) //nolint:gosec // it tells answers apart and is no secret
	return call{script: s, key: key, mark: mark, args: args}
}

func (c call) byHash(ctx context.Context) once { return c.command(ctx, "evalsha", c.script.hash) }
func (c call) byText(ctx context.Context) once { return c.command(ctx, "eval", c.script.text) }

func (c call) command(ctx context.Context, name, script string) once {
	return once{redis.NewCmd(ctx, append([]any{name, script, 1, c.key, c.mark}, c.args...)...)}
}

// run has scripts run, the first before the second, and returns what they said. If the first fails, the second has been run or not.
func (s *Store) run(ctx context.Context, calls ...call) ([]string, error) {
	return s.send(ctx, s.ordered && len(calls) > 1, calls)
}

// runTogether has scripts run in whatever order, and returns what they said. A client of a Cluster sends them to all nodes at once.
func (s *Store) runTogether(ctx context.Context, calls ...call) ([]string, error) {
	return s.send(ctx, len(calls) > 1, calls)
}

// send has scripts run, sent together or each after the answer to the one before.
func (s *Store) send(ctx context.Context, together bool, calls []call) ([]string, error) {
	cmds := make([]once, len(calls))
	for i, c := range calls {
		cmds[i] = c.byHash(ctx)
	}
	if together {
		pipe := s.client.Pipeline()
		for _, cmd := range cmds {
			_ = pipe.Process(ctx, cmd) // It is only queued.
		}
		_, _ = pipe.Exec(ctx) // Each command has its own error.
	}
	answers := make([]string, len(calls))
	for i, c := range calls {
		if !together {
			_ = s.client.Process(ctx, cmds[i]) // The command has the error, too.
		}
		if redis.HasErrorPrefix(cmds[i].Err(), "NOSCRIPT") {
			cmds[i] = c.byText(ctx)
			_ = s.client.Process(ctx, cmds[i])
		}
		text, err := cmds[i].Text()
		if err != nil {
			return nil, failed(ctx, err)
		}
		answer, ok := strings.CutPrefix(text, c.mark+" ")
		if !ok {
			return nil, store.ErrSwapped
		}
		if answer == "full" {
			return nil, errFull
		}
		answers[i] = answer
	}
	return answers, nil
}
