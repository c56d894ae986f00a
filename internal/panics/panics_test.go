package panics

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAPanicKeepsToItself what it held: only of what kind it was is said.
func TestAPanicKeepsToItself(t *testing.T) {
	t.Parallel()
	for _, held := range []any{"+39 333 1234567", 12_340_000, errors.New("amount 12.34"), struct{ Number string }{"+39"}} {
		err := &Error{Value: held}
		require.NotRegexp(t, `[0-9]`, err.Error())
		require.Regexp(t, `^handler panicked with a `, err.Error())
	}
}
