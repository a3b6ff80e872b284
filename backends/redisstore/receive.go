// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// run receives until nobody has watched for a while, nothing can be subscribed
// to, or the Store is closed.
func (l *listener) run(done chan struct{}) {
	defer close(done)
	pinged := false       // and nothing heard since
	var failing time.Time // since when no channel is up; zero when one is
	for !l.finished() {
		pubsub := l.current()
		message, err := receive(l.ctx, pubsub)
		switch {
		case err == nil:
			pinged = false
			l.heard(message)
		case refused(err):
			pinged = false // an answer, after all
			l.drop(pubsub, err)
		case timedOut(err) && !pinged:
			pinged = true
			_ = pubsub.Ping(l.ctx) // if this fails, so does the next receive
		case timedOut(err), errors.Is(err, errOdd):
			// go-redis would not notice: it writes pings and awaits no answer.
			pinged = false
			l.lost()
			l.redial(pubsub)
		default: // go-redis has dialled again
			pinged = false
			l.lost()
		}
		failing = l.failing(failing, err)
	}
}

var errOdd = errors.New("odd message")

// receive turns what go-redis makes of an odd reply, a panic, into an error.
func receive(ctx context.Context, pubsub *redis.PubSub) (message any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errOdd, r)
		}
	}()
	return pubsub.ReceiveTimeout(ctx, pingEvery)
}

func timedOut(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

// failing says since when no channel is up. It waits a little before the next
// attempt, except for the first, and gives up when that has lasted too long.
func (l *listener) failing(since time.Time, err error) time.Time {
	switch {
	case err == nil || l.anyUp():
		return time.Time{}
	case since.IsZero():
		return time.Now()
	case time.Since(since) > failedAfter:
		l.giveUp(func(*subscription) bool { return true }, err)
		return since
	}
	timeout := time.NewTimer(redialAfter)
	defer timeout.Stop()
	select {
	case <-timeout.C:
	case <-l.ctx.Done():
	}
	return since
}

func (l *listener) anyUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, sub := range l.channels {
		if sub.up {
			return true
		}
	}
	return false
}

// current changes in redial and end only, which run calls.
func (l *listener) current() *redis.PubSub {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pubsub
}

func (l *listener) heard(message any) {
	switch m := message.(type) {
	case *redis.Message:
		l.watches.told(m.Payload)
	case *redis.Subscription:
		if l.acknowledged(m) {
			l.watches.everybody()
		}
	}
}

// acknowledged reports whether messages may have been missed before: if this is
// not the first acknowledgement, there was another connection, even when go-redis
// replaced it without telling.
func (l *listener) acknowledged(m *redis.Subscription) (missed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sub := l.channels[m.Channel]
	if sub == nil || m.Kind != "subscribe" {
		return false
	}
	missed = sub.lost || sub.up
	if !sub.up {
		close(sub.acked)
	}
	sub.up, sub.lost = true, false
	return missed
}

// lost notes that the connection is gone. go-redis has made a new one when it
// could, and will when it can; the acknowledgements tell.
func (l *listener) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, sub := range l.channels {
		if sub.up {
			sub.acked = make(chan struct{})
		}
		sub.up, sub.lost = false, true
	}
}

// redial replaces a connection that go-redis takes to be alive.
func (l *listener) redial(old *redis.PubSub) {
	_ = old.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pubsub = l.rdb.Subscribe(l.ctx)
	names := make([]string, 0, len(l.channels))
	for name := range l.channels {
		names = append(names, name)
	}
	pubsub := l.pubsub
	go func() { _ = pubsub.Subscribe(l.ctx, names...) }()
}

// drop gives the channels up that the server does not let us have. go-redis must
// forget them, or it would ask for all channels in vain at the next connection.
func (l *listener) drop(pubsub *redis.PubSub, err error) {
	names := l.giveUp(func(sub *subscription) bool { return !sub.up }, err)
	if len(names) > 0 {
		_ = pubsub.Unsubscribe(l.ctx, names...)
	}
}

// giveUp blocks channels for a while.
func (l *listener) giveUp(which func(*subscription) bool, err error) (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, sub := range l.channels {
		if !which(sub) {
			continue
		}
		names = append(names, name)
		l.blocked[name] = time.Now().Add(blockedFor)
		delete(l.channels, name)
		if !sub.up {
			close(sub.acked)
		}
	}
	if len(names) > 0 && !l.logged && l.ctx.Err() == nil {
		l.logged = true
		l.log.Warn("redisstore: no subscription, waiters will poll", "error", err)
	}
	return names
}

// finished ends the listener when there is nothing to listen for.
func (l *listener) finished() bool {
	pubsub := l.end()
	if pubsub == nil {
		return false
	}
	_ = pubsub.Close() // outside of the lock: may wait for a dial
	return true
}

func (l *listener) end() *redis.PubSub {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.watches.empty() {
		l.used = time.Now()
	}
	if l.ctx.Err() == nil && len(l.channels) > 0 && time.Since(l.used) < l.idle {
		return nil
	}
	for _, sub := range l.channels {
		if !sub.up {
			close(sub.acked)
		}
	}
	clear(l.channels)
	pubsub := l.pubsub
	l.pubsub = nil
	return pubsub
}
