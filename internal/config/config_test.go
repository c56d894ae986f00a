package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meterd.yaml")
	f, err := Read(path, false)
	require.NoError(t, err)
	require.Empty(t, f.Values)
	_, err = Read(path, true)
	require.ErrorIs(t, err, os.ErrNotExist)

	require.NoError(t, os.WriteFile(path, []byte("shards: 4\nhooks:\n  - {url: \"https://h.example/x\", secret_env: S, events: [alert]}\n"), 0o600))
	f, err = Read(path, true)
	require.NoError(t, err)
	require.Len(t, f.Values, 1)
	require.Equal(t, []Hook{{URL: "https://h.example/x", SecretEnv: "S", Events: []string{"alert"}}}, f.Hooks)
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"redis: \"hush", "not valid YAML: [1:"},
		{"- hush", "give one `name: value` a line"},
		{"a: hush\na: hush", "[2:1]"},
		{"hooks: hush", "hooks: not a hook: give a list"},
		{"hooks: [hush]", "hooks[0]: not a hook"},
		{"hooks: [{url: \"https://h.example\", secret_env: S, secret: hush}]", "hooks[0]: not a hook"},
		{"hooks: [{url: \"ftp://hush\", secret_env: S}]", "hooks[0].url: not a hook"},
		{"hooks: [{url: \"https://u:hush@h.example\", secret_env: S}]", "hooks[0].url: not a hook"},
		{"hooks: [{url: \"https://h.example\"}]", "hooks[0].secret_env: not a hook"},
		{"hooks: [{url: \"https://h.example\", secret_env: S, events: [x]}]", "hooks[0].events: not a hook"},
	} {
		path := filepath.Join(t.TempDir(), "meterd.yaml")
		require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
		_, err := Read(path, true)
		require.ErrorContains(t, err, path+": ", c.text)
		require.ErrorContains(t, err, c.want, c.text)
		require.NotContains(t, err.Error(), "hush", c.text)
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	t.Parallel()
	s := Secret("hush")
	b, err := json.Marshal(map[string]any{"s": s})
	require.NoError(t, err)
	all := fmt.Sprintf("%s %v %+v %#v %q", s, s, s, s, s) + string(b)
	require.NotContains(t, all, "hush")
	require.Equal(t, 6, strings.Count(all, hidden))
	require.Empty(t, Secret("").String())
}
