// SPDX-License-Identifier: Apache-2.0

// Command demo shows a cache stampede, and then the same load with leash.
//
// It starts four nodes, each a process of its own with an HTTP server, one SQL
// database and one Redis (or memcached) that they share, and drives them with
// requests through several expiries, four times: with a plain cache, with
// coalescing inside each process, with leash, and with leash that serves stale
// values while it refreshes them. In the end it prints how often the database was
// asked.
//
//	go run .
//
// It is a test as well: it fails if a leash phase has an error or asks the
// database more than once per expiry.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if config, ok := os.LookupEnv(nodeEnv); ok {
		exit(runNode(config))
		return
	}
	// The hang-up comes when a terminal is closed.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	o, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2) // the flag package has printed why
	}
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	redis     string
	memcached string
	json      bool
	seconds   float64
	ttl       time.Duration
	rate      int
}

const usage = `Usage: go run . [flags]

Drives four node processes that share one SQL database and one Redis (or
memcached) with HTTP requests, without protection against stampedes and with it,
and counts the queries. Takes about three quarters of a minute. Exits with 1 if
leash lets more than one query per expiry through or if its requests fail.

`

// parse reads the flags. What is wrong with them it has printed to out already.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.redis, "redis", "", "use the Redis or Valkey at `ADDR`, host:port or a redis:// URL, instead of an embedded server;\nnothing is flushed, keys begin with leash-demo- and are deleted at the end")
	flags.StringVar(&o.memcached, "memcached", "", "use memcached at `ADDR[,ADDR...]`, host:port each, instead of a Redis;\nkeys are named and deleted in the same way, helpers with ~~ in their names expire within minutes")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON to stdout, and the progress to stderr")
	flags.Float64Var(&o.seconds, "phase-seconds", 9, "send requests for `N` seconds in each of the four phases")
	flags.DurationVar(&o.ttl, "ttl", 1500*time.Millisecond, "keep values fresh for this `time`")
	flags.IntVar(&o.rate, "rate", 200, "send `N` requests per second to the four nodes together, answered or not")
	flags.Usage = func() {
		fmt.Fprint(out, usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	err := o.check(flags.Args())
	if err != nil {
		fmt.Fprintf(out, "demo: %v; see -help\n", err)
	}
	return o, err
}

func (o options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is no flag, and nothing but flags is expected", rest[0])
	case o.redis != "" && o.memcached != "":
		return errors.New("-redis and -memcached exclude each other: give one of them")
	case o.rate < 1 || o.rate > 2000:
		return fmt.Errorf("-rate is %d: it must be 1 to 2000", o.rate)
	case o.ttl < 500*time.Millisecond:
		return fmt.Errorf("-ttl is %v: it must be at least 500ms, well above the time of a query", o.ttl)
	case !(o.phase() >= 2*o.ttl && o.seconds <= 600):
		return fmt.Errorf("-phase-seconds is %v: it must be at least twice the TTL of %v, so that something expires, and at most 600", o.seconds, o.ttl)
	}
	return nil
}

// phase is how long requests are sent in each phase.
func (o options) phase() time.Duration { return time.Duration(o.seconds * float64(time.Second)) }
