// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"fmt"
	"strings"
	"time"
)

// Status says where an answer came from, in nginx's words where one fits.
type Status uint8

const (
	// StatusNone is the status of a call that got no answer from the cache.
	StatusNone Status = iota
	// StatusHit is a fresh value from the store.
	StatusHit
	// StatusUpdating is a stale value, returned at once while it is refreshed.
	StatusUpdating
	// StatusStale is a stale value, returned because computing a new one failed
	// or took too long.
	StatusStale
	// StatusMiss is a value that this process computed; nothing was stored.
	StatusMiss
	// StatusExpired is a value that this process computed in place of a stale one.
	StatusExpired
	// StatusElsewhere is a value that another node computed while this call waited.
	StatusElsewhere
	// StatusBypass is a value computed for this call alone.
	StatusBypass
)

var statusNames = []string{"NONE", "HIT", "UPDATING", "STALE", "MISS", "EXPIRED", "ELSEWHERE", "BYPASS"}

// String returns the status in capitals.
func (s Status) String() string { return name(statusNames, int(s)) }

// Outcome tells how a call was answered.
type Outcome struct {
	Status Status
	// NotFound says that the answer is "not found"; Backoff, that it is the
	// error of a computation that is not tried again for a while.
	NotFound, Backoff bool
	// Collapsed says that the call joined others in this process.
	Collapsed bool
	// Stored says that the answer, computed here, was stored.
	Stored bool
	// Age is the time since the value was computed, by this node's clock.
	Age time.Duration
	// TTL is for how much longer the value is fresh; negative when it is stale.
	TTL time.Duration
	// Cost is how long the value took to compute.
	Cost time.Duration
}

// CacheStatus returns the outcome as one member of a Cache-Status header field
// (RFC 9211); cache is the name to appear in it.
func (o Outcome) CacheStatus(cache string) string {
	var b strings.Builder
	b.WriteString(cacheName(cache))
	switch o.Status {
	case StatusHit, StatusUpdating, StatusStale:
		b.WriteString("; hit")
	case StatusMiss:
		b.WriteString("; fwd=uri-miss")
	case StatusExpired:
		b.WriteString("; fwd=stale")
	case StatusElsewhere:
		b.WriteString("; fwd=uri-miss; collapsed")
	case StatusBypass:
		b.WriteString("; fwd=bypass")
	default:
		b.WriteString("; fwd=miss")
	}
	if o.Stored {
		b.WriteString("; stored")
	}
	if o.Collapsed && o.Status != StatusElsewhere && o.Status != StatusHit && o.Status != StatusUpdating {
		b.WriteString("; collapsed")
	}
	if o.TTL != 0 {
		fmt.Fprintf(&b, "; ttl=%d", int64(o.TTL/time.Second))
	}
	if o.Status != StatusNone {
		fmt.Fprintf(&b, "; detail=%s", o.detail())
	}
	return b.String()
}

func (o Outcome) detail() string {
	switch {
	case o.NotFound:
		return o.Status.String() + "-NOT-FOUND"
	case o.Backoff:
		return o.Status.String() + "-BACKOFF"
	}
	return o.Status.String()
}

// cacheName returns s as a token of RFC 8941 if it is one, else as a string.
func cacheName(s string) string {
	token := s != "" && (isAlpha(s[0]) || s[0] == '*')
	for i := 0; token && i < len(s); i++ {
		token = isAlpha(s[i]) || s[i] >= '0' && s[i] <= '9' || strings.IndexByte(":/!#$%&'*+-.^_`|~", s[i]) >= 0
	}
	if token {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= 0x20 && c < 0x7f:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
