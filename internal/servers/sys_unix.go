// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package servers

import (
	"os"
	"syscall"
)

// attributes is empty: only Linux can tie a child's life to its parent's.
func attributes() *syscall.SysProcAttr { return nil }

func pause(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
