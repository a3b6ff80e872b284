// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/servers"
)

func TestSharedCachesForPlainPhases(t *testing.T) {
	for name, config := range map[string]nodeConfig{
		"Redis":     {Redis: "redis://" + servers.Redis(t).Addr()},
		"memcached": {Memcached: []string{servers.Memcached(t).Addr()}},
	} {
		c, err := config.connect()
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		ctx := t.Context()
		holds := func(when, want string) {
			t.Helper()
			if b, err := c.get(ctx, "k"); err != nil || string(b) != want || (b == nil) != (want == "") {
				t.Errorf("%s, %s: got %q, %v; want %q", name, when, b, err, want)
			}
		}
		holds("at first", "")
		if err := c.set(ctx, "k", []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
		holds("set", "v")
		if err := errors.Join(c.delete(ctx, "k"), c.delete(ctx, "k")); err != nil {
			t.Errorf("%s, two deletes: %v", name, err)
		}
		holds("deleted", "")
		if err := c.set(ctx, "k", []byte("v"), 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		holds("100 ms after it was set for 50 ms", "")
	}
}
