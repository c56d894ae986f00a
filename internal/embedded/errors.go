package embedded

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ErrNotRunning is returned by ReadRunFile where no system runs on the folder.
var ErrNotRunning = errors.New("no meterd runs on this data folder")

// ErrClosed is returned by a system or engine that has been stopped.
var ErrClosed = errors.New("the embedded engine is stopped")

// InUseError says that another process holds the data folder.
type InUseError struct {
	Dir string
	PID int // 0 when it couldn't be read
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("data folder %s is in use by process %d: stop it, or give another --data", e.Dir, e.PID)
}

// EngineError is an exception of the ClickHouse engine.
type EngineError struct {
	Code int    // ClickHouse's error code; 0 when its text names none
	Text string // as a server would send it: "Code: 60. DB::Exception: …"
}

func (e *EngineError) Error() string { return e.Text }

var codePattern = regexp.MustCompile(`Code: (\d+)\.`)

func newEngineError(text string) *EngineError {
	text = strings.TrimSpace(text)
	if text == "" {
		text = "Code: 1000. DB::Exception: the engine gave no reason"
	}
	e := &EngineError{Text: text}
	if m := codePattern.FindStringSubmatchIndex(text); m != nil {
		e.Code, _ = strconv.Atoi(text[m[2]:m[3]])
		e.Text = text[m[0]:]
	}
	return e
}

func exception(code int, format string, args ...any) *EngineError {
	return &EngineError{Code: code, Text: fmt.Sprintf("Code: %d. DB::Exception: ", code) + fmt.Sprintf(format, args...)}
}
