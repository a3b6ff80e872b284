// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"os"
	"os/exec"
	"runtime"
)

// A child is a running process that is waited for.
type child struct {
	process *os.Process
	gone    chan struct{} // closed when the process has ended and was waited for
}

// spawn starts a process in dir that appends what it prints to a file.
func spawn(path string, args []string, dir, output string) (*child, error) {
	out, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = dir, out, out, attributes()

	c := &child{gone: make(chan struct{})}
	started := make(chan error)
	go c.tend(cmd, started)
	if err := <-started; err != nil {
		return nil, err
	}
	c.process = cmd.Process
	return c, nil
}

// tend starts the process and waits for its end, all on one thread: Linux sends
// the parent's death signal when the thread that forked ends, and Go ends the
// thread of a test that returns with it locked.
func (c *child) tend(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	started <- err
	if err == nil {
		_ = cmd.Wait() // how it ended does not matter: it was killed
		close(c.gone)
	}
}

// kill ends the process, also a paused one, and returns when it is gone.
func (c *child) kill() {
	_ = c.process.Kill() // fails only when it is gone already
	<-c.gone
}
