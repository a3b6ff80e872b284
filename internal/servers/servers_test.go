// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEnv turns this test program into one that starts a server and waits.
const childEnv = "LEASH_SERVERS_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		startAndWait()
	}
	os.Exit(m.Run())
}

func ask(t *testing.T, addr string, command ...string) string {
	t.Helper()
	reply, err := call(addr, command...)
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return reply
}

func restart(t *testing.T, srv *Server) {
	t.Helper()
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
}

func TestRedisAnswersAndRestartsEmptyOnItsPort(t *testing.T) {
	t.Parallel()
	srv := Redis(t)
	addr, pid := srv.Addr(), srv.Pid()
	ask(t, addr, "SET", "k", "v")

	srv.Stop()
	if _, err := call(addr, "PING"); err == nil {
		t.Error("a stopped server answers")
	}
	if got := srv.Pid(); got != 0 {
		t.Errorf("Pid of a stopped server is %d, want 0", got)
	}
	restart(t, srv)
	if srv.Addr() != addr || srv.Pid() == pid {
		t.Errorf("after Restart: %s, process %d; want %s and not %d", srv.Addr(), srv.Pid(), addr, pid)
	}
	if got := ask(t, addr, "EXISTS", "k"); got != "0" {
		t.Errorf("EXISTS after Restart = %s, want 0: nothing is written to disk unless asked for", got)
	}
}

func TestConfigurationLinesReachRedis(t *testing.T) {
	t.Parallel()
	srv := Redis(t, "appendonly yes", "maxmemory 64mb")
	if info := ask(t, srv.Addr(), "INFO", "memory"); !strings.Contains(info, "maxmemory:67108864\r\n") {
		t.Errorf("INFO does not show the limit:\n%s", info)
	}
	ask(t, srv.Addr(), "SET", "k", "v")
	restart(t, srv)
	if got := ask(t, srv.Addr(), "GET", "k"); got != "v" {
		t.Errorf("GET after Restart = %q, want v: appendonly keeps what was written", got)
	}
}

func TestRedisThatWantsAPasswordIsReady(t *testing.T) {
	t.Parallel()
	srv := Redis(t, "requirepass secret", "user ann on >pw ~* &* +@all")
	_, err := call(srv.Addr(), "GET", "k")
	if refused, ok := errors.AsType[redisError](err); !ok || !refused.denial() {
		t.Errorf("GET without a password: %v, want a refusal", err)
	}
}

func TestPausedServerAnswersAfterResume(t *testing.T) {
	t.Parallel()
	for name, srv := range map[string]*Server{"redis": Redis(t), "memcached": Memcached(t)} {
		if err := srv.Pause(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := srv.Pause(); err != nil {
			t.Errorf("%s: second Pause: %v", name, err)
		}
		conn, err := net.Dial("tcp", srv.Addr()) // the kernel accepts for it
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "nonsense\r\n")
		if n, err := readSome(conn, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: read from a paused server: %d bytes, %v; want silence", name, n, err)
		}
		if err := srv.Resume(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := readSome(conn, readyWithin); err != nil {
			t.Errorf("%s: after Resume: %v, want what was asked before", name, err)
		}
	}
}

func readSome(conn net.Conn, within time.Duration) (int, error) {
	_ = conn.SetReadDeadline(time.Now().Add(within))
	return conn.Read(make([]byte, 64))
}

func TestMemcachedAnswersAndRestartsOnItsPort(t *testing.T) {
	t.Parallel()
	srv := Memcached(t, "-m", "16")
	addr := srv.Addr()
	srv.Stop()
	if err := askMemcached(addr); err == nil {
		t.Error("a stopped server answers")
	}
	restart(t, srv)
	if err := askMemcached(addr); err != nil {
		t.Errorf("after Restart: %v", err)
	}
}

func TestClusterServesAllSlotsAndSurvivesARestart(t *testing.T) {
	t.Parallel()
	c := Cluster(t)
	if got := len(c.Addrs()); got != masters {
		t.Fatalf("%d nodes, want %d", got, masters)
	}
	restart(t, c.Nodes()[1])
	if err := c.Ready(); err != nil {
		t.Fatal(err)
	}
	for i, node := range c.Nodes() {
		if info := ask(t, node.Addr(), "CLUSTER", "INFO"); !strings.Contains(info, "cluster_slots_ok:16384\r\n") {
			t.Errorf("node %d does not find all slots served:\n%s", i, info)
		}
	}
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	t.Parallel()
	redis, err := StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	memcached, err := StartMemcached()
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := StartCluster()
	if err != nil {
		t.Fatal(err)
	}
	all := append(cluster.Nodes(), redis, memcached)
	pids := make([]int, len(all))
	for i, srv := range all {
		pids[i] = srv.Pid()
	}
	cluster.Close()
	for i, srv := range all {
		srv.Close()
		srv.Close()
		mustBeGone(t, srv, pids[i])
	}
}

func mustBeGone(t *testing.T, srv *Server, pid int) {
	t.Helper()
	if alive(pid) {
		t.Errorf("process %d lives after Close", pid)
	}
	if conn, err := net.Dial("tcp", srv.Addr()); err == nil {
		t.Errorf("%s accepts connections after Close", srv.Addr())
		conn.Close()
	}
	if _, err := os.Stat(srv.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory after Close: %v, want that it does not exist", err)
	}
	if err := srv.Restart(); err == nil {
		t.Error("Restart after Close started a server that nobody ends")
	}
}

// alive also calls a process alive that ended and was not waited for.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

func TestFailedStartShowsWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	for want, start := range map[string]func() (*Server, error){
		"no-such-directive":   func() (*Server, error) { return StartRedis("no-such-directive 1") },
		"unrecognized option": func() (*Server, error) { return StartMemcached("--no-such-option") },
	} {
		srv, err := start()
		if err == nil {
			srv.Close()
			t.Errorf("%s: it started", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("error is %q, want the server's own words, with %q", err, want)
		}
	}
}

func TestMissingServerSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for want, start := range map[string]func() error{
		"apt-get install redis-server": func() error { _, err := StartRedis(); return err },
		"apt-get install memcached":    func() error { _, err := StartMemcached(); return err },
	} {
		if err := start(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want that it says %q", err, want)
		}
	}
	if _, err := StartCluster(); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("StartCluster: %v, want one that matches exec.ErrNotFound", err)
	}
}

// fakeT records what Fatalf is given.
type fakeT struct {
	T
	failure string
}

func (f *fakeT) Fatalf(format string, args ...any) {
	f.failure = fmt.Sprintf(format, args...)
	panic(f)
}

func TestMissingServerFailsTheTestAndDoesNotSkipIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	fake := &fakeT{T: t}
	func() {
		defer func() { _ = recover() }()
		Redis(fake)
	}()
	if !strings.Contains(fake.failure, "redis-server is not installed") {
		t.Errorf("Fatalf was given %q, want what is missing", fake.failure)
	}
}

func TestReservedPortIsNotGivenTwice(t *testing.T) {
	t.Parallel()
	r, err := reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer r.release()
	second := &reservation{}
	defer second.release()
	if second.hold(r.port) == nil {
		t.Errorf("port %d was reserved twice", r.port)
	}
	if second.hold(r.port+busOffset) == nil {
		t.Errorf("port %d was reserved twice", r.port+busOffset)
	}
}

// startAndWait is the program of the next test. It closes nothing.
func startAndWait() {
	srv, err := StartRedis()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(srv.Addr())
	fmt.Println(srv.Dir())
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}
