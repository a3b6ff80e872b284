// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Memcached starts one memcached server for a test. args are more options for
// its command line, such as "-m", "64".
func Memcached(t T, args ...string) *Server {
	t.Helper()
	return inTest(t, func(dir string) (*Server, error) { return launch(memcached(args), dir) })
}

// StartMemcached is [Memcached] without a test. The caller closes the server.
func StartMemcached(args ...string) (*Server, error) {
	return launch(memcached(args), "")
}

func memcached(args []string) program {
	return program{
		binary: "memcached",
		debian: "memcached",
		args: func(_ string, port int) ([]string, error) {
			ours := []string{"-l", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "0"}
			if os.Geteuid() == 0 {
				ours = append(ours, "-u", "root") // it will not run as root unasked
			}
			return append(ours, args...), nil
		},
		ask: askMemcached,
	}
}

func askMemcached(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, askTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("version\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "VERSION ") {
		err = fmt.Errorf("asked for its version it said %q", line)
	}
	return err
}
