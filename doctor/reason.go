package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// Reason is why an engine can't be used, in the words of whoever must
// mend it: without queries and without addresses that hold a password.
func Reason(err error) error {
	text := err.Error()
	for _, s := range []string{"WRONGPASS", "NOAUTH", "AUTHENTICATION_FAILED", "REQUIRED_PASSWORD"} {
		if strings.Contains(text, s) {
			return ErrPassword
		}
	}
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ErrSilent
	case errors.As(err, &dns):
		return fmt.Errorf("no such host: %s", dns.Name)
	case errors.As(err, &op):
		return op
	}
	if i := strings.Index(text, "dial tcp"); i >= 0 { // the text is all that some layers keep
		return errors.New(text[i:])
	}
	return err
}

// Why an engine can't be used, where waiting doesn't help, and where it may.
var (
	ErrPassword = errors.New("it refuses the user or the password")
	ErrSilent   = errors.New("no answer in time")
)

// TodoOfAway is what to do where an engine that a flag names can't be used.
func TodoOfAway(err error, flag string) string {
	if errors.Is(Reason(err), ErrPassword) {
		return "give both in " + flag + ", as scheme://user:password@host:port"
	}
	return "see that it runs, that " + flag + " names it (`meterd config`), and that the network lets it be reached"
}

// unreachable is why an engine can't be used, and what to do.
func unreachable(err error, flag string) error {
	if err == nil {
		return nil
	}
	return errors.New(Reason(err).Error() + ": " + TodoOfAway(err, flag))
}
