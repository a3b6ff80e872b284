// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Redis starts one Redis server for a test. Each line goes into its
// configuration file after ours, in Redis's own words:
//
//	servers.Redis(t, "maxmemory 64mb", "maxmemory-policy allkeys-lru")
//	servers.Redis(t, "requirepass secret", "user ann on >pw ~app:* &* +@all")
//	servers.Redis(t, "appendonly yes") // data outlives Stop and Restart
//
// By default nothing is written to disk: after Restart the server is empty.
func Redis(t T, lines ...string) *Server {
	t.Helper()
	return inTest(t, func(dir string) (*Server, error) { return launch(redis(lines), dir) })
}

// StartRedis is [Redis] without a test. The caller closes the server.
func StartRedis(lines ...string) (*Server, error) {
	return launch(redis(lines), "")
}

func redis(lines []string) program {
	return program{
		binary: "redis-server",
		debian: "redis-server",
		args: func(dir string, port int) ([]string, error) {
			file := filepath.Join(dir, "redis.conf")
			config := strings.Join(append(redisConfig(dir, port), lines...), "\n") + "\n"
			return []string{file}, os.WriteFile(file, []byte(config), 0o600)
		},
		ask: askRedis,
	}
}

func redisConfig(dir string, port int) []string {
	return []string{
		"bind 127.0.0.1",
		fmt.Sprintf("port %d", port),
		fmt.Sprintf("dir %q", dir),
		"daemonize no",
		`save ""`,
		// A rewrite forks, and the fork would outlive a server that is killed.
		"auto-aof-rewrite-percentage 0",
	}
}

// askRedis accepts an answer that denies us the command: the server is up, but
// it wants a password that we need not know. While it loads its data it is not.
func askRedis(addr string) error {
	_, err := call(addr, "PING")
	if refused, ok := errors.AsType[redisError](err); ok && refused.denial() {
		return nil
	}
	return err
}
