// SPDX-License-Identifier: Apache-2.0

package leash_test

import "github.com/leashcache/leash/internal/far"

type remote = far.Store

func newRemote(s far.Near) *remote { return far.New(s) }
