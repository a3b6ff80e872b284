// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leashcache/leash/internal/servers"
)

// program is the demo, built without the race detector: under it the database
// would be the slow part of everything.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "demo-test-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "demo")
		if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// demo is a command that keeps its temporary files in tmp.
func demo(t *testing.T, args ...string) (cmd *exec.Cmd, tmp string) {
	t.Helper()
	tmp = t.TempDir()
	cmd = exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	return cmd, tmp
}

func mustBeEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

func TestEmbedded(t *testing.T) { testRun(t) }

func TestRedis(t *testing.T) {
	srv := servers.Redis(t)
	testRun(t, "-redis", srv.Addr())
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer rdb.Close()
	if keys, err := rdb.Keys(t.Context(), "*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("keys are left: %v, %v", keys, err)
	}
}

func TestMemcached(t *testing.T) {
	srvs := []*servers.Server{servers.Memcached(t), servers.Memcached(t), servers.Memcached(t)}
	addrs := []string{srvs[0].Addr(), srvs[1].Addr(), srvs[2].Addr()}
	name := testRun(t, "-memcached", strings.Join(addrs, ","))
	if want := "memcached at " + strings.Join(addrs, ", "); name != want {
		t.Errorf("the store is called %q, want %q", name, want)
	}
	for _, addr := range addrs {
		for _, key := range memcachedKeys(t, addr) {
			if !strings.HasPrefix(key, "leash-demo-") || !strings.Contains(key, "~~") {
				t.Errorf("%s: key %s is left", addr, key)
			}
		}
	}
}

// memcachedKeys are the keys of all items of a server.
func memcachedKeys(t *testing.T, addr string) []string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "lru_crawler metadump all\r\n")
	var keys []string
	lines := bufio.NewScanner(conn)
	for lines.Scan() && lines.Text() != "END" {
		key, err := neturl.QueryUnescape(strings.TrimPrefix(strings.Fields(lines.Text())[0], "key="))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	if lines.Text() != "END" {
		t.Fatalf("%s did not list its keys: %v, %q", addr, lines.Err(), lines.Text())
	}
	return keys
}

// testRun returns what the demo calls its store.
func testRun(t *testing.T, args ...string) (store string) {
	t.Helper()
	cmd, tmp := demo(t, append(args, "-json", "-phase-seconds", "2.5", "-ttl", "700ms", "-rate", "100")...)
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &progress, &out)
	}
	mustBeEmpty(t, tmp)
	if strings.Contains(progress.String(), "\r") {
		t.Errorf("the progress writes over lines, but stderr is no terminal:\n%q", &progress)
	}
	var r runReport
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	t.Logf("%s", &out)
	if len(r.Phases) != len(protections) {
		t.Fatalf("%d phases, want %d", len(r.Phases), len(protections))
	}
	plain := r.Phases[0]
	for i, p := range r.Phases {
		if p.Name != protections[i].name || p.Requests != 250 {
			t.Errorf("phase %d is %q with %d requests, want %q with 250", i, p.Name, p.Requests, protections[i].name)
		}
		if p.Expiries < len(shops()) || p.Queries < p.Expiries {
			t.Errorf("%s: %d queries for %d expiries: that can not be", p.Name, p.Queries, p.Expiries)
		}
		if !p.Leash {
			continue
		}
		if p.Errors > 0 || p.Error != "" {
			t.Errorf("%s: %d errors: %s", p.Name, p.Errors, p.Error)
		}
		if p.Queries > p.Expiries {
			t.Errorf("%s: %d queries for %d expiries, want one each", p.Name, p.Queries, p.Expiries)
		}
		// What a TTL allows: a cold start, and one more for each TTL that has ended.
		if most := len(shops()) * (1 + 2500/700); p.Queries > most {
			t.Errorf("%s: %d queries, but only %d fit into the time", p.Name, p.Queries, most)
		}
		if p.Queries <= len(shops()) {
			t.Errorf("%s: %d queries: nothing has expired", p.Name, p.Queries)
		}
		if plain.Queries <= p.Queries {
			t.Errorf("%d queries without protection and %d with %s", plain.Queries, p.Queries, p.Name)
		}
	}
	return r.Store
}

func TestReportNamesBrokenPromises(t *testing.T) {
	good := phaseResult{Name: "leash", Leash: true, Expiries: 5, Queries: 6, Disturbed: 1}
	for name, test := range map[string]struct {
		phase phaseResult
		bad   bool
	}{
		"one query per expiry":        {phaseResult{Leash: true, Expiries: 5, Queries: 5}, false},
		"documented further ones":     {good, false},
		"one too many":                {phaseResult{Leash: true, Expiries: 5, Queries: 6}, true},
		"an error":                    {phaseResult{Leash: true, Expiries: 5, Queries: 5, Errors: 1}, true},
		"the same, but without leash": {phaseResult{Expiries: 5, Queries: 60, Errors: 1}, false},
	} {
		for _, asJSON := range []bool{false, true} {
			r := runReport{Phases: []phaseResult{test.phase}}
			if err := r.print(io.Discard, asJSON); (err != nil) != test.bad {
				t.Errorf("%s (JSON %v): error %v", name, asJSON, err)
			}
		}
	}
}

