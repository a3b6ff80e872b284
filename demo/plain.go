// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/singleflight"
)

// plainCache is what most services do: get; on a miss, query and set.
type plainCache struct {
	name   string
	shared sharedCache
	db     *database
	ttl    time.Duration
}

func (c plainCache) key(shop int64) string { return c.name + ":" + strconv.FormatInt(shop, 10) }

func (c plainCache) get(ctx context.Context, shop int64) (report Report, hit bool, err error) {
	b, err := c.shared.get(ctx, c.key(shop))
	if err == nil && b == nil {
		report, err = c.make(ctx, shop)
		return report, false, err
	}
	if err == nil {
		err = json.Unmarshal(b, &report)
	}
	return report, true, err
}

func (c plainCache) make(ctx context.Context, shop int64) (Report, error) {
	report, err := c.db.report(ctx, shop)
	if err != nil {
		return report, err
	}
	b, err := json.Marshal(report)
	if err != nil {
		return report, err
	}
	return report, c.shared.set(ctx, c.key(shop), b, c.ttl)
}

// coalesced is plainCache with x/sync's singleflight in front: callers of one
// process share one call.
type coalesced struct {
	plainCache
	group *singleflight.Group
}

func (c coalesced) get(ctx context.Context, shop int64) (Report, bool, error) {
	type answer struct {
		report Report
		hit    bool
	}
	// The one call is everybody's: it must not end with the first one's request.
	ctx = context.WithoutCancel(ctx)
	v, err, _ := c.group.Do(c.key(shop), func() (any, error) {
		report, hit, err := c.plainCache.get(ctx, shop)
		return answer{report, hit}, err
	})
	a, _ := v.(answer)
	return a.report, a.hit, err
}

// servePlain answers GET .../{shop}, as serveReports does.
func servePlain(get func(ctx context.Context, shop int64) (Report, bool, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		shop, err := strconv.ParseInt(r.PathValue("shop"), 10, 64)
		if err != nil {
			http.Error(w, "the shop must be a number", http.StatusBadRequest)
			return
		}
		report, hit, err := get(r.Context(), shop)
		status := "plain; fwd=uri-miss"
		if hit {
			status = "plain; hit"
		}
		w.Header().Set("Cache-Status", status)
		writeReport(w, report, err)
	}
}

func unprotected(n *node, name string) (service, error) {
	c := plainCache{name, n.shared, n.db, n.config.TTL}
	return service{handler: servePlain(c.get), forget: c.forget}, nil
}

func inProcess(n *node, name string) (service, error) {
	c := coalesced{plainCache{name, n.shared, n.db, n.config.TTL}, new(singleflight.Group)}
	return service{handler: servePlain(c.get), forget: c.forget}, nil
}

func (c plainCache) forget(ctx context.Context) error {
	for _, shop := range shops() {
		if err := c.shared.delete(ctx, c.key(shop)); err != nil {
			return err
		}
	}
	return nil
}
