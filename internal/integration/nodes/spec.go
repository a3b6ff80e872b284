// SPDX-License-Identifier: Apache-2.0

// Package nodes runs several processes on one cache. A program that calls [Main]
// first can start itself again as nodes, and drive them: each has a client and a
// cache of its own, and they share nothing but the servers and a [Source].
//
// All times are of this machine's wall clock, which the processes have in common.
package nodes

import (
	"fmt"
	"time"

	"github.com/leashcache/leash/internal/integration/wire"
)

// Config is what a node needs to reach its servers.
type Config struct {
	Index          int
	Addrs          []string
	Cluster        bool
	Memcached      bool // the servers are, all of them
	AutoPipeline   bool
	User, Password string
	ReadTimeout    time.Duration     // of the client; 0 is its own default
	Via            map[string]string // where to connect instead of an address
}

// Cache names a cache of a node, which makes it when it is first asked for.
type Cache struct {
	Kind Kind
	Type Type
	Name string

	TTL, Lease, Backoff, NotFoundTTL, StaleWhileRevalidate, StaleIfError time.Duration

	OperationTimeout time.Duration
	Every            time.Duration // of Poll
	Jitter           float64       // 0 is off here
	RefreshAhead     float64
}

// Kind is what stands behind a cache.
type Kind string

const (
	// Leash is the library.
	Leash Kind = ""
	// Floor calls each computation once per process and talks to no server.
	Floor Kind = "floor"
	// Poll is a lock on memcached and a look at fixed times, coalesced in the process.
	Poll Kind = "poll"
	// Naive is GET, else compute and SET. It shows that a test can fail.
	Naive Kind = "naive"
)

// Type is the Go type of the values.
type Type string

// Row itself, and two versions of a struct that a rollout changes.
const (
	TypeRow Type = ""
	TypeV1  Type = "v1"
	TypeV2  Type = "v2"
)

// Row is a value.
type Row struct {
	Key          string
	Version      int64  // of the source when the computation began
	Computation  string // which one made it
	Began, Ended int64  // when that ran
	Text         string // must be TextOf
}

// TextOf is the only right text of a row.
func TextOf(key string, version int64) string { return fmt.Sprintf("%s at version %d", key, version) }

// Compute says what a computation does.
type Compute struct {
	Source       bool          // ask the Source of the parent process; else the rest counts
	For          time.Duration // how long
	IgnoreCancel bool
}

// How says how a computation ends.
type How string

// The ways a computation ends.
const (
	Value      How = ""
	Fail       How = "fail"
	Panic      How = "panic"
	Goexit     How = "goexit"
	NotFound   How = "not found"
	NoRows     How = "no rows" // sql.ErrNoRows
	sourceText     = "the source is broken"
)

// Run is a herd of callers on one key.
type Run struct {
	Cache   Cache
	Key     string
	Callers int
	At      int64         // when the first arrives
	Spread  time.Duration // arrivals are at random over this
	Seed    uint64
	Compute Compute

	// Leaving callers cancel their contexts at random within Stay after they
	// came. The others are patient.
	Leaving Leaving
	Stay    time.Duration
	MaxWait time.Duration
}

// Leaving says who leaves early.
type Leaving string

// Who leaves: nobody, each second caller but never the first, or all.
const (
	Nobody     Leaving = ""
	EachSecond Leaving = "each second"
	Everybody  Leaving = "everybody"
)

// Call is what one caller saw.
type Call struct {
	Node         int
	Began, Ended int64
	Leaves       bool // it was to cancel its context
	Answer
}

// Answer is what a cache said.
type Answer struct {
	Row    Row
	Found  bool
	Err    Failure // empty when there was none
	Text   string  // of the error
	Status string
	Age    time.Duration
}

// Computation is one run of the function.
type Computation struct {
	Node         int
	Key          string
	Version      int64
	Began, Ended int64 // Ended is 0 while it runs
	Cancelled    bool  // its context ended first
}

// Stats is what a node counted.
type Stats struct {
	Events      map[string]int64
	StoreErrors int64
	Commands    wire.Counts
	Stall       time.Duration // the longest time for which the process stood still
}
