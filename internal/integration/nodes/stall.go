// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"sync/atomic"
	"time"
)

// stall measures for how long the process got no processor: a lease that is lost
// because of that is not the library's fault.
type stall struct{ longest atomic.Int64 }

const stallTick = 5 * time.Millisecond

func (s *stall) watch() {
	last := time.Now()
	for range time.Tick(stallTick) {
		if d := int64(time.Since(last) - stallTick); d > s.longest.Load() {
			s.longest.Store(d)
		}
		last = time.Now()
	}
}

// take returns the longest stall since the last call.
func (s *stall) take() time.Duration { return time.Duration(s.longest.Swap(0)) }
