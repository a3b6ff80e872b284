// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"os"
	"syscall"
)

// attributes makes the kernel kill the child when this process ends, however it
// ends: a test that times out runs no clean-up.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// pause returns when every thread has halted. Without the wait, a thread of
// memcached could still answer what is sent after the signal.
func pause(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	const (
		pPid    = 1         // P_PID: wait for this one process
		wNoWait = 0x1000000 // WNOWAIT: leave its state for whoever waits for its end
	)
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pPid, uintptr(p.Pid), 0,
			syscall.WSTOPPED|wNoWait, 0, 0)
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return os.NewSyscallError("waitid", errno)
		}
	}
}

func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
