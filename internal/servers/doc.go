// SPDX-License-Identifier: Apache-2.0

// Package servers starts real servers for tests, benchmarks and the demo: Redis,
// a Redis Cluster of three masters, and memcached. Nothing here is a fake, and
// nothing is skipped: when a server is not installed, the error says what to
// install.
//
// In a test:
//
//	srv := servers.Redis(t, "maxmemory 64mb")
//	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr()})
//
// Without a test, as in TestMain:
//
//	srv, err := servers.StartRedis()
//	if err != nil { ... }
//	defer srv.Close()
//
// Every server listens on a port of its own on 127.0.0.1, keeps its files in a
// temporary directory, and is killed by [Server.Close]. On Linux it also dies
// with the process that started it, however that one ends.
//
// A server is a real process on a real clock, so none of this works inside a
// testing/synctest bubble.
package servers

// T is the part of testing.TB that this package needs. It is spelled out here
// so that programs which use this package do not link package testing.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	TempDir() string
}

// closer is a server, or a group of them.
type closer interface{ Close() }

// inTest starts something in a directory of the test and closes it at its end.
// The directory is made first: it then is removed last, when nothing writes there.
func inTest[S closer](t T, start func(dir string) (S, error)) S {
	t.Helper()
	dir := t.TempDir()
	srv, err := start(dir)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(srv.Close)
	return srv
}
