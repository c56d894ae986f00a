package main

import (
	"errors"
	"fmt"

	"github.com/meterd/meterd/doctor"
	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/worker/reporting"
)

// Exit codes (docs/interface.md, Every command).
const (
	exitRefused = 1 // by state, or an engine is away
	exitInput   = 2 // input wrong in itself, or an unknown id
	exitFound   = 3 // a check found something
	exitGate    = 4 // gate --exit-code: it may not send
)

// errFound: a check found something; its output says what.
var errFound = errors.New("the check found something")

// errGate: the gate is closed; its answer says why.
var errGate = errors.New("may not send")

// inputError is input that is wrong in itself.
type inputError struct{ err error }

// Error implements error.
func (e *inputError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *inputError) Unwrap() error { return e.err }

// wrongInput makes an error of exit code 2.
func wrongInput(format string, args ...any) error {
	return &inputError{err: fmt.Errorf(format, args...)} //nolint:err113 // shown to whoever typed it
}

func exitCode(err error) int {
	var in *inputError
	var file *admin.AccountsFileError
	switch {
	case errors.Is(err, errFound):
		return exitFound
	case errors.Is(err, errGate):
		return exitGate
	case errors.As(err, &file) && file.State:
		return exitRefused
	case errors.As(err, &in), errors.As(err, &file),
		errors.Is(err, metering.ErrUnknownAccount), errors.Is(err, metering.ErrAmount), errors.Is(err, metering.ErrNotVisible),
		errors.Is(err, metering.ErrPeriod), errors.Is(err, metering.ErrOverflow), errors.Is(err, embedded.ErrIsBackup), isTransferInput(err):
		return exitInput
	default:
		return exitRefused
	}
}

func isTransferInput(err error) bool {
	for _, e := range []error{
		metering.ErrTransferRef, metering.ErrTransferAmount, metering.ErrTransferZero, metering.ErrTransferReason, metering.ErrTransferActor,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// explain adds what to do to an error that doesn't say it by itself.
func explain(err error) string {
	switch {
	case errors.Is(err, metering.ErrUnknownAccount):
		return err.Error() + ": `meterd accounts list` shows those there are"
	case errors.Is(err, metering.ErrNotVisible):
		return err.Error() + ": its parent can ask"
	case errors.Is(err, reporting.ErrUnknownRun):
		return err.Error() + ": `meterd report list` shows those there are"
	default:
		return err.Error() + doctor.TodoOfRedis(err)
	}
}
