// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// A test binary that times out or is killed runs no clean-up.
func TestServerDiesWithTheProcessThatStartedIt(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // keeps it waiting
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewScanner(stdout)
	out.Scan()
	addr := out.Text()
	out.Scan()
	t.Cleanup(func() { os.RemoveAll(out.Text()) })

	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if _, err := readSome(conn, readyWithin); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the server's connection: %v, want that it ended with the server", err)
	}
}

// Go ends the thread of a goroutine that returns with it locked, and the kernel
// takes that for the parent's death when the thread was the one that forked.
func TestServerOutlivesTheThreadThatStartedIt(t *testing.T) {
	t.Parallel()
	var srv *Server
	var thread int
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		thread = syscall.Gettid()
		var err error
		srv, err = StartRedis()
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	ended := func() error {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", thread))
		if err == nil && thread != os.Getpid() { // the first thread never ends
			return errors.New("the thread still runs")
		}
		return nil
	}
	if err := poll(ended, srv.child.gone); err != nil {
		t.Fatal(err)
	}
	ask(t, srv.Addr(), "PING")
}
