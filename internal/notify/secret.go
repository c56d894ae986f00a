package notify

import (
	"encoding/base64"
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

// Bounds of a webhook's key, bytes (Standard Webhooks): a shorter one can be
// guessed, an empty one is everybody's.
const (
	keyMin = 24
	keyMax = 64
)

// CheckHook tells whether it is there and can sign a webhook's messages.
func (s Secret) CheckHook() error {
	_, err := s.signingKey()
	return err
}

// signingKey reads whsec_ and base64. Errors tell its length at most.
func (s Secret) signingKey() ([]byte, error) {
	const want = "want whsec_ and base64 of 24 to 64 random bytes"
	v, err := s.Read()
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutPrefix(v, "whsec_")
	if !ok {
		return nil, fmt.Errorf("%w: %s holds no whsec_… secret: %s", ErrSecret, s, want)
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s isn't base64 after whsec_: %s", ErrSecret, s, want)
	}
	if len(key) < keyMin || len(key) > keyMax {
		return nil, fmt.Errorf("%w: %s has %d bytes: %s", ErrSecret, s, len(key), want)
	}
	return key, nil
}
