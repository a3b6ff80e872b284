// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/leashcache/leash/codec"
	"github.com/leashcache/leash/internal/entry"
)

// Options are a cache's settings. The zero value of a field means its default;
// only TTL has none. For durations that can be off, a negative one is off.
type Options struct {
	// TTL is how long a computed value is fresh. Required.
	TTL time.Duration

	// Jitter shortens each TTL by a random part of it, up to this one, so that
	// what was written together does not expire together. A value is never
	// fresh for longer than its TTL. Default 0.1; negative is off; below 1.
	Jitter float64

	// NotFound lists errors that mean the same as [ErrNotFound], for example
	// sql.ErrNoRows. Callers get an error that matches ErrNotFound and all of
	// these, from the cache as well.
	NotFound []error

	// NotFoundTTL is how long "not found" is kept. Default: it is not kept, and
	// only those who waited for the computation get it.
	NotFoundTTL time.Duration

	// StaleWhileRevalidate is how long after its TTL a value is still returned
	// at once while one node refreshes it in the background (RFC 5861). Default
	// off.
	StaleWhileRevalidate time.Duration

	// StaleIfError is how long after its TTL a value is returned when computing
	// a new one fails (RFC 5861). Default off.
	StaleIfError time.Duration

	// RefreshAhead starts a refresh at random before a value expires, the more
	// likely the closer the end and the longer the computation took: beta of
	// XFetch (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache
	// Stampede Prevention, VLDB 2015). The lease sees to it that one node does
	// it. 1 is the paper's choice, more is earlier. Default off.
	RefreshAhead float64

	// Lease is how long a node may compute without a sign of life. It is
	// renewed at a third of this while the computation runs, so it bounds how
	// long others wait for a dead node, not how long a computation may take.
	// Default 10 s; 100 ms to 1 h, whole milliseconds.
	Lease time.Duration

	// ComputeTimeout is after how long a computation's context is cancelled and
	// its callers get [ErrComputeTimeout]. Default 30 s; negative is never.
	ComputeTimeout time.Duration

	// FinishAbandoned lets a computation whose callers have all left finish and
	// fill the cache. Default: its context is cancelled.
	FinishAbandoned bool

	// OnBusy says what a caller does while another node computes. Default
	// [Wait].
	OnBusy OnBusy

	// MaxWait is how long a caller waits, whoever computes. When it is over, the
	// caller gets a value within StaleIfError, or ErrBusy. Default: until the
	// caller's context ends.
	MaxWait time.Duration

	// Backoff is how long a failed computation is not tried again by anybody in
	// the cluster; callers get a [ComputeError] meanwhile. StaleBackoff is the
	// same where a value stands that the failure does not replace: a stale one,
	// or one that was to be refreshed. Errors of contexts are never shared.
	// Defaults 1 s and 10 s; negative is off.
	Backoff, StaleBackoff time.Duration

	// OperationTimeout is how long any step at the store may take, whatever the
	// client's own settings are. When it is over the store counts as failed for
	// this call. Default 250 ms.
	OperationTimeout time.Duration

	// MaxUnleased is how many of this cache's computations may run at once
	// in this process without a lease, because the store failed or OnBusy is [Compute].
	// Default 16. Who waits for a place longer than OperationTimeout gets
	// [ErrOverloaded].
	MaxUnleased int

	// Share gives all callers that wait for one computation the same value.
	// Default: each gets a copy of its own, decoded for it.
	Share bool

	// Codec writes values. Default [codec.MessagePack].
	Codec codec.Codec

	// Schema is a version of V that is kept in the key, so that old and new
	// nodes live side by side. Default: none; then a fingerprint of the Go type
	// decides, and an entry of another type is computed again.
	Schema string

	// Observer is told what happens. Default none. See also [Cache.Stats].
	Observer Observer

	// Logger gets what an operator should know, each at most once a minute.
	// Default slog.Default().
	Logger *slog.Logger
}

// OnBusy is what a caller does while another node computes the key.
type OnBusy uint8

const (
	// Wait waits for the other node's value, or for its lease to end.
	Wait OnBusy = iota
	// Fail returns a value within StaleIfError, or ErrBusy, at once.
	Fail
	// Compute computes as well, without storing: once per process, and no more
	// than MaxUnleased at a time.
	Compute
)

// An Option changes one call.
type Option struct {
	kind optionKind
	d    time.Duration
}

type optionKind uint8

const (
	optTTL optionKind = iota + 1
	optMaxWait
	optRefresh
	optBypass
)

// TTL replaces [Options.TTL] for what this call computes or sets.
func TTL(d time.Duration) Option { return Option{optTTL, d} }

// MaxWait replaces [Options.MaxWait] for this call.
func MaxWait(d time.Duration) Option { return Option{optMaxWait, d} }

// Refresh makes the call compute, even if a fresh value is stored, and store
// what it computes. Whatever was computed before the call began is not returned.
func Refresh() Option { return Option{kind: optRefresh} }

// Bypass makes the call compute alone: nothing is read, stored or shared.
func Bypass() Option { return Option{kind: optBypass} }

// call is what the options of one call come to.
type call struct {
	ttl     time.Duration
	maxWait time.Duration
	refresh bool
	bypass  bool
}

