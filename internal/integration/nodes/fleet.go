// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"errors"
	"sync"
)

// Fleet is nodes that are driven together.
type Fleet []*Node

// StartFleet starts n nodes with the same configuration.
func StartFleet(n int, c Config, s *Source) (Fleet, error) {
	var f Fleet
	for i := range n {
		c.Index = i
		node, err := Start(c, s)
		if err != nil {
			_ = f.Close(context.Background())
			return nil, err
		}
		f = append(f, node)
	}
	return f, nil
}

// Close closes all nodes.
func (f Fleet) Close(ctx context.Context) error {
	_, err := Each(f, func(n *Node) (struct{}, error) { return struct{}{}, n.Close(ctx) })
	return err
}

// Each calls do for all nodes at the same time.
func Each[T any](f Fleet, do func(n *Node) (T, error)) ([]T, error) {
	results, errs := make([]T, len(f)), make([]error, len(f))
	var wg sync.WaitGroup
	for i, n := range f {
		wg.Go(func() { results[i], errs[i] = do(n) })
	}
	wg.Wait()
	return results, errors.Join(errs...)
}
