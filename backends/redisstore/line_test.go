// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/entry"
	"github.com/leashcache/leash/internal/servers"
)

// line is what is between a client and its servers, and what can go wrong there.
type line struct {
	mu      sync.Mutex
	lose    string // lose the reply to the next command that contains this
	lost    int
	answers map[string]string // commands that contain the key never arrive and get this reply
	wires   []*wire
}

func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	w := &wire{Conn: c, line: l}
	l.set(func() { l.wires = append(l.wires, w) })
	return w, err
}

// silence lets nothing through any more where a subscription is.
func (l *line) silence() {
	l.set(func() {
		for _, w := range l.wires {
			w.dead = w.subscribed
		}
	})
}

func (l *line) loseReplyTo(command string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose, l.lost = command, 0
}

func (l *line) replies() (lost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

func (l *line) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

type wire struct {
	net.Conn
	line       *line
	losing     bool
	subscribed bool
	dead       bool
	answer     []byte
}

func (w *wire) Write(p []byte) (int, error) {
	w.line.mu.Lock()
	w.subscribed = w.subscribed || bytes.Contains(p, []byte("\r\nsubscribe\r\n"))
	if w.line.lose != "" && bytes.Contains(p, []byte(w.line.lose)) {
		w.line.lose, w.losing = "", true
	}
	for words, answer := range w.line.answers {
		if bytes.Contains(p, []byte(words)) {
			w.answer = []byte(answer)
		}
	}
	gone := w.dead || w.answer != nil
	w.line.mu.Unlock()
	if gone {
		return len(p), nil
	}
	return w.Conn.Write(p)
}

func (w *wire) Read(p []byte) (int, error) {
	w.line.mu.Lock()
	answer, losing := w.answer, w.losing
	w.line.mu.Unlock()
	if answer != nil {
		n := copy(p, answer)
		w.answer = w.answer[n:]
		if len(w.answer) == 0 {
			w.answer = nil
		}
		return n, nil
	}
	n, err := w.Conn.Read(p)
	if losing { // the server has done it
		_ = w.Conn.Close()
		w.line.set(func() { w.line.lost, w.losing = w.line.lost+1, false })
		return 0, io.EOF
	}
	w.line.mu.Lock()
	gone := w.dead
	w.line.mu.Unlock()
	if gone && err == nil {
		return w.Read(p) // until the deadline
	}
	return n, err
}

// node is a Store of its own, behind a line of its own.
type node struct {
	*Store
	line *line
}

func newNode(t *testing.T, srv *servers.Server, change ...func(*redis.Options)) node {
	t.Helper()
	l := &line{}
	o := &redis.Options{Addr: srv.Addr(), Dialer: l.dial}
	for _, f := range change {
		f(o)
	}
	rdb := redis.NewClient(o)
	return node{newStore(t, rdb), l}
}

// newStore waits for acknowledgements as long as a busy machine may take.
func newStore(t *testing.T, rdb redis.UniversalClient) *Store {
	s := New(rdb)
	s.wake.ack = 10 * time.Second
	t.Cleanup(func() { _, _ = s.Close(), rdb.Close() })
	return s
}

func asUser(name string) func(*redis.Options) {
	return func(o *redis.Options) { o.Username, o.Password = name, "secret" }
}

func newToken() entry.Token {
	var t entry.Token
	copy(t[:], newListener(nil, nil).id)
	return t
}

func newValue(key string, t entry.Token, payload string) []byte {
	b := append(entry.Begin(nil), payload...)
	entry.Finish(b, entry.NewScope("test", ""), key, entry.Sealed{
		Publisher: t, Kind: entry.Value, Created: time.Now(), Fresh: time.Minute,
	})
	return b
}

// try asks for a lease of 10 s.
func (n node) try(t *testing.T, key string, token entry.Token, seen []byte) (outcome, error) {
	t.Helper()
	b, left, err := n.Lease(t.Context(), key, entry.NewLease(token, 10*time.Second, 0), seen, false, 10*time.Second)
	return outcome{b, left}, err
}

func (n node) take(t *testing.T, key string, seen []byte) entry.Token {
	t.Helper()
	token := newToken()
	o, err := n.try(t, key, token, seen)
	h, _ := entry.HeadOf(o.entry) // nil, or the head that stands there now
	if err != nil || o.left != 0 || o.entry != nil && (len(o.entry) != entry.HeadSize || h.Token() != token) {
		t.Fatalf("no lease: %q, %v, %v", o.entry, o.left, err)
	}
	return token
}

func (n node) refuse(t *testing.T, key string, seen []byte) {
	t.Helper()
	if o, err := n.try(t, key, newToken(), seen); err != nil || o.left == 0 {
		t.Fatalf("not refused: %q, %v, %v", o.entry, o.left, err)
	}
}

func (n node) publish(t *testing.T, key string, token entry.Token, payload string) []byte {
	t.Helper()
	b := newValue(key, token, payload)
	if stored, err := n.Publish(t.Context(), key, b, time.Minute, false); err != nil || !stored {
		t.Fatalf("publish: %v, %v", stored, err)
	}
	return b
}

func (n node) get(t *testing.T, key string) []byte {
	t.Helper()
	b, err := n.Get(t.Context(), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hint waits for what wake tells.
func hint(t *testing.T, wake <-chan []byte, within time.Duration) []byte {
	t.Helper()
	select {
	case b := <-wake:
		return b
	case <-time.After(within):
		t.Fatalf("no hint within %v", within)
		return nil
	}
}

// eventually polls.
func eventually(t *testing.T, what string, within time.Duration, is func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}
