// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/internal/entry"
)

// asked is one Lease and its answer.
type asked struct {
	span
	token entry.Token
	entry []byte
	left  time.Duration
}

// granted reports whether the answer is a grant: nothing, or the caller's own lease.
func (a asked) granted() bool {
	return a.left == 0 && (a.entry == nil || token(a.entry) == a.token)
}

// try asks for a lease; for goroutines, which cannot end the test.
func (e *env) try(s leash.Store, key string, seen []byte, steal bool, ttl time.Duration) (asked, error) {
	a := asked{token: newToken()}
	var err error
	a.span = during(func() {
		a.entry, a.left, err = s.Lease(e.ctx, key, entry.NewLease(a.token, ttl, expected), seen, steal, ttl)
	})
	return a, err
}

func (e *env) ask(s leash.Store, key string, seen []byte, steal bool, ttl time.Duration) asked {
	e.Helper()
	a, err := e.try(s, key, seen, steal, ttl)
	if err != nil {
		e.Fatalf("Lease: %v", err)
	}
	if a.left < 0 {
		e.Fatalf("Lease returned left %v", a.left)
	}
	return a
}

// take asks for a lease that must be granted.
func (e *env) take(s leash.Store, key string, seen []byte, ttl time.Duration) asked {
	e.Helper()
	a := e.ask(s, key, seen, false, ttl)
	e.mustGrant(a)
	return a
}

func (e *env) mustGrant(a asked) {
	e.Helper()
	if !a.granted() {
		e.Fatalf("the lease was refused for %v, by %s", a.left, show(a.entry))
	}
}

// mustTell checks what a grant says: the head of the value that stays under key,
// with the new lease in it, or nil where there is no value.
func (e *env) mustTell(key string, a asked, value bool) {
	e.Helper()
	e.mustGrant(a)
	if !value {
		if a.entry != nil {
			e.Fatalf("the lease was granted on no value with %s, want nil", show(a.entry))
		}
		return
	}
	h, ok := entry.HeadOf(a.entry)
	if stands := e.head(e.s, key); !ok || !bytes.Equal(h, stands) {
		e.Fatalf("the lease was granted on a value with %s, want the head of %s", show(a.entry), show(stands))
	}
}

// refused asks for a lease that a standing one, or a back-off when holder is
// zero, must keep away for at most length. Nothing may change.
func (e *env) refused(s leash.Store, key string, seen []byte, steal bool, holder entry.Token, length time.Duration) {
	e.Helper()
	before := e.get(s, key)
	a := e.ask(s, key, seen, steal, long)
	if a.granted() {
		e.Fatalf("a lease was granted beside %s", show(before))
	}
	if a.left <= 0 || a.left > length {
		e.Fatalf("refused with left %v, want more than zero and at most %v", a.left, length)
	}
	if h, ok := entry.HeadOf(a.entry); !ok || h.Token() != holder || h.Backoff() != holder.IsZero() {
		e.Fatalf("refused by %s, want the head with the lease of %x", show(a.entry), holder)
	}
	e.mustBe(s, key, before)
}

// newer asks for a lease on something outdated: want, whole, is the answer.
func (e *env) newer(s leash.Store, key string, seen []byte, steal bool, want []byte) {
	e.Helper()
	a := e.ask(s, key, seen, steal, long)
	if a.left != 0 {
		e.Fatalf("refused with left %v, want 0: what stands there is not what was seen", a.left)
	}
	if !same(a.entry, want) {
		e.Fatalf("refused with %s, want all of %s", show(a.entry), show(want))
	}
	e.mustBe(s, key, want)
}
