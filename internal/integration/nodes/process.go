// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

const nodeEnv = "LEASH_INTEGRATION_NODE"

// Main makes this process a node if it was started as one, and then does not
// return. Call it first.
func Main() {
	if config := os.Getenv(nodeEnv); config != "" {
		if err := serve(config, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "node:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// Node is a process.
type Node struct {
	Index int
	peer  *peer
	cmd   *exec.Cmd
	stdin io.Closer
	gone  chan struct{} // closed when the process has ended
	close sync.Once
}

// Start starts a node whose computations read from s.
func Start(c Config, s *Source) (*Node, error) {
	config, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), self)
	cmd.Env = append(os.Environ(), nodeEnv+"="+string(config))
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, attributes()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	n := &Node{Index: c.Index, peer: newPeer(stdin), cmd: cmd, stdin: stdin, gone: make(chan struct{})}
	n.peer.handle = s.handle
	started := make(chan error)
	go n.tend(started, stdout)
	return n, <-started
}

// tend starts the process, hears it and waits for its end, all on one thread:
// Linux sends the parent's death signal when the thread that forked ends.
func (n *Node) tend(started chan<- error, stdout io.Reader) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(n.gone)
	err := n.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	n.peer.listen(stdout)
	_ = n.cmd.Wait() // how it ended does not matter: it was closed or killed
}

// handle is what nodes ask for.
func (s *Source) handle(ctx context.Context, method string, in json.RawMessage) (any, error) {
	var q asked
	if err := json.Unmarshal(in, &q); err != nil {
		return nil, err
	}
	switch method {
	case "compute":
		return s.compute(ctx, q)
	case "change":
		return s.Change(q.Key), nil
	}
	return nil, fmt.Errorf("nodes: the source does not know %q", method)
}

// Pause halts the process, Resume lets it go on.
func (n *Node) Pause() error { return n.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (n *Node) Resume() error { return n.cmd.Process.Signal(syscall.SIGCONT) }

// Kill ends the process as kill -9 does, and returns when it is gone.
func (n *Node) Kill() {
	_ = n.cmd.Process.Kill() // fails only when it is gone already
	<-n.gone
}

// Close lets the process close its caches and end.
func (n *Node) Close(ctx context.Context) error {
	var err error
	n.close.Do(func() {
		err = n.peer.call(ctx, "close", struct{}{}, nil)
		n.Kill()
	})
	return err
}

// Run is a herd. It returns when all callers have their answers.
func (n *Node) Run(ctx context.Context, r Run) (calls []Call, err error) {
	return calls, n.peer.call(ctx, "run", r, &calls)
}

// Get reads what is stored.
func (n *Node) Get(ctx context.Context, c Cache, key string) (a Answer, err error) {
	return a, n.peer.call(ctx, "get", Run{Cache: c, Key: key}, &a)
}

// Delete deletes a key.
func (n *Node) Delete(ctx context.Context, c Cache, key string) (call Call, err error) {
	return call, n.peer.call(ctx, "delete", Run{Cache: c, Key: key}, &call)
}

// Stats returns what the node counted for a cache, and since the last call how
// long it stood still.
func (n *Node) Stats(ctx context.Context, c Cache) (s Stats, err error) {
	return s, n.peer.call(ctx, "stats", Run{Cache: c}, &s)
}

// Computations returns the local computations of this node, and forgets them.
func (n *Node) Computations(ctx context.Context) (list []Computation, err error) {
	return list, n.peer.call(ctx, "computations", struct{}{}, &list)
}

// Work is a mixed load that keeps a history.
func (n *Node) Work(ctx context.Context, w Work) (ops []Op, err error) {
	return ops, n.peer.call(ctx, "work", w, &ops)
}

// Churn is a load of many keys that expire again and again.
func (n *Node) Churn(ctx context.Context, c Churn) (r ChurnResult, err error) {
	return r, n.peer.call(ctx, "churn", c, &r)
}
