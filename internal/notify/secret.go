package notify

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrSecret says that a secret isn't where its reference says, or isn't one.
var ErrSecret = errors.New("secret")

// Secret refers to a secret; it never holds one.
type Secret struct {
	Env  string // an environment variable
	File string // a file, whose last newline isn't part of it
}

// String names the reference.
func (s Secret) String() string {
	if s.File != "" {
		return "file " + s.File
	}
	return "environment variable " + s.Env
}

// Read it. It is read anew each time, so that it can be changed.
func (s Secret) Read() (string, error) {
	v := os.Getenv(s.Env)
	if s.File != "" {
		b, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("%w: %s can't be read: make it readable for the worker", ErrSecret, s)
		}
		v = strings.TrimRight(string(b), "\r\n")
	}
	if v == "" {
		return "", fmt.Errorf("%w: %s is empty or missing: set it for the worker", ErrSecret, s)
	}
	return v, nil
}
