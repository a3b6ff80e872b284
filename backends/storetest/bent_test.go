// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
)

// TestEachRowFindsItsBug plants one bug at a time in a right store and wants the
// row that the bug belongs to to fail. The other rows may do as they like, but
// no store makes the suite itself panic or hang.
func TestEachRowFindsItsBug(t *testing.T) {
	byName := map[string]row{}
	for _, r := range rows() {
		if _, twice := byName[r.name]; twice {
			t.Errorf("two rows are named %s", r.name)
		}
		if r.rule == "" {
			t.Errorf("row %s names no rule", r.name)
		}
		byName[r.name] = r
	}
	found := map[string]bool{}
	for _, b := range bugs() {
		t.Run(b.name, func(t *testing.T) {
			r, ok := byName[b.row]
			if !ok {
				t.Fatalf("there is no row %q", b.row)
			}
			found[b.row] = true
			for _, other := range rows() {
				if !strings.HasPrefix(other.name, "race-") {
					play(t, other, b)
				}
			}
			tb := play(t, r, b)
			if !tb.failed {
				t.Errorf("the row %s did not find it: %v", b.row, tb.log)
			} else if !strings.Contains(strings.Join(tb.log, "\n"), r.rule) {
				t.Errorf("the row does not print its rule: %v", tb.log)
			}
		})
	}
	for _, r := range rows() {
		if !found[r.name] {
			t.Errorf("no bug is planted for row %s", r.name)
		}
	}
}

// TestNoBug wants every row to run and to pass on the wrapper alone.
func TestNoBug(t *testing.T) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			if tb := play(t, r, bug{bend: func(*bent) {}}); tb.failed || tb.skipped {
				t.Errorf("failed %v, skipped %v: %v", tb.failed, tb.skipped, tb.log)
			}
		})
	}
}

// TestRunFails wants the whole suite to fail in a real test, and to say why. The
// test runs itself once more for that, as a testing.T cannot be made up.
func TestRunFails(t *testing.T) {
	const env = "LEASH_STORETEST_BUG"
	if os.Getenv(env) != "" {
		New := func(*testing.T) leash.Store {
			s := &bent{Store: memstore.New()}
			s.get = func(context.Context, string, []byte) ([]byte, error) { return nil, nil }
			return s
		}
		Config{New: New, Around: synctest.Test}.Run(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRunFails$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), env+"=1")
	out, err := cmd.CombinedOutput()
	for _, want := range []string{"--- FAIL: TestRunFails/get-round-trip", "broken rule: An entry is a byte string"} {
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("a store that returns nothing: %v, want %q in\n%s", err, want, out)
		}
	}
	if strings.Contains(string(out), "--- FAIL: TestRunFails/get-nothing") {
		t.Errorf("a row failed whose rule is kept:\n%s", out)
	}
}

// play runs r in a bubble on a store with the bug b.
func play(t *testing.T, r row, b bug) *fakeTB {
	tb := &fakeTB{}
	synctest.Test(t, func(t *testing.T) {
		s := &bent{Store: memstore.New()}
		b.bend(s)
		e := &env{TB: tb, ctx: t.Context(), s: s, other: s, cfg: Config{
			Raw: func(_ leash.Store, key string, data []byte) error { return s.put(key, data) },
			// memstore reads everything; what it cannot read is played by words.
			OtherType: func(_ leash.Store, key string) error { return s.put(key, []byte("a list")) },
		}}
		done := make(chan struct{})
		go func() { // Fatal ends a goroutine
			defer close(done)
			r.run(e)
		}()
		<-done
	})
	return tb
}

// fakeTB records what a row says. What it does not implement panics.
type fakeTB struct {
	testing.TB
	failed, skipped bool
	log             []string
}

func (f *fakeTB) Helper()                    {}
func (f *fakeTB) Failed() bool               { return f.failed }
func (f *fakeTB) Logf(s string, args ...any) { f.log = append(f.log, fmt.Sprintf(s, args...)) }