func (e *engine) call(opts []Option) (call, error) {
	c := call{ttl: e.o.TTL, maxWait: e.o.MaxWait}
	for _, o := range opts {
		switch o.kind {
		case optTTL:
			if o.d < minTTL {
				return c, fmt.Errorf("leash: TTL(%v): a TTL must be at least %v", o.d, minTTL)
			}
			c.ttl = o.d
		case optMaxWait:
			if o.d <= 0 {
				return c, fmt.Errorf("leash: MaxWait(%v): must be positive; for no wait at all set Options.OnBusy to Fail", o.d)
			}
			c.maxWait = o.d
		case optRefresh:
			c.refresh = true
		case optBypass:
			c.bypass = true
		default:
			return c, errors.New("leash: an Option must come from one of this package's functions")
		}
	}
	if c.refresh && c.bypass {
		return c, errors.New("leash: Refresh and Bypass contradict each other: one stores, the other does not")
	}
	return c, nil
}

const (
	minTTL  = time.Millisecond
	maxKey  = 64 << 10
	maxName = 128
)

// complete fills in the defaults and returns everything that is wrong at once.
func (o Options) complete(name string, store Store, v reflect.Type) (Options, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("leash: "+format, args...)) }

	checkWord(bad, "name", name)
	if name == "" {
		bad("the name is empty: it is the prefix of every key, for example \"users\"")
	}
	checkWord(bad, "Options.Schema", o.Schema)
	checkStore(bad, store)

	switch {
	case o.TTL == 0:
		bad("Options.TTL is not set: say how long a value is fresh, for example 5 * time.Minute")
	case o.TTL < minTTL:
		bad("Options.TTL is %v: it must be at least %v", o.TTL, minTTL)
	}
	if o.Jitter >= 1 || math.IsNaN(o.Jitter) {
		bad("Options.Jitter is %v: it is a part of the TTL, below 1; negative is off", o.Jitter)
	}
	if math.IsInf(o.RefreshAhead, 0) || math.IsNaN(o.RefreshAhead) {
		bad("Options.RefreshAhead is %v: it must be 0 or less for off, or positive, usually 1", o.RefreshAhead)
	}
	if o.OnBusy > Compute {
		bad("Options.OnBusy is %d: use Wait, Fail or Compute", o.OnBusy)
	}
	if o.OnBusy == Fail && o.MaxWait > 0 {
		bad("Options.OnBusy Fail and MaxWait %v contradict each other: Fail does not wait", o.MaxWait)
	}
	if o.StaleBackoff > 0 && o.StaleIfError <= 0 && o.StaleWhileRevalidate <= 0 && o.RefreshAhead <= 0 {
		bad("Options.StaleBackoff is %v, but StaleIfError, StaleWhileRevalidate and RefreshAhead are off: no value outlives a failure", o.StaleBackoff)
	}
	if o.MaxUnleased < 0 {
		bad("Options.MaxUnleased is %d: it must be positive, or 0 for 16", o.MaxUnleased)
	}
	if o.OperationTimeout < 0 {
		bad("Options.OperationTimeout is %v: without a bound a frozen store would stop every caller", o.OperationTimeout)
	}
	for i, err := range o.NotFound {
		if err == nil {
			bad("Options.NotFound[%d] is nil", i)
		}
	}

	setDefault(&o.Jitter, 0.1)
	setDefault(&o.Lease, 10*time.Second)
	setDefault(&o.ComputeTimeout, 30*time.Second)
	setDefault(&o.Backoff, time.Second)
	setDefault(&o.StaleBackoff, 10*time.Second)
	setDefault(&o.OperationTimeout, 250*time.Millisecond)
	setDefault(&o.MaxUnleased, 16)
	if o.Codec == nil {
		o.Codec = codec.MessagePack
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Lease < 100*time.Millisecond || o.Lease > entry.MaxLease || o.Lease%time.Millisecond != 0 {
		bad("Options.Lease is %v: it must be 100ms to 1h, in whole milliseconds", o.Lease)
	}
	if err := o.Codec.Check(v); err != nil {
		bad("codec %s can not carry %v: %w", o.Codec.Name(), v, err)
	}
	for _, p := range []*time.Duration{&o.NotFoundTTL, &o.StaleWhileRevalidate, &o.StaleIfError, &o.MaxWait, &o.Backoff, &o.StaleBackoff} {
		*p = max(*p, 0)
	}
	o.Jitter, o.RefreshAhead = max(o.Jitter, 0), max(o.RefreshAhead, 0)
	return o, errors.Join(errs...)
}

func setDefault[T comparable](p *T, d T) {
	var zero T
	if *p == zero {
		*p = d
	}
}

// checkWord refuses what would be read as something else in a key: a brace is a
// hash tag on a Redis cluster, blanks and control bytes end a key on memcached.
func checkWord(bad func(string, ...any), what, s string) {
	if len(s) > maxName {
		bad("%s is %d bytes long: at most %d", what, len(s), maxName)
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '{' || r == '}' }); i >= 0 {
		bad("%s %q has %q in it: use visible ASCII without blanks and braces", what, s, s[i:i+1])
	}
}

func checkStore(bad func(string, ...any), store Store) {
	if store == nil {
		bad("the store is nil: pass one, for example memstore.New()")
		return
	}
	if v := reflect.ValueOf(store); v.Kind() == reflect.Pointer && v.IsNil() {
		bad("the store is a nil %T", store)
		return
	}
	if !reflect.TypeOf(store).Comparable() {
		bad("the store, a %T, is not comparable: pass a pointer", store)
	}
	if c, ok := store.(CheckedStore); ok {
		if err := c.Check(); err != nil {
			bad("the store can not be used: %w", err)
		}
	}
}

func checkKey(key string) error {
	switch {
	case key == "":
		return errors.New("leash: the key is empty")
	case len(key) > maxKey:
		return fmt.Errorf("leash: the key is %d bytes long, at most %d: hash the long part", len(key), maxKey)
	}
	return nil
}
