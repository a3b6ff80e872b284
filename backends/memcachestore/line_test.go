// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/servers"
)

// slack is what a busy machine may add to a time.
const slack = 2 * time.Second

// line is what is between a client and its servers, and what can happen there. A
// command is written as verb and key, "gets users:1".
type line struct {
	mu     sync.Mutex
	dials  int
	sent   []string
	before map[string]func() error // runs once, when the command is about to be sent
	after  map[string]func() error // runs once, when its reply is there and not yet read
}

func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	l.dials++
	l.mu.Unlock()
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &wire{Conn: c, line: l}, err
}

// onSend runs f before command is sent; an error of f is that of the connection.
func (l *line) onSend(command string, f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.before == nil {
		l.before = map[string]func() error{}
	}
	l.before[command] = f
}

// onReply runs f when the reply to command is there; with an error the reply is lost.
func (l *line) onReply(command string, f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.after == nil {
		l.after = map[string]func() error{}
	}
	l.after[command] = f
}

// pending reports whether something that was to happen did not.
func (l *line) pending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.before)+len(l.after) > 0
}

// count returns what was sent since the last call.
func (l *line) count() (sent []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sent, l.sent = l.sent, nil
	return sent
}

func (l *line) take(from *map[string]func() error, command string) func() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := (*from)[command]
	delete(*from, command)
	if f == nil {
		return func() error { return nil }
	}
	return f
}

type wire struct {
	net.Conn
	line    *line
	command string // whose reply has not come
}

func (w *wire) Write(p []byte) (int, error) {
	first, _, _ := strings.Cut(string(p[:min(len(p), 300)]), "\r\n")
	if f := strings.Fields(first); len(f) > 1 && strings.Contains(" gets add set cas delete ", " "+f[0]+" ") {
		w.command = f[0] + " " + f[1]
		w.line.mu.Lock()
		w.line.sent = append(w.line.sent, w.command)
		w.line.mu.Unlock()
		if err := w.line.take(&w.line.before, w.command)(); err != nil {
			return 0, err
		}
	}
	return w.Conn.Write(p)
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if c := w.command; c != "" {
		w.command = ""
		if lost := w.line.take(&w.line.after, c)(); lost != nil {
			return 0, lost
		}
	}
	return n, err
}

// peer is a Store on a client of its own, behind a line of its own. It compares no
// lists, so it sends only what its steps need.
type peer struct {
	*Store
	line *line
}

func newPeer(t *testing.T, addrs ...string) peer {
	t.Helper()
	var list memcache.ServerList
	if err := list.SetServers(addrs...); err != nil {
		t.Fatal(err)
	}
	l := &line{}
	c := memcache.NewFromSelector(&list)
	c.MaxIdleConns, c.Timeout, c.DialContext = 64, 10*time.Second, l.dial
	t.Cleanup(func() { _ = c.Close() })
	return peer{New(c, Options{Logger: slog.New(slog.DiscardHandler)}), l}
}

func newToken() (t entry.Token) {
	_, _ = rand.Read(t[:]) // never fails
	return t
}

func newValue(key string, t entry.Token, payload string) []byte {
	b := append(entry.Begin(nil), payload...)
	entry.Finish(b, entry.NewScope("test", ""), key, entry.Sealed{
		Publisher: t, Kind: entry.Value, Created: time.Now(), Fresh: time.Minute,
	})
	return b
}

// store puts a value there that somebody made.
func (s *Store) store(t *testing.T, key, payload string, life time.Duration) []byte {
	t.Helper()
	v := newValue(key, newToken(), payload)
	if stored, err := s.Publish(t.Context(), key, v, life, true); err != nil || !stored {
		t.Fatalf("publish with force: %v, %v", stored, err)
	}
	return v
}

// asked is what a Lease brought.
type asked struct {
	token   entry.Token
	entry   []byte
	left    time.Duration
	granted bool
	err     error
}

func (s *Store) ask(t *testing.T, key string, seen []byte, steal bool, ttl time.Duration) asked {
	t.Helper()
	a := asked{token: newToken()}
	a.entry, a.left, a.err = s.Lease(t.Context(), key, entry.NewLease(a.token, ttl, 0), seen, steal, ttl)
	h, ok := entry.HeadOf(a.entry)
	a.granted = a.err == nil && a.left == 0 && (a.entry == nil || ok && h.Token() == a.token)
	return a
}

// lease asks for a lease that must be granted.
func (s *Store) lease(t *testing.T, key string, seen []byte, ttl time.Duration) entry.Token {
	t.Helper()
	a := s.ask(t, key, seen, false, ttl)
	if !a.granted {
		t.Fatalf("%q: refused: %d bytes, %v left, %v", key, len(a.entry), a.left, a.err)
	}
	return a.token
}

// refused asks for a lease that holder has.
func (s *Store) refused(t *testing.T, key string, seen []byte, holder entry.Token) {
	t.Helper()
	a := s.ask(t, key, seen, false, 10*time.Second)
	if h, ok := entry.HeadOf(a.entry); a.err != nil || a.granted || a.left <= 0 || !ok || h.Token() != holder {
		t.Errorf("%q: granted %v, %v left, %v; want that the holder is told", key, a.granted, a.left, a.err)
	}
}

