// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// A redisError is a reply by which Redis refuses a command.
type redisError string

func (e redisError) Error() string { return string(e) }

// denial reports whether only a right was missing.
func (e redisError) denial() bool {
	return strings.HasPrefix(string(e), "NOAUTH") || strings.HasPrefix(string(e), "NOPERM")
}

// call sends one command on a connection of its own and returns the reply, a
// line or a string. It saves this package a client library.
func call(addr string, command ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, askTimeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, encode(command)); err != nil {
		return "", err
	}
	return readReply(bufio.NewReader(conn))
}

func encode(command []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	return b.String()
}

func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	kind, rest := line[:min(1, len(line))], line[min(1, len(line)):]
	switch kind {
	case "+", ":":
		return rest, nil
	case "-":
		return "", redisError(rest)
	case "$":
		return readBulk(r, rest)
	}
	return "", fmt.Errorf("unexpected reply %q", line)
}

func readBulk(r *bufio.Reader, size string) (string, error) {
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 {
		return "", fmt.Errorf("reply of size %q", size)
	}
	text := make([]byte, n+len("\r\n"))
	_, err = io.ReadFull(r, text)
	return string(text[:n]), err
}
