// Package config reads meterd.yaml as the values below flags and environment,
// and tells where each value came from.
package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
)

// File is what meterd.yaml holds: a value for any flag, under the flag's name,
// and the operator's hooks.
type File struct {
	Path   string
	Values map[string]any
	Hooks  []Hook
}

// Hook is a webhook of the operator; the secret is only a reference.
type Hook struct {
	URL       string   `yaml:"url"`
	SecretEnv string   `yaml:"secret_env"`
	Events    []string `yaml:"events"`
}

// Read reads the file. One that is missing is empty, unless it was asked for.
func Read(path string, asked bool) (*File, error) {
	f := &File{Path: path, Values: map[string]any{}}
	b, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if errors.Is(err, os.ErrNotExist) && !asked {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	// Errors say where, but don't quote the file: it may hold passwords.
	if _, err := parser.ParseBytes(b, 0); err != nil {
		return nil, fmt.Errorf("%s: not valid YAML: %s", path, yaml.FormatError(err, false, false))
	}
	if err := yaml.Unmarshal(b, &f.Values); err != nil {
		return nil, fmt.Errorf("%s: give one `name: value` a line: %s", path, yaml.FormatError(err, false, false))
	}
	if f.Hooks, err = hooksOf(f.Values["hooks"]); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	delete(f.Values, "hooks")
	return f, nil
}

// hooksOf reads the operator's hooks, strictly: a hook that is written wrong
// would never be called.
func hooksOf(v any) ([]Hook, error) {
	list, ok := v.([]any)
	if v != nil && !ok {
		return nil, fmt.Errorf("hooks: %w: give a list of url, secret_env and events", ErrHook)
	}
	hooks := make([]Hook, len(list))
	for i, x := range list {
		b, err := yaml.Marshal(x)
		if err == nil {
			err = yaml.UnmarshalWithOptions(b, &hooks[i], yaml.Strict())
		}
		if err != nil {
			return nil, fmt.Errorf("hooks[%d]: %w: give url, secret_env and events, and nothing else", i, ErrHook)
		}
		if err := hooks[i].validate(); err != nil {
			return nil, fmt.Errorf("hooks[%d].%w", i, err)
		}
	}
	return hooks, nil
}

func (h *Hook) validate() error {
	u, err := url.Parse(h.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("url: %w: give an http or https address with a host and without a user", ErrHook)
	}
	if h.SecretEnv == "" {
		return fmt.Errorf("secret_env: %w: give the name of the environment variable that holds the secret", ErrHook)
	}
	for _, event := range h.Events {
		if event != "suspend" && event != "resume" && event != "alert" && event != "breaker" {
			return fmt.Errorf("events: %w: give suspend, resume, alert or breaker, not %q", ErrHook, event)
		}
	}
	return nil
}

// ErrHook is a hook that can't be called.
var ErrHook = errors.New("not a hook")

// Secret is a value that is never shown.
type Secret string

// hidden stands for every secret.
const hidden = "(hidden)"

// String hides it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// MarshalJSON hides it.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// MarshalText hides it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// GoString hides it.
func (s Secret) GoString() string { return s.String() }
