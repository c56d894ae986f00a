package reports

import (
	"errors"

	"github.com/meterd/meterd/metering"
)

// Errors that callers branch on. An account that the asker may not see is
// metering.ErrUnknownAccount, whatever the reason.
var (
	// ErrPeriod: not a month such as 2026-11.
	ErrPeriod = metering.ErrPeriod
	// ErrFuture: the period hasn't begun.
	ErrFuture = errors.New("the period hasn't begun yet")
	// ErrGone: rows of the period are past their retention.
	ErrGone = errors.New("rows of this period are past their retention; `meterd period list` has what its bill came to")
	// ErrFormat: not a format, or not one that this kind of report comes in.
	ErrFormat = errors.New("not a format of this kind of report")
	// ErrKind: not a kind of report.
	ErrKind = errors.New("not a kind of report: give statement, messages or wallet")
	// ErrNoWallet: a postpaid parent has none.
	ErrNoWallet = errors.New("there is no wallet")
	// ErrFolder: the folder can't be made or written to.
	ErrFolder = errors.New("can't write to the folder")
)
