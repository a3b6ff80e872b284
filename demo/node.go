// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/leashcache/leash"
)

// nodeEnv makes a process of this program a node; it holds a nodeConfig.
const nodeEnv = "LEASH_DEMO_NODE"

// nodeConfig is what a node is told at its start.
type nodeConfig struct {
	Database  string   // the file
	Redis     string   // URL
	Embedded  bool     // that Redis is the demo's own
	Memcached []string // host:port; if there are any, they take the place of Redis
	Run       string   // names this run of the demo in every key
	TTL       time.Duration
}

// logger keeps redisstore from telling what it finds out about the embedded
// server. Of a real one the user may want to know.
func (c nodeConfig) logger() *slog.Logger {
	if c.Embedded {
		return slog.New(slog.DiscardHandler)
	}
	return slog.Default()
}

// A protection is one way to put a cache in front of the database; each has a
// phase of its own.
type protection struct {
	name  string // in the table
	path  string // in URLs, and in the keys of the shared cache
	leash bool
	build func(n *node, name string) (service, error)
}

var protections = []protection{
	{"plain cache", "plain", false, unprotected},
	{"coalescing in each process", "coalesced", false, inProcess},
	{"leash", "leash", true, leashed(0)},
	{"leash, stale-while-revalidate", "stale", true, leashed(1)},
}

// service is a protection that runs in a node.
type service struct {
	handler http.HandlerFunc
	stats   func() leash.Stats              // nil without leash
	forget  func(ctx context.Context) error // deletes its keys
	close   func(ctx context.Context) error // nil without leash
}

// node is one of the servers of the cluster.
type node struct {
	config   nodeConfig
	db       *database
	shared   sharedCache
	services map[string]service // by path
}

func newNode(config nodeConfig) (*node, error) {
	shared, err := config.connect()
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(config.Database)
	if err != nil {
		return nil, errors.Join(err, shared.close())
	}
	n := &node{config, db, shared, map[string]service{}}
	for _, p := range protections {
		s, err := p.build(n, config.Run+"-"+p.path)
		if err != nil {
			return nil, errors.Join(err, n.close(context.Background()))
		}
		n.services[p.path] = s
	}
	return n, nil
}

func (n *node) close(ctx context.Context) error {
	var errs []error
	for _, s := range n.services {
		if s.close != nil {
			errs = append(errs, s.close(ctx))
		}
	}
	return errors.Join(append(errs, n.shared.close(), n.db.Close())...)
}

// runNode is the main function of a node. It serves until its standard input
// ends: that is when the process that started it closes it, or is gone.
func runNode(config string) error {
	signal.Ignore(os.Interrupt, syscall.SIGHUP) // the terminal's: the parent decides
	var c nodeConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	n, err := newNode(c)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: n.routes(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	fmt.Println(listener.Addr()) // the parent waits for this line
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return n.close(ctx)
}

func (n *node) routes() http.Handler {
	mux := http.NewServeMux()
	for path, s := range n.services {
		mux.Handle("GET /"+path+"/{shop}", s.handler)
	}
	mux.HandleFunc("GET /stats/{path}", n.serveStats)
	return mux
}

// nodeStats is what a node tells about one protection.
type nodeStats struct {
	Queries []query // that the database executed since the time asked for
	Running int     // queries at this moment, and callers that wait for a connection
	// Disturbed counts what leash documents as a reason for another query: a
	// computation without a lease because the store failed, a lease that was
	// lost or taken over.
	Disturbed int64
}

// serveStats answers GET /stats/{path}?since=<Unix nanoseconds>.
func (n *node) serveStats(w http.ResponseWriter, r *http.Request) {
	since, err := strconv.ParseInt(r.FormValue("since"), 10, 64)
	s, ok := n.services[r.PathValue("path")]
	if err != nil || !ok {
		http.Error(w, "ask for /stats/{path}?since=<Unix nanoseconds>", http.StatusBadRequest)
		return
	}
	stats := nodeStats{Queries: executed.since(time.Unix(0, since)), Running: n.db.running()}
	if s.stats != nil {
		c := s.stats()
		for _, kind := range []leash.EventKind{leash.EventUnleased, leash.EventTakenOver, leash.EventLeaseLost, leash.EventVoided} {
			stats.Disturbed += c.Count(kind)
		}
	}
	_ = json.NewEncoder(w).Encode(stats) // fails when the client has left
}