func (s *Store) publish(t *testing.T, key string, token entry.Token, payload string) []byte {
	t.Helper()
	v := newValue(key, token, payload)
	if stored, err := s.Publish(t.Context(), key, v, time.Minute, false); err != nil || !stored {
		t.Fatalf("%q: publish: %v, %v", key, stored, err)
	}
	return v
}

func (s *Store) get(t *testing.T, key string) []byte {
	t.Helper()
	b, err := s.Get(t.Context(), key, nil)
	if err != nil {
		t.Fatalf("%q: get: %v", key, err)
	}
	return b
}

// value is the part of an entry that Publish wrote: neither lease nor note.
func value(b []byte) string {
	h, ok := entry.HeadOf(b)
	if !ok {
		return string(b)
	}
	b = bytes.Clone(b[:min(len(b), entry.HeadSize+h.Size())])
	entry.Head(b[:entry.HeadSize]).ClearLease()
	return string(b)
}

// rejected tries all that a token permits; nothing of it may be done.
func (s *Store) rejected(t *testing.T, key string, token entry.Token) {
	t.Helper()
	if stored, err := s.Publish(t.Context(), key, newValue(key, token, "not the holder's"), time.Minute, false); err != nil || stored {
		t.Errorf("publish: %v, %v", stored, err)
	}
	if held, err := s.Renew(t.Context(), key, token[:], time.Minute); err != nil || held {
		t.Errorf("renew: %v, %v", held, err)
	}
	for _, backoff := range []time.Duration{0, time.Minute} {
		if held, err := s.Abandon(t.Context(), key, token[:], backoff); err != nil || held {
			t.Errorf("abandon, back-off %v: %v, %v", backoff, held, err)
		}
	}
}

// raw is a plain client of one server.
type raw struct{ *memcache.Client }

func newRaw(t *testing.T, addr string) raw {
	c := memcache.New(addr)
	c.Timeout = 10 * time.Second
	t.Cleanup(func() { _ = c.Close() })
	return raw{c}
}

// item returns what stands there, nil for nothing.
func (r raw) item(t *testing.T, k string) *memcache.Item {
	t.Helper()
	it, err := r.Get(k)
	if err != nil && err != memcache.ErrCacheMiss { //nolint:errorlint // the client does not wrap it
		t.Fatal(err)
	}
	return it
}

// shows is what stands under a key and its guard, to the last bit and write.
func (r raw) shows(t *testing.T, key string) string {
	t.Helper()
	var s strings.Builder
	for _, k := range []string{serverKey(key), serverKey(key) + guardMark} {
		if it := r.item(t, k); it != nil {
			fmt.Fprintf(&s, "%s: %d %x\n", k, it.CasID, it.Value)
		}
	}
	return s.String()
}

// nextCAS makes the server's next write get the CAS id want.
func (r raw) nextCAS(want uint64) error {
	for {
		if err := r.Set(&memcache.Item{Key: "counting"}); err != nil {
			return err
		}
		it, err := r.Get("counting")
		switch {
		case err != nil:
			return err
		case it.CasID == want-1:
			return nil
		case it.CasID >= want:
			return fmt.Errorf("the server is at CAS id %d, want %d next", it.CasID, want)
		}
	}
}

// life is how long an item still lives, in the server's seconds. It takes the meta
// protocol, which the client does not speak.
func life(t *testing.T, srv *servers.Server, k string) time.Duration {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "mg %s t\r\n", k)
	reply, err := bufio.NewReader(conn).ReadString('\n')
	seconds, bad := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(reply, "HD t")))
	if err != nil || bad != nil {
		t.Fatalf("%s: %q, %v", k, reply, err)
	}
	return time.Duration(seconds) * time.Second
}

// until polls.
func until(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// whole goes through all steps of a key.
func whole(t *testing.T, a, b *Store, key string) {
	t.Helper()
	if got := a.get(t, key); got != nil {
		t.Errorf("%q: before anything there are %q", key, got)
	}
	token := a.lease(t, key, nil, 10*time.Second)
	b.refused(t, key, nil, token)
	if held, err := a.Renew(t.Context(), key, token[:], 10*time.Second); err != nil || !held {
		t.Errorf("%q: renew: %v, %v", key, held, err)
	}
	v := a.publish(t, key, token, "first")
	if got := b.get(t, key); value(got) != value(v) {
		t.Errorf("%q: read %q, want %q", key, got, v)
	}
	token = b.lease(t, key, v, 10*time.Second)
	a.refused(t, key, v, token)
	if held, err := b.Renew(t.Context(), key, token[:], 10*time.Second); err != nil || !held {
		t.Errorf("%q: renew on a value: %v, %v", key, held, err)
	}
	if held, err := b.Abandon(t.Context(), key, token[:], 0); err != nil || !held {
		t.Errorf("%q: abandon: %v, %v", key, held, err)
	}
	v = a.publish(t, key, a.lease(t, key, v, 10*time.Second), "second")
	if got := b.get(t, key); value(got) != value(v) {
		t.Errorf("%q: read %q, want %q", key, got, v)
	}
	if err := b.Delete(t.Context(), key); err != nil || a.get(t, key) != nil {
		t.Errorf("%q: delete: %v", key, err)
	}
}
