// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leashcache/leash/internal/entry"
)

// answer is what callers get.
type answer struct {
	Outcome
	err     error
	failed  bool    // a stale value is better, for those who may have it
	payload []byte  // to be decoded
	made    *made   // or a value that was made in this process
	pooled  *buffer // what payload is a part of, if one caller alone has it
}

// made is a value as it is in memory, and who may have it: everybody, if callers
// share, else the first who comes.
type made struct {
	value any
	has   bool // value is there; it may be nil all the same
	taken atomic.Bool
	once  sync.Once // for Share: the one decoding of what another node made
}

// verdict is what an entry is to a reader, now.
type verdict struct {
	entry.Sealed
	head  entry.Head
	err   error // why it is no value; nil and Kind 0 when nothing is there
	state state
	age   time.Duration
}

type state uint8

const (
	absent   state = iota // nothing to give
	fresh                 // may be given to anybody
	updating              // may be given at once, and is to be refreshed
	stale                 // may be given if nothing better can be had
)

// judge looks at the bytes that stand under a key. waited is the lease that the
// callers have been waiting for: what was made under it is their answer, however
// short its life.
func (e *engine) judge(b []byte, key string, waited entry.Token) verdict {
	var v verdict
	if b == nil {
		return v
	}
	v.head, _ = entry.HeadOf(b)
	v.Sealed, v.err = entry.Parse(b, e.scope, key)
	switch {
	case errors.Is(v.err, entry.ErrEmpty):
		v.err = nil
		return v
	case v.err != nil:
		return v
	case v.Kind == entry.Value && (v.Fingerprint != e.fingerprint || v.Codec != e.codecID):
		v.err = errOtherType
		return v
	}
	v.age = max(time.Since(v.Created), 0)
	switch over := v.age - v.Fresh; {
	case over < 0, !waited.IsZero() && v.Publisher == waited:
		v.state = fresh
	case v.Kind != entry.Value:
	case over < e.o.StaleWhileRevalidate:
		v.state = updating
	case over < e.o.StaleIfError:
		v.state = stale
	}
	return v
}

var errOtherType = errors.New("entry of another Go type, schema or codec")

// ahead reports whether a fresh value is to be refreshed before its time
// (XFetch: now - cost * beta * ln(rand) >= expiry).
func (e *engine) ahead(v *verdict) bool {
	if e.o.RefreshAhead == 0 || v.Kind != entry.Value {
		return false
	}
	gap := -float64(v.Cost) * e.o.RefreshAhead * math.Log(1-rand.Float64())
	return gap >= float64(v.Fresh-v.age)
}

// skew is how much the clock that wrote a lease may differ from this node's before
// the store is asked.
const skew = 2 * time.Second

// leased reports whether the entry shows that somebody is at work on it, or
// that nobody should be, as far as this node's clock can tell.
func (v *verdict) leased() bool {
	left := time.Until(time.UnixMilli(v.head.Until()))
	return left > 0 && left <= min(v.head.Length()+skew, entry.MaxLease)
}

// answer turns a verdict into what callers get.
func (e *engine) answer(v *verdict, s Status) answer {
	a := answer{Outcome: Outcome{Status: s, Age: v.age, TTL: v.Fresh - v.age, Cost: v.Cost}}
	switch v.Kind {
	case entry.NotFound:
		a.NotFound, a.err = true, e.notFound
	case entry.Error:
		a.Backoff, a.err = true, &ComputeError{Text: string(v.Payload)}
	default:
		a.payload = v.Payload
	}
	return a
}

// notFoundError matches ErrNotFound and everything that means the same.
type notFoundError struct {
	same  []error
	cause error // what the computation returned, where it is known
}

func (n *notFoundError) Error() string {
	if n.cause != nil {
		return n.cause.Error()
	}
	return ErrNotFound.Error()
}

func (n *notFoundError) Is(target error) bool {
	if target == ErrNotFound {
		return true
	}
	for _, s := range n.same {
		if errors.Is(s, target) {
			return true
		}
	}
	return false
}

func (n *notFoundError) Unwrap() error { return n.cause }

func (e *engine) isNotFound(err error) bool {
	if errors.Is(err, ErrNotFound) {
		return true
	}
	for _, s := range e.o.NotFound {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// kind returns the event that tells of this answer.
func (a *answer) kind() EventKind {
	switch a.Status {
	case StatusHit:
		switch {
		case a.NotFound:
			return EventNotFoundHit
		case a.Backoff:
			return EventBackoffHit
		}
		return EventHit
	case StatusUpdating:
		return EventUpdating
	case StatusStale:
		return EventStale
	case StatusMiss, StatusExpired:
		return EventMiss
	case StatusElsewhere:
		return EventElsewhere
	case StatusBypass:
		return EventBypass
	default:
		return EventLeft
	}
}
