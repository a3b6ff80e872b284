// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/leashcache/leash"
)

// This file is what a service with leash looks like.

// Report says what sells best in a shop.
type Report struct {
	Shop     int64
	Products []Product
}

// Product is one line of a Report.
type Product struct {
	ID        int64
	Sales     int64
	Customers int64
	Cents     int64
}

// newReports returns the loader that answers with reports out of the cache name.
func newReports(name string, store leash.Store, db *database, o leash.Options) (leash.Loader[int64, Report], error) {
	cache, err := leash.New[Report](name, store, o)
	return leash.Loader[int64, Report]{Cache: cache, Load: db.report}, err
}

// serveReports answers GET .../{shop}.
func serveReports(reports leash.Loader[int64, Report]) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		shop, err := strconv.ParseInt(r.PathValue("shop"), 10, 64)
		if err != nil {
			http.Error(w, "the shop must be a number", http.StatusBadRequest)
			return
		}
		report, outcome, err := reports.Fetch(r.Context(), shop)
		w.Header().Set("Cache-Status", outcome.CacheStatus("leash"))
		writeReport(w, report, err)
	}
}

func writeReport(w http.ResponseWriter, report Report, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(report) // fails when the client has left
}

// leashOptions are the same for both leash phases, but for stale.
func leashOptions(ttl, stale time.Duration) leash.Options {
	return leash.Options{
		TTL:                  ttl,
		StaleWhileRevalidate: stale,
		// The plain caches have no jitter, and all phases are to have the same TTL.
		Jitter:           -1,
		OperationTimeout: storeWithin,
	}
}

// leashed runs the service with stale-while-revalidate for stale TTLs.
func leashed(stale int) func(*node, string) (service, error) {
	return func(n *node, name string) (service, error) {
		o := leashOptions(n.config.TTL, time.Duration(stale)*n.config.TTL)
		reports, err := newReports(name, n.shared.store(), n.db, o)
		if err != nil {
			return service{}, err
		}
		return service{
			handler: serveReports(reports),
			stats:   reports.Cache.Stats,
			forget:  func(ctx context.Context) error { return reports.Delete(ctx, shops()...) },
			close:   reports.Cache.Close,
		}, nil
	}
}
