// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package nodes

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
