// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"math/rand/v2"
	"sync"
)

// Work is a mixed load on few keys: each worker does one operation after the
// other. What is deleted has been changed at the source before.
type Work struct {
	Cache         Cache
	Keys          []string
	Workers, Ops  int
	Deletes, Gets float64 // their shares; the rest are GetOrCompute
	Seed          uint64
}

// Op is one operation, with the times of its call and return.
type Op struct {
	Node, Worker int
	Kind         OpKind
	Key          string
	Began, Ended int64
	// Version is what a read returned, or what the source was changed to before
	// a delete began.
	Version int64
	Found   bool
	Made    int64 // when the computation of what a read returned began
	Err     Failure
	Text    string
	Right   bool // the row is what the source says for this key and version
}

// OpKind is what an operation does.
type OpKind string

// The operations of Work.
const (
	FetchOp  OpKind = "GetOrCompute"
	GetOp    OpKind = "Get"
	DeleteOp OpKind = "Delete"
)

func (n *node) work(ctx context.Context, w Work) ([]Op, error) {
	c, err := n.cache(w.Cache)
	if err != nil {
		return nil, err
	}
	ops := make([][]Op, w.Workers)
	var wg sync.WaitGroup
	for i := range ops {
		random := rand.New(rand.NewPCG(w.Seed, uint64(n.config.Index*w.Workers+i)))
		wg.Go(func() {
			for range w.Ops {
				op := Op{Node: n.config.Index, Worker: i, Key: w.Keys[random.IntN(len(w.Keys))]}
				switch p := random.Float64(); {
				case p < w.Deletes:
					op.Kind = DeleteOp
				case p < w.Deletes+w.Gets:
					op.Kind = GetOp
				default:
					op.Kind = FetchOp
				}
				n.do(ctx, c, &op)
				ops[i] = append(ops[i], op)
			}
		})
	}
	wg.Wait()
	var all []Op
	for _, list := range ops {
		all = append(all, list...)
	}
	return all, nil
}

// do does one operation; what is made known before it returns, its caller knew.
func (n *node) do(ctx context.Context, c cache, op *Op) {
	var a Answer
	switch op.Kind {
	case DeleteOp:
		if err := n.peer.call(ctx, "change", asked{n.config.Index, op.Key}, &op.Version); err != nil {
			op.Err, op.Text = Other, err.Error()
			return
		}
		op.Began = now()
		err := c.delete(ctx, op.Key)
		op.Ended, op.Err = now(), failureOf(err)
		if err != nil {
			op.Text = err.Error()
		}
		return
	case GetOp:
		op.Began = now()
		a = c.get(ctx, op.Key)
	case FetchOp:
		op.Began = now()
		a = c.fetch(ctx, op.Key, n.compute(op.Key, Compute{Source: true}))
	}
	op.Ended = now()
	op.Version, op.Found, op.Made = a.Row.Version, a.Found, a.Row.Began
	op.Err, op.Text = a.Err, a.Text
	op.Right = a.Row.Key == op.Key && a.Row.Text == TextOf(op.Key, a.Row.Version)
}
