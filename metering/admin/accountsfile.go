package admin

import (
	"fmt"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
)

// AccountsFile is an accounts.yaml that is right in itself (docs/interface.md,
// The accounts file). Plan compares it with what has been applied.
type AccountsFile struct {
	name    string
	plans   []filePlan
	parents []fileParent
}

// accountsFileMax is how large a file may be, in bytes.
const accountsFileMax = 64 << 20

// place is where a value stands, to be named in an error. Line and column
// count from 1.
type place struct {
	line, column int
	field        string // parents[0].sub_accounts[1].monthly_limit
}

// located is a value that may be absent, and its place. Where it is absent the
// place is that of what should hold it.
type located[T any] struct {
	v   T
	set bool
	at  place
}

type filePlan struct {
	at       place
	id       string
	currency located[string]
	versions []fileVersion // by EffectiveFrom
}

type fileVersion struct {
	metering.PlanVersion
	at    place
	rules []place
}

type fileAccount struct {
	at       place
	id       string
	name     string
	module   located[metering.Module]
	zone     located[string]
	plan     located[string]
	channels located[[]string]
	limit    located[metering.Micros] // credit or monthly
	mail     located[[]string]        // that alerts go to
}

type fileParent struct {
	fileAccount
	mode    metering.Mode
	alerts  []int
	observe bool
	issuer  *metering.Issuer // nil: the file's
	hooks   []metering.Hook
	reports []fileReport
	subs    []fileSub
}

type fileSub struct {
	fileAccount
	source  located[metering.Source]
	reports []fileReport
}

type fileReport struct {
	metering.Schedule
	audiences []located[string]
}

// FileError is one thing wrong in an accounts file.
type FileError struct {
	File         string
	Line, Column int    // from 1
	Field        string // parents[0].plan; empty where no field is meant
	Detail       string // what is wrong and what to do
}

// Error implements error: file:line:column: field: detail.
func (e *FileError) Error() string {
	where := fmt.Sprintf("%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Field != "" {
		where += e.Field + ": "
	}
	return where + e.Detail
}

// AccountsFileError are the reasons for which a whole file is refused, in the order of
// their lines.
type AccountsFileError struct {
	Errors []*FileError
	More   int // how many others were left out
	// State tells that the file is right in itself but not against what has
	// been applied.
	State bool
}

// Error implements error, one line for each.
func (e *AccountsFileError) Error() string {
	lines := make([]string, 0, len(e.Errors)+1)
	for _, x := range e.Errors {
		lines = append(lines, x.Error())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", e.More))
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single errors.
func (e *AccountsFileError) Unwrap() []error {
	out := make([]error, len(e.Errors))
	for i, x := range e.Errors {
		out[i] = x
	}
	return out
}

// ParseAccountsFile reads an accounts.yaml and judges all that can be judged
// without knowing what has been applied. name is what errors call the file. The
// error is a *AccountsFileError with every fault found: one fault refuses the whole
// file.
func ParseAccountsFile(name string, src []byte) (*AccountsFile, error) {
	r := &fileReader{faults: faults{file: name}}
	if len(src) > accountsFileMax {
		r.fail(place{line: 1, column: 1}, "larger than 64 MiB; split it")
		return nil, r.err(false)
	}
	f := &AccountsFile{name: name}
	if root, ok := r.parse(src); ok {
		r.file(root, f)
	}
	if err := r.err(false); err != nil {
		return nil, err
	}
	return f, nil
}

// Changes is what applying a file changes. Accounts and Plans hold the new and
// changed documents in full, histories included; their Catalog is for the
// caller to set. An id in the lists is an account's, or a plan's as "plan:ID".
type Changes struct {
	Created   []string
	Updated   []string
	Unchanged []string
	// Warnings name what is allowed but probably not meant, with its line.
	Warnings []string
	Accounts []*metering.Account
	Plans    []*metering.Plan
}

// Empty tells whether there is nothing to apply.
func (c *Changes) Empty() bool { return len(c.Accounts) == 0 && len(c.Plans) == 0 }

// instant is a time as documents keep it: UTC, milliseconds.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
