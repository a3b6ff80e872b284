// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

const (
	// readyWithin is long: a loaded machine must not make tests fail.
	readyWithin = 30 * time.Second
	askTimeout  = time.Second
	pollEvery   = 5 * time.Millisecond
)

// A program is one kind of server.
type program struct {
	binary string
	debian string // the package that holds the binary

	// args makes the command line for a server that listens on port and keeps
	// its files in dir.
	args func(dir string, port int) ([]string, error)

	// ask returns nil when the server at addr answers.
	ask func(addr string) error
}

// Server is one server process. It keeps its port and its directory while it is
// stopped. Methods are safe for concurrent use.
type Server struct {
	program program
	path    string
	args    []string
	dir     string
	ownsDir bool // Close removes the directory
	port    *reservation

	mu     sync.Mutex // guards what follows
	child  *child     // nil while stopped
	closed bool
}

// launch starts a program in dir, or in a directory of its own when dir is
// empty, and waits until it answers.
func launch(p program, dir string) (*Server, error) {
	path, err := exec.LookPath(p.binary)
	if err != nil {
		return nil, fmt.Errorf("servers: %s is not installed; on Debian run: apt-get install %s (%w)",
			p.binary, p.debian, err)
	}
	s := &Server{program: p, path: path, dir: dir}
	err = s.prepare()
	if err == nil {
		err = s.Restart()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// prepare gives the server its directory, port and command line.
func (s *Server) prepare() error {
	err := s.makeDir()
	if err != nil {
		return err
	}
	if s.port, err = reserve(); err != nil {
		return err
	}
	s.args, err = s.program.args(s.dir, s.port.port)
	return err
}

func (s *Server) makeDir() (err error) {
	if s.dir != "" {
		return os.MkdirAll(s.dir, 0o700)
	}
	s.dir, err = os.MkdirTemp("", "leash-"+s.program.binary+"-")
	s.ownsDir = err == nil
	return err
}

// Addr is where the server listens, as host:port. It never changes.
func (s *Server) Addr() string { return loopback(s.port.port) }

// Dir is where the server keeps its files.
func (s *Server) Dir() string { return s.dir }

// Pid is the process id, or 0 while the server is stopped.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil {
		return 0
	}
	return s.child.process.Pid
}

// Output is what the server has printed so far, over all of its starts.
func (s *Server) Output() string {
	out, err := os.ReadFile(s.outputPath())
	if err != nil {
		return err.Error()
	}
	return string(out)
}

func (s *Server) outputPath() string { return filepath.Join(s.dir, "output") }

// Stop kills the server as kill -9 does, and returns when it is gone.
// What it wrote to its directory stays.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
}

func (s *Server) stop() {
	if s.child != nil {
		s.child.kill()
		s.child = nil
	}
}

// Restart stops the server when it runs, starts it again on the same port and
// in the same directory, and returns when it answers.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("servers: restart of a closed server")
	}
	s.stop()
	c, err := spawn(s.path, s.args, s.dir, s.outputPath())
	if err != nil {
		return fmt.Errorf("servers: start %s: %w", s.program.binary, err)
	}
	s.child = c
	if err := s.ready(); err != nil {
		s.stop()
		return fmt.Errorf("servers: start %s: %w; its output:\n%s", s.program.binary, err, s.Output())
	}
	return nil
}

// ready waits until the server answers. It asks again and again, because there
// is nothing else that all servers would tell.
func (s *Server) ready() error {
	ask := func() error { return s.program.ask(s.Addr()) }
	return poll(ask, s.child.gone)
}

// Pause halts the process (SIGSTOP) and returns when it has halted: connections
// stay open, and nothing is answered until Resume.
func (s *Server) Pause() error {
	return s.signal(pause)
}

// Resume lets a paused server go on (SIGCONT).
func (s *Server) Resume() error {
	return s.signal(resume)
}

func (s *Server) signal(send func(*os.Process) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil {
		return fmt.Errorf("servers: %s is stopped", s.program.binary)
	}
	return send(s.child.process)
}

// Close kills the server, gives its port back, and removes the directory unless
// that belongs to a test. It may be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.stop()
	if s.port != nil {
		s.port.release()
	}
	if s.ownsDir {
		_ = os.RemoveAll(s.dir) // a file left in the temporary directory harms nobody
	}
}

// poll calls ask until it succeeds, gone is closed, or readyWithin has passed.
func poll(ask func() error, gone <-chan struct{}) error {
	deadline := time.Now().Add(readyWithin)
	for {
		err := ask()
		switch {
		case isClosed(gone): // first: someone else may have answered
			return errors.New("it exited")
		case err == nil:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("not ready within %v: %w", readyWithin, err)
		}
		time.Sleep(pollEvery)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