func (f *fakeTB) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

func (f *fakeTB) Fatalf(s string, args ...any) {
	f.failed = true
	f.Logf(s, args...)
	runtime.Goexit()
}

func (f *fakeTB) Skip(args ...any) {
	f.skipped = true
	f.Logf("%s", fmt.Sprint(args...))
	runtime.Goexit()
}

// bent is a right store, some of whose methods a bug replaces.
type bent struct {
	*memstore.Store
	name    func(key string) string // renames every key
	get     func(ctx context.Context, key string, buf []byte) ([]byte, error)
	many    func(ctx context.Context, keys []string) ([][]byte, error)
	lease   func(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error)
	publish func(ctx context.Context, key string, entry []byte, ttl time.Duration, force bool) (bool, error)
	renew   func(ctx context.Context, key string, token []byte, ttl time.Duration) (bool, error)
	abandon func(ctx context.Context, key string, token []byte, backoff time.Duration) (bool, error)
	remove  func(ctx context.Context, key string) error
	watch   func(key string) (<-chan []byte, func())

	mu    sync.Mutex
	wakes []<-chan []byte // of every Watch, for bugs that lose hints
}

func (b *bent) key(key string) string {
	if b.name != nil {
		return b.name(key)
	}
	return key
}

func (b *bent) Get(ctx context.Context, key string, buf []byte) ([]byte, error) {
	if b.get != nil {
		return b.get(ctx, key, buf)
	}
	return b.Store.Get(ctx, b.key(key), buf)
}

func (b *bent) GetMany(ctx context.Context, keys []string) ([][]byte, error) {
	if b.many != nil {
		return b.many(ctx, keys)
	}
	return b.Store.GetMany(ctx, keys)
}

func (b *bent) Lease(ctx context.Context, key string, lease, seen []byte, steal bool, ttl time.Duration) ([]byte, time.Duration, error) {
	if b.lease != nil {
		return b.lease(ctx, key, lease, seen, steal, ttl)
	}
	return b.Store.Lease(ctx, b.key(key), lease, seen, steal, ttl)
}

func (b *bent) Publish(ctx context.Context, key string, entry []byte, ttl time.Duration, force bool) (bool, error) {
	if b.publish != nil {
		return b.publish(ctx, key, entry, ttl, force)
	}
	return b.Store.Publish(ctx, b.key(key), entry, ttl, force)
}

func (b *bent) Renew(ctx context.Context, key string, token []byte, ttl time.Duration) (bool, error) {
	if b.renew != nil {
		return b.renew(ctx, key, token, ttl)
	}
	return b.Store.Renew(ctx, b.key(key), token, ttl)
}

func (b *bent) Abandon(ctx context.Context, key string, token []byte, backoff time.Duration) (bool, error) {
	if b.abandon != nil {
		return b.abandon(ctx, key, token, backoff)
	}
	return b.Store.Abandon(ctx, b.key(key), token, backoff)
}

func (b *bent) Delete(ctx context.Context, key string) error {
	if b.remove != nil {
		return b.remove(ctx, key)
	}
	return b.Store.Delete(ctx, b.key(key))
}

func (b *bent) Watch(key string) (<-chan []byte, func()) {
	if b.watch != nil {
		return b.watch(key)
	}
	wake, stop := b.Store.Watch(b.key(key))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wakes = append(b.wakes, wake)
	return wake, stop
}

// put writes data under key as it is.
func (b *bent) put(key string, data []byte) error {
	_, err := b.Store.Publish(context.Background(), key, data, time.Hour, true)
	return err
}

// at reads what stands under key.
func (b *bent) at(key string) []byte {
	got, _ := b.Store.Get(context.Background(), key, nil)
	return got
}

// deaf takes all hints away that wait to be read.
func (b *bent) deaf() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, wake := range b.wakes {
		select {
		case <-wake:
		default:
		}
	}
}
