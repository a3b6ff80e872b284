// SPDX-License-Identifier: Apache-2.0

package memcachestore

import (
	"strings"
	"testing"
	"time"

	"github.com/leashcache/leash/internal/servers"
)

var (
	long243 = "users:" + strings.Repeat("k", 243-6)
	long244 = long243 + "k"
)

// odd keys, and what the servers know them as. These names are read by other
// nodes and other languages: they must never change.
var goldenKeys = []struct{ key, server string }{
	{"users:1", "users:1"},
	{"k", "k"},
	{"a~b", "a~b"},
	{"a~", "a~"},
	{"ключ:日本", "ключ:日本"},
	{"a\xff\x80", "a\xff\x80"},
	{long243, long243},
	{long244, "users:" + strings.Repeat("k", 144) + "~~3469ef0fe306d266ed9dddb7984e6dc4f027be7f"},
	{strings.Repeat("x", 1<<16), strings.Repeat("x", 150) + "~~1f8745f0d2d1387ec1af2211a3cf417b2e9e885e"},
	{"", "~~e3b0c44298fc1c149afbf4c8996fb92427ae41e4"},
	{" ", "_~~36a9e7f1c95b82ffb99743e0c5c4ce95d83c9a43"},
	{"users:john smith", "users:john_smith~~6d5e928842082ee891bcb34e94c1074ef9294a58"},
	{"users:john_smith", "users:john_smith"},
	{"users:1\r\ndelete users:2", "users:1__delete_users:2~~7bdb6040fe731e409c9902eb53d5219587cb4e00"},
	{"a\x00", "a_~~ffe9aaeaa2a2d5048174df0b80599ef0197ec024"},
	{"a\x7f", "a_~~c5791af439fe7995107aba250c140cfd948cb088"},
	{"a\tb", "a_b~~894891f8b78a9945b0aa07e70d5f71f10b1f1990"},
	{"né e", "n__e~~b59aacb39a9a98a942af3123d3ababb694a2a2ae"},
	{"\xff ", "__~~7a0fea703f89680b2ce80fc2fcc40ba207cd8e75"},
	{"a~~b", "a~~b~~ae3ee42f50a22d39da83118c113c50741e2a25d2"},
	{"~~", "~~~~4970013df10508ef00f352cd04056098a681e77f"},
	{"a~~~", "a~~~~~0a0e1094ffb07dac7d4ce3e5decc98cb23de8062"},
	{"users:1~~lease", "users:1~~lease~~28151af91c38ff23eb66c986a48a79acbdbee469"},
	{"a~~~lease", "a~~~lease~~dc304913b6ed98ef8edc10edee94af4a30b9a8ac"},
	{"users:~~servers", "users:~~servers~~64fd18fa7f68a0c99801b2e7cea69107b86636b4"},
	{"~~e3b0c44298fc1c149afbf4c8996fb92427ae41e4", "~~e3b0c44298fc1c149afbf4c8996fb92427ae41e4~~ab850cfa917e58c95feb89921c9c52ef22af8608"},
	{"users:john_smith~~", "users:john_smith~~~~7a3fd626717bfe0a53ee1b464ebdcbb378760bb7"},
}

// mustBeLegal holds k against what gomemcache and memcached take, also as a guard.
func mustBeLegal(t *testing.T, key, k string) {
	t.Helper()
	if k == "" || len(k+guardMark) > 250 {
		t.Errorf("%q became %d bytes", key, len(k))
	}
	for i := range len(k) {
		if k[i] <= ' ' || k[i] == 0x7f {
			t.Errorf("%q became %q, with byte %#x", key, k, k[i])
		}
	}
}

// mustDiffer says that two keys share no item of the servers.
func mustDiffer(t *testing.T, a, b string) {
	t.Helper()
	x, y := serverKey(a), serverKey(b)
	items := map[string]string{}
	for _, k := range []string{x, x + guardMark, x + listMark, y, y + guardMark, y + listMark} {
		if was, twice := items[k]; twice {
			t.Errorf("%q and %q: %q is also %q", a, b, k, was)
		}
		items[k] = k
	}
}

// A key becomes the same in each version and on each node.
func TestServerKeyGolden(t *testing.T) {
	for _, c := range goldenKeys {
		if got := serverKey(c.key); got != c.server {
			t.Errorf("serverKey(%.300q) = %q, want %q", c.key, got, c.server)
		}
	}
}

// Whatever the key, the server takes it; no two keys meet, nor does one meet the
// guard or the note of another.
func TestServerKeyIsInjective(t *testing.T) {
	var keys []string
	for _, c := range goldenKeys {
		keys = append(keys, c.key)
		// What it became, and its guard, are keys as well.
		for _, k := range []string{serverKey(c.key), serverKey(c.key) + guardMark, serverKey(c.key) + listMark} {
			if k != c.key {
				keys = append(keys, k)
			}
		}
	}
	seen := map[string]bool{}
	for i, a := range keys {
		if seen[a] {
			continue
		}
		seen[a] = true
		mustBeLegal(t, a, serverKey(a))
		for _, b := range keys[i+1:] {
			if a != b {
				mustDiffer(t, a, b)
			}
		}
	}
}

func FuzzServerKey(f *testing.F) {
	for i, c := range goldenKeys {
		f.Add(c.key, goldenKeys[(i+1)%len(goldenKeys)].key)
		f.Add(c.key, serverKey(c.key))
		f.Add(c.key, serverKey(c.key)+guardMark)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		k := serverKey(a)
		mustBeLegal(t, a, k)
		if serverKey(a) != k {
			t.Errorf("%q becomes two keys", a)
		}
		for _, b := range []string{b, k, k + guardMark, k + listMark, a + mark, a + " "} {
			if a != b {
				mustDiffer(t, a, b)
			}
		}
		for i := range min(len(a), readable) {
			if a[i] > '~' {
				break
			}
			if a[i] > ' ' && k[i] != a[i] {
				t.Errorf("%q became %q: byte %d is no longer readable", a, k, i)
			}
		}
	})
}

// All steps work on keys that memcached would not take, and none disturbs another.
func TestOddKeys(t *testing.T) {
	t.Parallel()
	addr := servers.Memcached(t).Addr()
	a, b := newPeer(t, addr), newPeer(t, addr)
	values := map[string][]byte{}
	for _, c := range goldenKeys {
		whole(t, a.Store, b.Store, c.key)
	}
	for _, c := range goldenKeys { // each with a guard
		v := a.store(t, c.key, c.key, time.Minute)
		a.lease(t, c.key, v, time.Minute)
		values[c.key] = v
	}
	for key, v := range values {
		if got := b.get(t, key); value(got) != value(v) {
			t.Errorf("%.50q: read %.200q", key, got)
		}
		if a := b.ask(t, key, v, false, time.Minute); a.granted || a.err != nil {
			t.Errorf("%.50q: its guard is gone (%v)", key, a.err)
		}
	}
}
