// SPDX-License-Identifier: Apache-2.0

package nodes

import "syscall"

// attributes makes the kernel kill a node when its parent ends, however that
// ends: a paused node would not notice its closed pipe.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
