// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var sources embed.FS

// A script is one step of the protocol. Renewal, abandonment and delete must
// work on a server that is out of memory; Redis 7 allows that to a script which
// says so in its first line, and older servers do not understand the line.
type script struct {
	shebang, plain source
}

type source struct{ text, sha string }

const allowOOM = "#!lua flags=allow-oom\n"

var (
	leaseScript   = load("lease", "")
	publishScript = load("publish", read("quick"))
	renewScript   = load("renew", allowOOM)
	abandonScript = load("abandon", allowOOM)
	deleteScript  = load("delete", allowOOM)
)

func load(name, first string) *script {
	text := read("lib") + read(name)
	return &script{shebang: hashed(first + text), plain: hashed(text)}
}

func read(name string) string {
	b, err := sources.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // embedded: it is there or this does not compile
	}
	return string(b)
}

// hashed uses SHA-1 because it is the name that Redis gives to a script.
func hashed(text string) source {
	sum := sha1.Sum([]byte(text))
	return source{text, hex.EncodeToString(sum[:])}
}

// once is a command that go-redis does not send again when it gets no reply.
type once struct{ *redis.Cmd }

func (once) NoRetry() bool { return true }

func (o once) Clone() redis.Cmder { return once{o.Cmd.Clone().(*redis.Cmd)} }

// sending says whether go-redis may send a command again by itself.
type sending bool

const (
	sendOnce  sending = false
	sendAgain sending = true // for what does no harm when it is done twice
)

func (s *Store) send(ctx context.Context, how sending, keyPos int8, args ...any) (any, error) {
	cmd := redis.NewCmd(ctx, args...)
	cmd.SetFirstKeyPos(keyPos)
	var c redis.Cmder = cmd
	if how == sendOnce {
		c = once{cmd}
	}
	_ = s.rdb.Process(ctx, c) // the same error is in cmd, and an AutoPipeline knows it later
	return cmd.Result()
}

// errNoScript: this server runs no scripts for us.
var errNoScript = errors.New("scripts are forbidden")

// eval runs a script on one key. A script that was not there has done nothing,
// so sending it again is the first time that it is run.
func (s *Store) eval(ctx context.Context, how sending, sc *script, key string, args ...any) (any, error) {
	if s.noScript.Load() {
		return nil, errNoScript
	}
	src := sc.shebang
	if s.noShebang.Load() {
		src = sc.plain
	}
	words := append([]any{"evalsha", src.sha, 1, key}, args...)
	v, err := s.send(ctx, how, 3, words...)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		words[0], words[1] = "eval", src.text
		v, err = s.send(ctx, how, 3, words...)
	}
	switch {
	case err == nil:
		return v, nil
	case src != sc.plain && strings.Contains(err.Error(), "near '#'"):
		s.noShebang.Store(true)
		return s.eval(ctx, how, sc, key, args...)
	case forbidden(err, "eval"):
		if !s.noScript.Swap(true) {
			s.log.Warn("redisstore: scripts are forbidden, using WATCH and MULTI instead", "error", err)
		}
		return nil, errNoScript
	}
	return nil, err
}

// forbidden reports whether the server refuses a command as such: by an ACL, or
// because an operator took it away. A key outside of the ACL is something else.
func forbidden(err error, command string) bool {
	if !redis.HasErrorPrefix(err, "NOPERM") && !redis.HasErrorPrefix(err, "unknown command") {
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "'"+command) || strings.Contains(text, "`"+command)
}

// yes reads the reply of a script that answers 1 or 0.
func yes(v any, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	if v != int64(0) && v != int64(1) {
		return false, fmt.Errorf("odd reply of type %T", v)
	}
	return v == int64(1), nil
}
