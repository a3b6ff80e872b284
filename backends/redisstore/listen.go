// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A node listens on one connection, while somebody in it waits. It has a channel
// per namespace, the part of a key up to its first colon, so that an ACL which
// allows the channels "users:*" allows this one:
//
//	users:~leash:<random id of the node>
//
// Published messages reach it through any node of a cluster.
const channelMark = "~leash:"

const (
	pingEvery   = 900 * time.Millisecond // a dead connection is noticed within two of them
	idleAfter   = 10 * time.Second       // without watches
	ackWithin   = 100 * time.Millisecond // what a Lease spends on a subscription; then its caller polls
	failedAfter = 3 * time.Second        // without a connection
	blockedFor  = 30 * time.Second       // no new attempt after a refusal or failure
	redialAfter = 100 * time.Millisecond
)

// listener is the subscription of one Store.
type listener struct {
	rdb     redis.UniversalClient
	log     *slog.Logger
	id      string
	watches watches
	idle    time.Duration // idleAfter, and
	ack     time.Duration // ackWithin, but for tests

	ctx    context.Context // ends with close
	cancel context.CancelFunc

	mu       sync.Mutex // guards what follows
	channels map[string]*subscription
	blocked  map[string]time.Time // channels not to be tried until then
	logged   bool                 // why
	used     time.Time            // when somebody last watched
	pubsub   *redis.PubSub        // nil while nobody listens
	done     chan struct{}        // closed when that has ended
}

// subscription is one channel of this node.
type subscription struct {
	acked chan struct{} // closed when the server has acknowledged it, or it is given up
	up    bool          // acknowledged, and the connection not lost since
	lost  bool          // the connection was lost: messages may have been missed
}

func newListener(rdb redis.UniversalClient, log *slog.Logger) *listener {
	var id [16]byte
	_, _ = rand.Read(id[:]) // does not fail since Go 1.24
	l := &listener{
		rdb: rdb, log: log, id: hex.EncodeToString(id[:]), idle: idleAfter, ack: ackWithin,
		watches:  watches{byKey: map[string][]*watch{}},
		channels: map[string]*subscription{},
		blocked:  map[string]time.Time{},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// channel is where this node hears of key, or nothing when the name would be too
// long for the list of waiters.
func (l *listener) channel(key string) string {
	namespace := key[:strings.IndexByte(key, ':')+1]
	if name := namespace + channelMark + l.id; len(name) <= 255 {
		return name
	}
	return ""
}

// able reports whether a watch of key may be told something.
func (l *listener) able(key string) bool {
	name := l.channel(key)
	l.mu.Lock()
	defer l.mu.Unlock()
	return name != "" && l.allowed(name)
}

func (l *listener) allowed(name string) bool {
	return l.ctx.Err() == nil && !time.Now().Before(l.blocked[name])
}

// listening returns the channel of key if somebody watches it and the
// subscription stands.
func (l *listener) listening(key string) string {
	name := l.channel(key)
	if name == "" || !l.watches.has(key) {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = time.Now()
	if sub := l.channels[name]; sub == nil || !sub.up {
		return ""
	}
	return name
}

// listen is listening that first subscribes, if need be, and waits a moment for
// the acknowledgement.
func (l *listener) listen(ctx context.Context, key string) string {
	name := l.channel(key)
	if name == "" || !l.watches.has(key) {
		return ""
	}
	if acked := l.subscribe(name); acked != nil {
		timeout := time.NewTimer(l.ack)
		defer timeout.Stop()
		select {
		case <-acked:
		case <-timeout.C:
		case <-ctx.Done():
		}
	}
	return l.listening(key)
}

// subscribe sees to it that name is subscribed to, and returns what to wait for.
func (l *listener) subscribe(name string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sub := l.channels[name]; sub != nil {
		return sub.acked
	}
	if !l.allowed(name) {
		return nil
	}
	sub := &subscription{acked: make(chan struct{})}
	l.channels[name] = sub
	l.used = time.Now()
	if l.pubsub == nil {
		l.pubsub = l.rdb.Subscribe(l.ctx) // without a channel: nothing is sent yet
		l.done = make(chan struct{})
		go l.run(l.done)
	}
	// On a goroutine because it may dial; what goes wrong, run will see.
	pubsub := l.pubsub
	go func() { _ = pubsub.Subscribe(l.ctx, name) }()
	return sub.acked
}

// close ends the subscription. It waits for that, but not for a server that does
// not answer: go-redis has its own time for those.
func (l *listener) close() {
	l.cancel()
	l.mu.Lock()
	pubsub, done := l.pubsub, l.done
	l.mu.Unlock()
	if pubsub == nil {
		return
	}
	go func() { _ = pubsub.Close() }() // ends the read that run is in; may wait for a dial
	timeout := time.NewTimer(time.Second)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
	}
}
