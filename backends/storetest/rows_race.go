// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"sync"

	"github.com/leashcache/leash"
)

var raceRows = []row{
	{
		name: "race-one-holder",
		rule: "Lease is one atomic step on the primary: of many who ask at the same time exactly one is granted, on nothing, on a value and when all steal.",
		test: func(e *env) {
			for range 10 {
				key := e.key("a")
				e.oneOf(32, key, nil, false)
				a := e.oneOf(32, key, e.get(e.s, key), true)
				v := value(key, a.token, "v")
				e.publish(e.other, key, v, long, false, true)
				e.oneOf(32, key, v, false)
				e.oneOf(32, key, e.get(e.s, key), true)
				e.delete(e.s, key)
			}
		},
	},
	{
		name:  "race-foreign",
		rule:  "Foreign bytes are compared and replaced in one step: of many who saw them exactly one is granted.",
		needs: needRaw,
		test: func(e *env) {
			for _, b := range foreign() {
				key := e.key("a")
				e.raw(key, b)
				e.oneOf(32, key, b, false)
			}
		},
	},
	{
		name: "race-publish-delete",
		rule: "Publish compares and stores in one step: what was computed before a delete is never stored after it.",
		test: func(e *env) { e.rounds(2000, publishOrDelete) },
	},
	{
		name: "race-publish-renew",
		rule: "Renew compares and writes in one step: it never changes what was published meanwhile.",
		test: func(e *env) {
			e.rounds(500, func(e *env, i int, key string) error {
				return e.publishOr(i, key, func(s leash.Store, a asked) error {
					_, err := s.Renew(e.ctx, key, a.token[:], long)
					return err
				})
			})
		},
	},
	{
		name: "race-publish-abandon",
		rule: "Abandon compares and writes in one step: it never removes what was published meanwhile.",
		test: func(e *env) {
			e.rounds(500, func(e *env, i int, key string) error {
				return e.publishOr(i, key, func(s leash.Store, a asked) error {
					_, err := s.Abandon(e.ctx, key, a.token[:], 0)
					return err
				})
			})
		},
	},
	{
		name: "race-publish-steal",
		rule: "A lease is stolen or its holder publishes, never both.",
		test: func(e *env) { e.rounds(500, publishOrSteal) },
	},
}

// oneOf lets n ask for the same lease at once and returns the one that was granted.
func (e *env) oneOf(n int, key string, seen []byte, steal bool) asked {
	e.Helper()
	answers := make([]asked, n)
	e.together(n, func(i int, s leash.Store) (err error) {
		answers[i], err = e.try(s, key, seen, steal, long)
		return err
	})
	var holder asked
	granted := 0
	for _, a := range answers {
		if a.granted() {
			holder = a
			granted++
		}
	}
	if granted != 1 {
		e.Fatalf("%d of %d were granted the same lease", granted, n)
	}
	for _, a := range answers {
		// Who saw a lease that was stolen meanwhile is refused by the thief's.
		if !a.granted() && token(a.entry) != holder.token {
			e.Fatalf("refused by %s, but %x holds the lease", show(a.entry), holder.token)
		}
	}
	e.mustCarry(key, holder.token, 0)
	return holder
}

// rounds plays n rounds, eight at a time, each with a key of its own.
func (e *env) rounds(n int, play func(e *env, i int, key string) error) {
	e.Helper()
	const workers = 8
	keys := make([]string, workers)
	for w := range keys {
		keys[w] = e.key("round")
	}
	e.together(workers, func(w int, s leash.Store) error {
		for i := range n / workers {
			if err := play(e, i+w, keys[w]); err != nil {
				return fmt.Errorf("round %d: %w", i, err)
			}
			if err := s.Delete(e.ctx, keys[w]); err != nil {
				return err
			}
		}
		return nil
	})
}

// atOnce runs two steps at the same time, started in turn in either order.
func atOnce(i int, a, b func() error) error {
	if i%2 == 0 {
		a, b = b, a
	}
	var wg sync.WaitGroup
	var errA error
	wg.Go(func() { errA = a() })
	errB := b()
	wg.Wait()
	if errA != nil {
		return errA
	}
	return errB
}

// publishOrDelete lets one node publish while another deletes and takes the
// lease of the next generation. Nothing may be published into that.
func publishOrDelete(e *env, i int, key string) error {
	a, err := e.try(e.node(i), key, nil, false, long)
	if err != nil || !a.granted() {
		return fmt.Errorf("no lease on nothing: %s, %w", show(a.entry), err)
	}
	var b asked
	err = atOnce(i, func() error {
		_, err := e.node(i).Publish(e.ctx, key, value(key, a.token, "before the delete"), long, false)
		return err
	}, func() error {
		if err := e.node(i+1).Delete(e.ctx, key); err != nil {
			return err
		}
		var err error
		b, err = e.try(e.node(i+1), key, nil, false, long)
		return err
	})
	if err != nil {
		return err
	}
	got, err := e.node(i).Get(e.ctx, key, nil)
	if err != nil {
		return err
	}
	if !b.granted() || token(got) != b.token {
		return fmt.Errorf("after a delete and a lease (granted %v) under the key stands %s", b.granted(), show(got))
	}
	return nil
}

// publishOr lets a holder publish while step, of the same lease, is under way:
// where Publish reported that the value is stored, it stands there.
func (e *env) publishOr(i int, key string, step func(s leash.Store, a asked) error) error {
	a, err := e.try(e.node(i), key, nil, false, long)
	if err != nil || !a.granted() {
		return fmt.Errorf("no lease on nothing: %s, %w", show(a.entry), err)
	}
	v := value(key, a.token, "computed")
	var stored bool
	err = atOnce(i, func() error {
		var err error
		stored, err = e.node(i).Publish(e.ctx, key, v, long, false)
		return err
	}, func() error { return step(e.node(i+1), a) })
	if err != nil {
		return err
	}
	got, err := e.node(i).Get(e.ctx, key, nil)
	if err == nil && stored && !same(got, v) {
		err = fmt.Errorf("what was published became %s", show(got))
	}
	return err
}

// publishOrSteal lets a holder publish while another node steals its lease.
func publishOrSteal(e *env, i int, key string) error {
	a, err := e.try(e.node(i), key, nil, false, long)
	if err != nil || !a.granted() {
		return fmt.Errorf("no lease on nothing: %s, %w", show(a.entry), err)
	}
	seen, err := e.node(i+1).Get(e.ctx, key, nil)
	if err != nil {
		return err
	}
	v := value(key, a.token, "computed")
	var stored bool
	var b asked
	err = atOnce(i, func() error {
		var err error
		stored, err = e.node(i).Publish(e.ctx, key, v, long, false)
		return err
	}, func() error {
		var err error
		b, err = e.try(e.node(i+1), key, seen, true, long)
		return err
	})
	if err != nil {
		return err
	}
	got, err := e.node(i).Get(e.ctx, key, nil)
	switch {
	case err != nil:
		return err
	case stored == b.granted():
		return fmt.Errorf("published %v, stolen %v", stored, b.granted())
	case stored && !same(got, v), !stored && token(got) != b.token:
		return fmt.Errorf("published %v, stolen %v, and under the key stands %s", stored, b.granted(), show(got))
	}
	return nil
}