func TestExpiries(t *testing.T) {
	const ttl = time.Second
	zero := time.Unix(1000, 0)
	q := func(shop int64, start, end int) query { // milliseconds; no end: it failed
		q := query{Shop: shop, Start: zero.Add(time.Duration(start) * time.Millisecond)}
		if end > 0 {
			q.End = zero.Add(time.Duration(end) * time.Millisecond)
		}
		return q
	}
	for name, test := range map[string]struct {
		queries []query
		want    int
	}{
		"none":                          {nil, 0},
		"cold, and a TTL later":         {[]query{q(1, 0, 100), q(1, 1101, 1200)}, 2},
		"not in order":                  {[]query{q(1, 1101, 1200), q(1, 0, 100)}, 2},
		"two shops":                     {[]query{q(1, 0, 100), q(2, 0, 100)}, 2},
		"at the same time":              {[]query{q(1, 0, 100), q(1, 50, 150)}, 1},
		"again although it is fresh":    {[]query{q(1, 0, 100), q(1, 200, 300)}, 1},
		"a queue that keeps it fresh":   {[]query{q(1, 0, 600), q(1, 600, 1200), q(1, 1200, 1800), q(1, 1800, 2400)}, 1},
		"a failure before a success":    {[]query{q(1, 0, 0), q(1, 1500, 1600)}, 1},
		"a failure at the second start": {[]query{q(1, 0, 100), q(1, 1200, 0), q(1, 1300, 1400)}, 2},
	} {
		if got := expiries(test.queries, ttl); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// TestDatabaseCountsEachQueryOnce is about the planner: it must not call the
// function per row, nor leave it out.
func TestDatabaseCountsEachQueryOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a b?#%.db")
	size, err := fill(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows, %v", size.rows, size.query)
	db, err := openDatabase(file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	start := time.Now()
	for _, shop := range []int64{hotShop, hotShop, 2, 1000} { // the last one has no sales
		r, err := db.report(t.Context(), shop)
		if err != nil || r.Shop != shop || (len(r.Products) == 5) != (shop < 1000) {
			t.Errorf("report of shop %d: %+v, %v", shop, r, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.report(ctx, hotShop); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	got := executed.since(start)
	if len(got) != 4 {
		t.Fatalf("counted %d queries, want 4: %v", len(got), got)
	}
	for i, q := range got {
		if q.Shop != []int64{hotShop, hotShop, 2, 1000}[i] || !q.End.After(q.Start) {
			t.Errorf("query %d was noted as %+v", i, q)
		}
	}
}

func TestRefusesBeforeAnythingStarts(t *testing.T) {
	free := servers.Redis(t)
	free.Stop() // its port stays reserved: nobody answers there
	running, other := servers.Memcached(t).Addr(), servers.Redis(t).Addr()
	for name, test := range map[string]struct {
		args []string
		code int
		text string
	}{
		"unknown flag":       {[]string{"-nonsense"}, 2, "not defined: -nonsense"},
		"argument":           {[]string{"now"}, 2, `"now" is no flag`},
		"rate":               {[]string{"-rate", "0"}, 2, "-rate is 0"},
		"ttl":                {[]string{"-ttl", "1ms"}, 2, "-ttl is 1ms"},
		"too short":          {[]string{"-phase-seconds", "2"}, 2, "at least twice the TTL"},
		"no number":          {[]string{"-phase-seconds", "NaN"}, 2, "at least twice the TTL"},
		"nobody there":       {[]string{"-redis", free.Addr()}, 1, "no Redis answers at " + free.Addr()},
		"no port":            {[]string{"-redis", "localhost"}, 1, "host:port or a redis:// URL"},
		"no URL":             {[]string{"-redis", "http://localhost:1"}, 1, "invalid URL scheme"},
		"two stores":         {[]string{"-redis", other, "-memcached", running}, 2, "-redis and -memcached exclude each other"},
		"no memcached there": {[]string{"-memcached", running + "," + free.Addr()}, 1, "no memcached answers at " + free.Addr()},
		"not memcached":      {[]string{"-memcached", other}, 1, "no memcached answers at " + other},
		"memcached, no port": {[]string{"-memcached", running + ",localhost"}, 1, `"localhost" is no host:port`},
		"memcached, no name": {[]string{"-memcached", running + ","}, 1, `"" is no host:port`},
		"help is no mistake": {[]string{"-help"}, 0, "-phase-seconds"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, tmp := demo(t, test.args...)
			out, _ := cmd.CombinedOutput() // the exit code is looked at
			if test.code == 1 && strings.Count(string(out), "\n") != 1 {
				t.Errorf("more than one line says what is wrong:\n%s", out)
			}
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(out), test.text) {
				t.Errorf("exit code %d, want %d; want %q in:\n%s", code, test.code, test.text, out)
			}
			mustBeEmpty(t, tmp)
		})
	}
}

func TestInterruptCleansUp(t *testing.T) {
	r, cmd, tmp := startAndWaitForNodes(t)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code is looked at
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	mustBeEmpty(t, tmp)
	if said := untilAllAreGone(t, r); !strings.Contains(said, "interrupt") {
		t.Errorf("it does not say why it ended: %q", said)
	}
}

func TestNodesDieWithTheParent(t *testing.T) {
	r, cmd, _ := startAndWaitForNodes(t)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	untilAllAreGone(t, r)
}

// startAndWaitForNodes starts a demo whose stderr, which the nodes inherit, is r:
// it ends when the last of them is gone.
func startAndWaitForNodes(t *testing.T) (r *os.File, cmd *exec.Cmd, tmp string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	cmd, tmp = demo(t)
	cmd.Stderr = w
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // fails when all went well
	w.Close()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "1/4") {
			return r, cmd, tmp
		}
	}
	t.Fatal("it ended before the first phase")
	return nil, nil, ""
}

func untilAllAreGone(t *testing.T, r *os.File) string {
	t.Helper()
	if err := r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("processes are left: %v", err)
	}
	return string(said)
}
