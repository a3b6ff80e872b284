// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound says that the source has no such thing. A computation returns
	// it, or an error listed in [Options.NotFound]; every caller gets an error
	// that matches it.
	ErrNotFound = errors.New("leash: not found")

	// ErrBusy says that another node, or another caller, is still computing the
	// key and that this caller chose not to wait any longer. It also matches
	// the context's error when that ended the wait.
	ErrBusy = errors.New("leash: still being computed")

	// ErrComputeTimeout says that a computation took longer than
	// [Options.ComputeTimeout] and was cancelled.
	ErrComputeTimeout = errors.New("leash: computation took too long")

	// ErrOverloaded says that no lease could be had because the store did not
	// answer, and [Options.MaxUnleased] computations were running already.
	ErrOverloaded = errors.New("leash: too many computations without the store")

	// ErrRecursive says that a computation asked for its own key.
	ErrRecursive = errors.New("leash: a computation asked for its own key")

	// ErrGoexit says that a computation ended by runtime.Goexit, as
	// testing.T.FailNow does, and so returned nothing.
	ErrGoexit = errors.New("leash: computation called runtime.Goexit")

	// ErrClosed says that the cache was closed.
	ErrClosed = errors.New("leash: cache is closed")

	// ErrStore says that the store failed; it wraps the client's own error.
	// GetOrCompute never returns it.
	ErrStore = errors.New("leash: store failed")
)

// PanicError is what callers get when a computation panics. The process goes on.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // the stack of the goroutine that panicked
}

// Error says what was passed to panic, and where.
func (e *PanicError) Error() string {
	return fmt.Sprintf("%s\n\n%s", e.brief(), e.Stack)
}

func (e *PanicError) brief() string { return fmt.Sprintf("leash: computation panicked: %v", e.Value) }

// Unwrap returns the value passed to panic if that was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// ComputeError is a failed computation as other callers learn of it during the
// back-off: those on other nodes, and those who came later. It carries the
// original's text; the original itself reached those who waited for it in the
// process where it happened.
type ComputeError struct {
	Text string
}

func (e *ComputeError) Error() string { return "leash: computation failed, backing off: " + e.Text }
