// SPDX-License-Identifier: Apache-2.0

package memstore_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
	"github.com/leashcache/leash/backends/storetest"
)

var (
	_ leash.Store      = (*memstore.Store)(nil)
	_ leash.BatchStore = (*memstore.Store)(nil)
	_ leash.Waker      = (*memstore.Store)(nil)
)

func newStore(*testing.T) leash.Store { return memstore.New() }

// raw uses that a forced Publish stores any bytes.
func raw(s leash.Store, key string, data []byte) error {
	_, err := s.Publish(context.Background(), key, data, time.Hour, true)
	return err
}

func TestStoreInRealTime(t *testing.T) {
	storetest.Config{New: newStore, Raw: raw}.Run(t)
}

func TestStoreInBubble(t *testing.T) {
	storetest.Config{New: newStore, Raw: raw, Around: synctest.Test}.Run(t)
}
