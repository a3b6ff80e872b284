// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// listed is a Store that compares its list of servers, and what it logs.
func listed(t *testing.T, addrs ...string) (*Store, *logbook, *line) {
	t.Helper()
	said, l := &logbook{}, &line{}
	s, err := Connect(addrs, ConnectOptions{Timeout: 10 * time.Second, Dial: l.dial, Options: Options{Logger: slog.New(said)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, said, l
}

// Two nodes with lists that differ: the second one says so, once. Other names for
// the same servers are no difference.
func TestLists(t *testing.T) {
	t.Parallel()
	addrs := fleet(t, 3)
	var names []string
	for _, a := range addrs {
		names = append(names, strings.Replace(a, "127.0.0.1", "localhost", 1))
	}
	for name, c := range map[string]struct {
		first, second []string
		errors        int
	}{
		"same":          {addrs, addrs, 0},
		"other names":   {addrs, names, 0},
		"other order":   {addrs, []string{addrs[1], addrs[0], addrs[2]}, 1},
		"reversed":      {addrs, []string{addrs[2], addrs[1], addrs[0]}, 1},
		"fewer":         {addrs, addrs[:2], 1},
		"more":          {addrs[:2], addrs, 1},
		"last ones":     {addrs, addrs[1:], 1},
		"another one":   {addrs[:2], []string{addrs[0], addrs[2]}, 0}, // order and number are all that is compared
		"one alone":     {addrs[:1], addrs, 1},
		"one twice":     {addrs[:2], []string{addrs[0], addrs[1], addrs[0]}, 1},
		"one of twice":  {[]string{addrs[0], addrs[0], addrs[1]}, []string{addrs[0], addrs[0], addrs[1]}, 0},
		"nothing alike": {addrs[:1], addrs[1:2], 0}, // two caches
	} {
		t.Run(name, func(t *testing.T) {
			namespace := strings.ReplaceAll(name, " ", "-") + ":"
			for i, list := range [][]string{c.first, c.second} {
				s, said, _ := listed(t, list...)
				for _, key := range []string{"1", "2", "3:4"} {
					if a := s.ask(t, namespace+key, nil, false, time.Minute); a.err != nil {
						t.Error(a.err)
					}
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				want := 0
				if i == 1 {
					want = c.errors
				}
				got := said.at(slog.LevelError)
				if len(got) != want {
					t.Errorf("node %d said %q, want %d lines", i, got, want)
				}
				for _, line := range got {
					if !strings.Contains(line, namespace) || !strings.Contains(line, "127.0.0.1:") {
						t.Errorf("said %q, without the namespace or the server", line)
					}
				}
			}
		})
	}
}

// Caches of other namespaces may be on other servers.
func TestListsOfOtherNamespaces(t *testing.T) {
	t.Parallel()
	addrs := fleet(t, 2)
	for i, namespace := range []string{"users:", "posts:"} {
		s, said, _ := listed(t, addrs[i], addrs[1-i])
		s.lease(t, namespace+"1", nil, time.Minute)
		_ = s.Close()
		if got := said.at(slog.LevelError); len(got) > 0 {
			t.Errorf("said %q", got)
		}
	}
}

// The note is under a key that the server takes, whatever the namespace.
func TestListsOfOddNamespaces(t *testing.T) {
	t.Parallel()
	addrs := fleet(t, 2)
	for _, namespace := range []string{
		"", "users:", "with blanks:", strings.Repeat("n", 240) + ":", strings.Repeat("n", 241) + ":",
		strings.Repeat("n", 242) + ":", strings.Repeat("n", 243) + ":", strings.Repeat("n", 1000) + ":",
	} {
		s, _, _ := listed(t, addrs...)
		s.lease(t, namespace+"1", nil, time.Minute)
		_ = s.Close()
		s, said, _ := listed(t, addrs[1], addrs[0])
		s.lease(t, namespace+"2", nil, time.Minute)
		_ = s.Close()
		if got := said.at(slog.LevelError); len(got) != 1 {
			t.Errorf("a namespace of %d bytes: said %q, want one line", len(namespace), got)
		}
	}
}

// Close waits for the comparison, and after it there is none.
func TestCloseWaitsForTheComparison(t *testing.T) {
	t.Parallel()
	s, _, l := listed(t, fleet(t, 1)...)
	compares, release := make(chan struct{}), make(chan struct{})
	l.onSend("add users:"+listMark, func() error { close(compares); <-release; return nil })
	s.lists.look("users:1")
	<-compares
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		t.Errorf("Close did not wait: %v", err)
		close(release)
		return
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	l.count()
	s.lists.look("posts:1")
	s.lists.wg.Wait()
	if sent := l.count(); len(sent) > 0 {
		t.Errorf("after Close it sent %q", sent)
	}
}

// A namespace is compared once a minute, and its note lives on.
func TestComparedOnceAMinute(t *testing.T) {
	t.Parallel()
	addr := fleet(t, 1)[0]
	s, said, l := listed(t, addr)
	r := newRaw(t, addr)
	looks := func(what string, key string, want ...string) {
		t.Helper()
		s.lists.look(key)
		s.lists.wg.Wait()
		if got := l.count(); !slices.Equal(got, want) {
			t.Errorf("%s: sent %q, want %q", what, got, want)
		}
	}
	looks("first", "users:1", "add users:"+listMark)
	looks("again", "users:1")
	looks("another key", "users:2")
	looks("another namespace", "posts:2", "add posts:"+listMark)
	s.lists.looked["users:"] = time.Now().Add(-lookEvery + 5*time.Second)
	looks("too early", "users:1")
	was := r.item(t, "users:"+listMark)
	s.lists.looked["users:"] = time.Now().Add(-lookEvery)
	looks("a minute later", "users:1", "add users:"+listMark, "gets users:"+listMark, "cas users:"+listMark)
	looks("again", "users:1")
	if now := r.item(t, "users:"+listMark); now == nil || now.CasID == was.CasID || string(now.Value) != "1 of 1" {
		t.Errorf("its note: %+v", now)
	}
	if len(said.said) > 0 {
		t.Errorf("said %q", said.at(slog.LevelError))
	}
}

// A server that is down is no difference, and the others are compared.
func TestListsWithAServerDown(t *testing.T) {
	t.Parallel()
	addrs := append([]string{"127.0.0.1:1"}, fleet(t, 2)...)
	s, said, _ := listed(t, addrs...)
	s.lists.look("users:1")
	_ = s.Close()
	if len(said.said) > 0 {
		t.Errorf("said %q", said.at(slog.LevelError))
	}
	s, said, _ = listed(t, addrs[0], addrs[2], addrs[1])
	s.lists.look("users:1")
	_ = s.Close()
	if got := said.at(slog.LevelError); len(got) != 1 {
		t.Errorf("said %q, want one line", got)
	}
}

// A Store on a client of one's own compares nothing, and leaves the client open.
func TestOwnClientIsNotClosed(t *testing.T) {
	t.Parallel()
	p := newPeer(t, fleet(t, 1)...)
	p.lease(t, "users:1", nil, time.Minute)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	p.get(t, "users:1")
	if sent := p.line.count(); !slices.Equal(sent, []string{"add users:1", "gets users:1"}) || p.line.dials != 1 {
		t.Errorf("sent %q over %d connections, want one", sent, p.line.dials)
	}
}
