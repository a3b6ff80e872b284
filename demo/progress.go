// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"sync"
)

// progress tells a user what is going on: on a terminal in one line that changes,
// elsewhere in lines.
type progress struct {
	prefix string // set it while nothing is shown

	mu       sync.Mutex
	out      *os.File
	terminal bool
	open     bool // a line stands there that may be written over
}

func newProgress(out *os.File) *progress {
	info, err := out.Stat()
	return &progress{
		out:      out,
		terminal: err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb",
	}
}

// now shows how things stand; on a terminal the next call writes over it.
func (p *progress) now(format string, args ...any) { p.show(p.terminal, format, args...) }

// line shows what is to stay.
func (p *progress) line(format string, args ...any) { p.show(false, format, args...) }

func (p *progress) show(open bool, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.out, p.prefix+format, args...)
	if p.open = open; !open {
		fmt.Fprintln(p.out)
	}
}

// end removes a line that would be written over.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.open = false
}

func (p *progress) clear() {
	if p.open {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
