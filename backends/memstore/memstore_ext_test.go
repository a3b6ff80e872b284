// SPDX-License-Identifier: Apache-2.0

package memstore_test

import (
	"github.com/leashcache/leash"
	"github.com/leashcache/leash/backends/memstore"
)

var (
	_ leash.Store      = (*memstore.Store)(nil)
	_ leash.BatchStore = (*memstore.Store)(nil)
	_ leash.Waker      = (*memstore.Store)(nil)
)
