// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	neturl "net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// answerWithin is when a client gives up. It also bounds how long a phase that
// has jammed goes on after its last request.
const answerWithin = 5 * time.Second

// load sends requests at a fixed rate, whether or not earlier ones are answered
// (an open loop): the users of a slow site do not know that it is slow.
type load struct {
	nodes    *cluster
	path     string
	expected map[int64][]byte // the right answers by shop

	wg       sync.WaitGroup
	sent     atomic.Int64
	answered atomic.Int64

	mu        sync.Mutex // guards what follows
	latencies []time.Duration
	errors    int
	firstErr  error
}

func newLoad(nodes *cluster, path string, expected map[int64]Report) (*load, error) {
	l := &load{nodes: nodes, path: path, expected: map[int64][]byte{}}
	for shop, report := range expected {
		b, err := json.Marshal(report)
		if err != nil {
			return nil, err
		}
		l.expected[shop] = b
	}
	return l, nil
}

// run sends requests to the nodes in turn for a while, and returns when the last
// one is answered. Seven of ten ask for the hot shop.
func (l *load) run(ctx context.Context, rate int, lasting time.Duration) {
	random := rand.New(rand.NewPCG(3, 4)) // the same requests in each phase
	start := time.Now()
	for i := range int(lasting.Seconds() * float64(rate)) {
		at := start.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if !sleep(ctx, time.Until(at)) {
			break
		}
		shop := shops()[0]
		if random.IntN(10) >= 7 {
			shop = shops()[1+random.IntN(len(shops())-1)]
		}
		url := fmt.Sprintf("%s/%s/%d", l.nodes.nodes[i%nodeCount].url, l.path, shop)
		l.sent.Add(1)
		l.wg.Go(func() {
			err := l.get(ctx, url, l.expected[shop])
			// Counted from when it was due: time that it waited here for a
			// processor is the user's time, too.
			l.done(time.Since(at), err)
		})
	}
	l.wg.Wait()
}

// sleep reports whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *load) get(ctx context.Context, url string, expected []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := l.nodes.client.Do(request)
	if failed, ok := errors.AsType[*neturl.Error](err); ok && failed.Timeout() {
		return fmt.Errorf("no answer within %v", answerWithin)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(body))
	case !bytes.Equal(bytes.TrimSpace(body), expected):
		return fmt.Errorf("wrong answer: %s", bytes.TrimSpace(body))
	}
	return nil
}

func (l *load) done(latency time.Duration, err error) {
	l.answered.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latencies = append(l.latencies, latency)
	if err != nil {
		l.errors++
		if l.firstErr == nil {
			l.firstErr = err
		}
	}
}

// quantile returns the latency that the part q of all does not exceed. The
// latencies must be sorted.
func quantile(latencies []time.Duration, q float64) time.Duration {
	if len(latencies) == 0 {
		return 0
	}
	return latencies[min(int(q*float64(len(latencies))), len(latencies)-1)]
}

// sorted returns all latencies in order; call it when run has returned.
func (l *load) sorted() []time.Duration {
	slices.Sort(l.latencies)
	return l.latencies
}
