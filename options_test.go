// SPDX-License-Identifier: Apache-2.0

package leash_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
	"github.com/leashcache/leash/codec"
)

type brokenStore struct{ *memstore.Store }

func (brokenStore) Check() error { return errors.New("no client") }

type sliceStore []*memstore.Store

func (sliceStore) Get(context.Context, string, []byte) ([]byte, error) { return nil, nil }
func (sliceStore) Lease(context.Context, string, []byte, []byte, bool, time.Duration) ([]byte, time.Duration, error) {
	return nil, 0, nil
}
func (sliceStore) Publish(context.Context, string, []byte, time.Duration, bool) (bool, error) {
	return true, nil
}
func (sliceStore) Renew(context.Context, string, []byte, time.Duration) (bool, error) {
	return true, nil
}
func (sliceStore) Abandon(context.Context, string, []byte, time.Duration) (bool, error) {
	return true, nil
}
func (sliceStore) Delete(context.Context, string) error { return nil }

func TestNewRefusesBadOptions(t *testing.T) {
	ok := leash.Options{TTL: time.Minute}
	with := func(change func(*leash.Options)) leash.Options {
		o := ok
		change(&o)
		return o
	}
	for name, tt := range map[string]struct {
		name  string
		store leash.Store
		o     leash.Options
		says  string
	}{
		"empty name":         {"", memstore.New(), ok, "name is empty"},
		"name with a brace":  {"a{b}", memstore.New(), ok, `has "{"`},
		"name with a blank":  {"a b", memstore.New(), ok, "has"},
		"name with a NUL":    {"a\x00", memstore.New(), ok, "has"},
		"long name":          {strings.Repeat("a", 129), memstore.New(), ok, "129 bytes"},
		"nil store":          {"a", nil, ok, "store is nil"},
		"typed nil store":    {"a", (*memstore.Store)(nil), ok, "nil *memstore.Store"},
		"store that refuses": {"a", brokenStore{memstore.New()}, ok, "no client"},
		"incomparable store": {"a", sliceStore{}, ok, "not comparable"},
		"no TTL":             {"a", memstore.New(), leash.Options{}, "TTL is not set"},
		"negative TTL":       {"a", memstore.New(), leash.Options{TTL: -1}, "TTL is -1ns"},
		"tiny TTL":           {"a", memstore.New(), leash.Options{TTL: time.Microsecond}, "at least 1ms"},
		"jitter of all":      {"a", memstore.New(), with(func(o *leash.Options) { o.Jitter = 1 }), "Jitter is 1"},
		"jitter NaN":         {"a", memstore.New(), with(func(o *leash.Options) { o.Jitter = math.NaN() }), "Jitter is NaN"},
		"refresh ahead":      {"a", memstore.New(), with(func(o *leash.Options) { o.RefreshAhead = math.Inf(1) }), "RefreshAhead is +Inf"},
		"short lease":        {"a", memstore.New(), with(func(o *leash.Options) { o.Lease = time.Millisecond }), "Lease is 1ms"},
		"long lease":         {"a", memstore.New(), with(func(o *leash.Options) { o.Lease = 2 * time.Hour }), "Lease is 2h"},
		"odd lease":          {"a", memstore.New(), with(func(o *leash.Options) { o.Lease = time.Second + 1 }), "whole milliseconds"},
		"OnBusy":             {"a", memstore.New(), with(func(o *leash.Options) { o.OnBusy = 9 }), "OnBusy is 9"},
		"fail and wait":      {"a", memstore.New(), with(func(o *leash.Options) { o.OnBusy, o.MaxWait = leash.Fail, 1 }), "contradict"},
		"stale back-off":     {"a", memstore.New(), with(func(o *leash.Options) { o.StaleBackoff = 1 }), "StaleIfError, StaleWhileRevalidate and RefreshAhead are off"},
		"no budget":          {"a", memstore.New(), with(func(o *leash.Options) { o.OperationTimeout = -1 }), "OperationTimeout is -1ns"},
		"unleased":           {"a", memstore.New(), with(func(o *leash.Options) { o.MaxUnleased = -1 }), "MaxUnleased is -1"},
		"nil not found":      {"a", memstore.New(), with(func(o *leash.Options) { o.NotFound = []error{nil} }), "NotFound[0] is nil"},
		"schema with blank":  {"a", memstore.New(), with(func(o *leash.Options) { o.Schema = "v 1" }), "Options.Schema"},
		"bytes of a struct":  {"a", memstore.New(), with(func(o *leash.Options) { o.Codec = codec.Bytes }), "can not carry"},
	} {
		_, err := leash.New[user](tt.name, tt.store, tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want it to say %q", name, err, tt.says)
		}
	}
}

func TestNewTellsEverythingAtOnce(t *testing.T) {
	_, err := leash.New[chan int]("{", nil, leash.Options{Jitter: 2, Lease: 1})
	for _, says := range []string{"name", "store is nil", "TTL", "Jitter", "Lease", "can not carry"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not in:\n%v", says, err)
		}
	}
}

func TestBadCallsSendNothing(t *testing.T) {
	store := newRemote(memstore.New())
	c := newCache(t, store, leash.Options{})
	src := &source{}
	calls := map[string]func() error{
		"empty key":         func() error { _, err := c.GetOrCompute(t.Context(), "", src.load); return err },
		"key of a megabyte": func() error { _, err := c.GetOrCompute(t.Context(), strings.Repeat("k", 1<<20), src.load); return err },
		"nil function":      func() error { _, err := c.GetOrCompute(t.Context(), "k", nil); return err },
		"zero TTL":          func() error { _, err := c.GetOrCompute(t.Context(), "k", src.load, leash.TTL(0)); return err },
		"negative wait":     func() error { _, err := c.GetOrCompute(t.Context(), "k", src.load, leash.MaxWait(-1)); return err },
		"refresh and bypass": func() error {
			_, err := c.GetOrCompute(t.Context(), "k", src.load, leash.Refresh(), leash.Bypass())
			return err
		},
		"zero option":      func() error { _, err := c.GetOrCompute(t.Context(), "k", src.load, leash.Option{}); return err },
		"Get":              func() error { _, _, err := c.Get(t.Context(), ""); return err },
		"Set":              func() error { return c.Set(t.Context(), "", user{}) },
		"Set with MaxWait": func() error { return c.Set(t.Context(), "k", user{}, leash.MaxWait(1)) },
		"Set with Refresh": func() error { return c.Set(t.Context(), "k", user{}, leash.Refresh()) },
		"Delete":           func() error { return c.Delete(t.Context(), "k", "") },
		"ended context": func() error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := c.GetOrCompute(ctx, "k", src.load)
			return err
		},
	}
	for name, call := range calls {
		if err := call(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if n := store.Steps(); n != 0 {
		t.Errorf("%d steps at the store", n)
	}
	src.want(t, 0)
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Set": c.Set(t.Context(), "k", user{}), "Delete": c.Delete(t.Context(), "k"),
		"Bypass": func() error { _, err := c.GetOrCompute(t.Context(), "k", src.load, leash.Bypass()); return err }(),
		"GetMany": func() error {
			_, err := leash.Loader[string, user]{Cache: c, Load: func(context.Context, string) (user, error) { return user{}, nil }}.GetMany(t.Context(), []string{"k"})
			return err
		}(),
	} {
		if !errors.Is(err, leash.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}
