// SPDX-License-Identifier: Apache-2.0

// Package wire counts the commands that clients of Redis and memcached send, by
// reading them where they pass: in a TCP proxy, or in the client's own connection.
// Scripts' inner commands never pass there, so they are not counted.
package wire

import (
	"bytes"
	"maps"
	"strconv"
	"strings"
	"sync"
)

// Command is one command that a client sent.
type Command struct {
	Name  string // lower case
	Words int    // with the name
	Key   string // the word that is a key, as far as this package knows
}

// setUp are the commands by which a client opens a connection or learns of the
// server, however many keys it then uses.
var setUp = map[string]bool{
	"hello": true, "client": true, "auth": true, "select": true, "cluster": true, "command": true, "readonly": true,
}

// SetsUp reports whether a command is one of those.
func SetsUp(name string) bool { return setUp[name] }

// Counts is how many commands of each name were sent.
type Counts map[string]int

// Work is all but the commands that set up a connection.
func (c Counts) Work() int {
	n := 0
	for name, count := range c {
		if !setUp[name] {
			n += count
		}
	}
	return n
}

// Minus is what was counted since before.
func (c Counts) Minus(before Counts) Counts {
	d := Counts{}
	for name, n := range c {
		if n -= before[name]; n != 0 {
			d[name] = n
		}
	}
	return d
}

// Plus is both together.
func (c Counts) Plus(more Counts) Counts {
	sum := maps.Clone(c)
	if sum == nil {
		sum = Counts{}
	}
	for name, n := range more {
		sum[name] += n
	}
	return sum
}

// A Tally counts commands. Its zero value is ready.
type Tally struct {
	mu     sync.Mutex
	counts Counts
}

func (t *Tally) add(c Command) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = Counts{}
	}
	t.counts[c.Name]++
}

// Counts returns what was counted so far.
func (t *Tally) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}

// parser reads the requests of one connection, in whatever pieces they come:
// RESP arrays of bulk strings, which is all that clients of Redis send, or
// memcached's lines of text.
type parser struct {
	line  []byte // of a header, so far
	words int    // still to come in this command
	skip  int    // bytes of the current word that are still to come, with CRLF
	seen  []string
	total int
	word  []byte // the beginning of the current word
	whole func(Command)
}

const (
	longestWord = 256 // kept of a word
	keptWords   = 4   // kept of a command: EVALSHA's key is the fourth
)

func (p *parser) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if p.skip > 0 {
			b = b[p.take(b):]
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			p.line = append(p.line, b...)
			break
		}
		p.line = append(p.line, b[:end]...)
		b = b[end+1:]
		p.header(bytes.TrimRight(p.line, "\r"))
		p.line = p.line[:0]
	}
	return n, nil
}

// take reads bytes of a word and returns how many.
func (p *parser) take(b []byte) int {
	n := min(len(b), p.skip)
	if keep := min(n, longestWord-len(p.word)); keep > 0 {
		p.word = append(p.word, b[:keep]...)
	}
	if p.skip -= n; p.skip > 0 {
		return n
	}
	if p.words == 0 { // data of memcached
		p.word = p.word[:0]
		return n
	}
	if len(p.seen) < keptWords {
		p.seen = append(p.seen, strings.TrimSuffix(string(p.word), "\r\n"))
	}
	p.word = p.word[:0]
	if p.words--; p.words == 0 {
		p.whole(p.command())
		p.seen = p.seen[:0]
	}
	return n
}

func (p *parser) header(line []byte) {
	if len(line) == 0 {
		return
	}
	n := 0
	for _, d := range line[1:] {
		if d < '0' || d > '9' {
			break
		}
		n = n*10 + int(d-'0')
	}
	switch line[0] {
	case '*':
		p.words, p.total = n, n
	case '$':
		p.skip = n + len("\r\n")
	default:
		p.text(strings.Fields(string(line)))
	}
}

// text reads a line of memcached's protocol. A command that stores is followed by
// a block of data, whose length is the fifth word; the block is read as a word
// that ends no command.
func (p *parser) text(words []string) {
	c := Command{Name: words[0], Words: len(words)}
	if len(words) > 1 {
		c.Key = words[1]
	}
	if c.Name == "gets" { // all that gomemcache reads with
		c.Name = "get"
	}
	p.whole(c)
	switch c.Name {
	case "set", "add", "cas":
		if n, err := strconv.Atoi(words[min(4, len(words)-1)]); err == nil {
			p.skip, p.words = n+len("\r\n"), 0
		}
	}
}

func (p *parser) command() Command {
	c := Command{Name: strings.ToLower(p.seen[0]), Words: p.total}
	switch {
	case strings.HasPrefix(c.Name, "eval") && len(p.seen) > 3:
		c.Key = p.seen[3]
	case len(p.seen) > 1:
		c.Key = p.seen[1]
	}
	return c
}
