// SPDX-License-Identifier: Apache-2.0

// Package redisstore keeps the entries of a leash cache in Redis or Valkey.
package redisstore
