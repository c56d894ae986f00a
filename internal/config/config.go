// Package config reads meterd.yaml as the values below flags and environment,
// and tells where each value came from.
package config

import (
	"errors"
	"fmt"
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
	if _, err := parser.ParseBytes(b, 0); err != nil {
		return nil, fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
	}
	if err := yaml.Unmarshal(b, &f.Values); err != nil {
		return nil, fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
	}
	var h struct {
		Hooks []Hook `yaml:"hooks"`
	}
	if err := yaml.Unmarshal(b, &h); err != nil {
		return nil, fmt.Errorf("%s: hooks: %s", path, yaml.FormatError(err, false, true))
	}
	f.Hooks = h.Hooks
	delete(f.Values, "hooks")
	return f, nil
}

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

// LogValue hides it.
func (s Secret) GoString() string { return s.String() }
