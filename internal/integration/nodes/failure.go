// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"context"
	"errors"

	"github.com/leashcache/leash"
)

// Failure is an error as the type that the caller got.
type Failure string

// The failures that callers can tell apart.
const (
	None         Failure = ""
	OwnError     Failure = "the computation's own error"
	SharedError  Failure = "leash.ComputeError"
	PanicFailure Failure = "leash.PanicError"
	GoexitError  Failure = "leash.ErrGoexit"
	Missing      Failure = "leash.ErrNotFound"
	Left         Failure = "the caller's own cancelled context"
	Busy         Failure = "leash.ErrBusy"
	Overloaded   Failure = "leash.ErrOverloaded"
	StoreFailed  Failure = "leash.ErrStore"
	Other        Failure = "another error"
)

var errSource = errors.New(sourceText)

func failureOf(err error) Failure {
	_, panicked := errors.AsType[*leash.PanicError](err)
	_, shared := errors.AsType[*leash.ComputeError](err)
	switch {
	case err == nil:
		return None
	case errors.Is(err, errSource):
		return OwnError
	case panicked:
		return PanicFailure
	case shared:
		return SharedError
	case errors.Is(err, leash.ErrGoexit):
		return GoexitError
	case errors.Is(err, leash.ErrNotFound):
		return Missing
	case errors.Is(err, context.Canceled):
		return Left
	case errors.Is(err, leash.ErrBusy):
		return Busy
	case errors.Is(err, leash.ErrOverloaded):
		return Overloaded
	case errors.Is(err, leash.ErrStore):
		return StoreFailed
	}
	return Other
}
