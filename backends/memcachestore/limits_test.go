// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/servers"
)

// logbook is a slog.Handler that keeps what is said.
type logbook struct {
	mu   sync.Mutex
	said []slog.Record
}

func (l *logbook) Enabled(context.Context, slog.Level) bool { return true }
func (l *logbook) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logbook) WithGroup(string) slog.Handler            { return l }
func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, r)
	return nil
}

// at returns what was said at one level.
func (l *logbook) at(level slog.Level) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.said {
		if r.Level == level {
			line := r.Message
			r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
			lines = append(lines, line)
		}
	}
	return lines
}

var key200 = "users:" + strings.Repeat("k", 194)

// largest finds the size of the largest value that a server takes under a key.
func largest(t *testing.T, addr, key string, refused int) int {
	t.Helper()
	r := newRaw(t, addr)
	taken := 1
	for refused-taken > 1 {
		n := (taken + refused) / 2
		switch err := r.Set(&memcache.Item{Key: key, Value: make([]byte, n)}); {
		case err == nil:
			taken = n
		case strings.Contains(err.Error(), "too large"):
			refused = n
		default:
			t.Fatal(err)
		}
	}
	return taken
}

// What we hold for the largest item is a little less than what the server does, for
// each key and each -I.
func TestBoundIsTheServers(t *testing.T) {
	t.Parallel()
	for arg, size := range map[string]int{"512k": 512 << 10, "1m": 1 << 20, "2m": 2 << 20} {
		addr := servers.Memcached(t, "-I", arg).Addr()
		for _, key := range []string{"k", key200, long243} {
			bound := size - itemOverhead - len(key)
			if n := largest(t, addr, key, 2*size); bound > n || bound < n-100 {
				t.Errorf("-I %s, key of %d bytes: the largest value is %d, and the bound %d", arg, len(key), n, bound)
			}
		}
	}
}

// sized is a value such that its item is n bytes.
func sized(key string, token entry.Token, n int) []byte {
	return newValue(key, token, strings.Repeat("x", n-len(serverKey(key))-itemOverhead-noteSize-entry.Overhead))
}

// An item that is too large is found out before anything is sent: what stood there
// stands, and the lease can be given up. One byte less is taken, and leased.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	for arg, o := range map[string]Options{"1m": {}, "2m": {MaxItem: 2 << 20}, "5m": {MaxItem: 10_000}} {
		p := newPeer(t, servers.Memcached(t, "-I", arg).Addr())
		o.Logger = p.log
		p.Store = New(p.c, o)
		limit := max(o.MaxItem, 10_000)
		if o.MaxItem == 0 {
			limit = 1 << 20
		}
		for _, key := range []string{"k", key200, strings.Repeat("long", 100)} {
			v := p.publish(t, key, p.lease(t, key, nil, time.Minute), "stale")
			token := p.lease(t, key, v, time.Minute)
			p.line.count()
			for _, force := range []bool{false, true} {
				stored, err := p.Publish(t.Context(), key, sized(key, token, limit+1), time.Minute, force)
				if stored || !errors.Is(err, ErrTooLarge) {
					t.Errorf("-I %s, force %v: %v, %v", arg, force, stored, err)
				} else if strings.Contains(err.Error(), key) && len(key) > 1 {
					t.Errorf("the key is in the error: %v", err)
				}
			}
			if sent := p.line.count(); len(sent) > 0 {
				t.Errorf("-I %s: sent %q", arg, sent)
			}
			if got := p.get(t, key); value(got) != value(v) {
				t.Errorf("-I %s: read %d bytes", arg, len(got))
			}
			if held, err := p.Abandon(t.Context(), key, token[:], 0); err != nil || !held {
				t.Errorf("-I %s: abandon: %v, %v", arg, held, err)
			}

			token = p.lease(t, key, v, time.Minute)
			v = sized(key, token, limit)
			for _, force := range []bool{false, true} {
				if stored, err := p.Publish(t.Context(), key, v, time.Minute, force); err != nil || !stored {
					t.Errorf("-I %s, force %v: %v, %v", arg, force, stored, err)
				}
			}
			token = p.lease(t, key, v, time.Minute)
			if held, err := p.Renew(t.Context(), key, token[:], time.Minute); err != nil || !held {
				t.Errorf("-I %s: renew: %v, %v", arg, held, err)
			}
			if held, err := p.Abandon(t.Context(), key, token[:], time.Second); err != nil || !held {
				t.Errorf("-I %s: abandon: %v, %v", arg, held, err)
			}
			if got := p.get(t, key); value(got) != value(v) {
				t.Errorf("-I %s: read %d bytes, want %d", arg, len(got), len(v))
			}
		}
	}
}

// counting is a Dial that nobody should use.
func counting(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, _, addr string) (net.Conn, error) {
		t.Errorf("%s was dialled", addr)
		return nil, errors.New("not to be dialled")
	}
}

