// SPDX-License-Identifier: Apache-2.0

// Package memcachestore keeps the entries of a leash cache in memcached.
package memcachestore