// What is wrong with a Connect is found before anything is sent, and all at once.
func TestConnectRefuses(t *testing.T) {
	t.Parallel()
	const good = "127.0.0.1:11211"
	for _, c := range []struct {
		servers []string
		o       ConnectOptions
		want    []string
	}{
		{nil, ConnectOptions{}, []string{"no servers"}},
		{[]string{}, ConnectOptions{}, []string{"no servers"}},
		{[]string{"127.0.0.1"}, ConnectOptions{}, []string{`"127.0.0.1" is no host:port`}},
		{[]string{good, "", ":1", "host:", "::1"}, ConnectOptions{}, []string{`""`, `":1"`, `"host:"`, `"::1"`}},
		{[]string{good, "cache.invalid:11211"}, ConnectOptions{}, []string{"cache.invalid"}},
		{[]string{"127.0.0.1:nonsense"}, ConnectOptions{}, []string{"nonsense"}},
		{[]string{good}, ConnectOptions{Conns: -1}, []string{"Conns", "-1"}},
		{[]string{good}, ConnectOptions{Timeout: -1}, []string{"Timeout", "-1ns"}},
		{[]string{good}, ConnectOptions{Options: Options{MaxItem: 1023}}, []string{"MaxItem", "1023"}},
		{[]string{good}, ConnectOptions{Options: Options{MaxItem: -1}}, []string{"MaxItem", "-1"}},
		{
			[]string{"a", "b"}, ConnectOptions{Conns: -2, Timeout: -time.Second, Options: Options{MaxItem: 5}},
			[]string{`"a"`, `"b"`, "Conns", "-2", "Timeout", "-1s", "MaxItem", "5"},
		},
	} {
		c.o.Dial = counting(t)
		s, err := Connect(c.servers, c.o)
		if err == nil {
			t.Errorf("%q, %+v: no error", c.servers, c.o)
			_ = s.Close()
			continue
		}
		for _, want := range append(c.want, "memcachestore: ") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v; want %q in it", c.servers, err, want)
			}
		}
	}
	_, err := ConnectTo(nil, ConnectOptions{Conns: -1, Timeout: -2})
	for _, want := range []string{"no selector", "Conns", "-1", "Timeout", "-2ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ConnectTo: %v; want %q in it", err, want)
		}
	}
}

// A Store on no client, or for items of no size, says so and sends nothing, and
// leash.New refuses it.
func TestCheck(t *testing.T) {
	t.Parallel()
	c := memcache.New("127.0.0.1:11211")
	c.DialContext, c.MaxIdleConns = counting(t), 10
	for want, s := range map[string]*Store{
		"no client": New(nil),
		"1023":      New(c, Options{MaxItem: 1023}),
		"-1":        New(c, Options{MaxItem: -1}),
	} {
		bad := func(what string, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", what, err, want)
			}
		}
		bad("Check", s.Check())
		for name, step := range steps(s, "users:1", newValue("users:1", newToken(), "stale")) {
			bad(name, step())
		}
		_, err := leash.New[string]("users", s, leash.Options{TTL: time.Minute})
		bad("leash.New", err)
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := New(c, Options{MaxItem: 1024}).Check(); err != nil {
		t.Error(err)
	}
}

// Arguments that the contract does not know.
func TestOddArguments(t *testing.T) {
	t.Parallel()
	c := memcache.New("127.0.0.1:11211")
	c.DialContext, c.MaxIdleConns = counting(t), 10
	s, ctx, token := New(c), t.Context(), newToken()
	for _, ttl := range []time.Duration{0, -1} {
		if _, _, err := s.Lease(ctx, "users:1", entry.NewLease(token, time.Second, 0), nil, false, ttl); !errors.Is(err, errTTL) {
			t.Errorf("lease for %v: %v", ttl, err)
		}
		if _, err := s.Publish(ctx, "users:1", newValue("users:1", token, "v"), ttl, true); !errors.Is(err, errTTL) {
			t.Errorf("publish for %v: %v", ttl, err)
		}
		if _, err := s.Renew(ctx, "users:1", token[:], ttl); !errors.Is(err, errTTL) {
			t.Errorf("renew for %v: %v", ttl, err)
		}
	}
	for _, b := range [][]byte{nil, []byte("x"), make([]byte, entry.HeadSize)} {
		if _, _, err := s.Lease(ctx, "users:1", b, nil, false, time.Second); !errors.Is(err, errHead) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// A client with the pool that it has by default gets a warning, once, and no limit:
// reads that wait for one of two connections would be worse than new ones.
func TestLimit(t *testing.T) {
	t.Parallel()
	for idle, want := range map[int]int{0: 0, 1: 0, 2: 0, 3: 3, 64: 64} {
		c := memcache.New("127.0.0.1:11211")
		c.MaxIdleConns = idle
		said := &logbook{}
		s := New(c, Options{Logger: slog.New(said)})
		if s.Limit() != want || s.Check() != nil {
			t.Errorf("%d idle connections: limit %d, %v", idle, s.Limit(), s.Check())
		}
		warned := said.at(slog.LevelWarn)
		if (len(warned) == 1) != (want == 0) || len(warned) > 1 || len(said.said) != len(warned) {
			t.Errorf("%d idle connections: said %q", idle, warned)
		} else if want == 0 && !strings.Contains(warned[0], "MaxIdleConns") {
			t.Errorf("said %q", warned)
		}
	}
	for _, c := range []struct{ servers, conns, want int }{{1, 0, defaultConns}, {3, 0, 3 * defaultConns}, {3, 5, 15}, {1, 1, 1}} {
		said := &logbook{}
		o := ConnectOptions{Conns: c.conns, Dial: counting(t), Options: Options{Logger: slog.New(said)}}
		s, err := Connect([]string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}[:c.servers], o)
		if err != nil {
			t.Fatal(err)
		}
		if s.Limit() != c.want || s.c.MaxIdleConns < c.conns || s.c.Timeout != defaultTimeout || len(said.said) > 0 {
			t.Errorf("%+v: limit %d, %d idle connections, timeout %v, said %q", c, s.Limit(), s.c.MaxIdleConns, s.c.Timeout, said.at(slog.LevelWarn))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
