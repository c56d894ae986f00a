package documents_test

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/internal/testengine"
)

// program is the only block of a document in a language that has such a text.
func program(tb testing.TB, path, lang, has string) string {
	tb.Helper()
	var found []string
	for _, b := range blocks(tb, path) {
		if b.lang == lang && strings.Contains(b.text, has) {
			found = append(found, b.text)
		}
	}
	require.Len(tb, found, 1, "%s: programs in %s with %q", path, lang, has)
	return found[0]
}

// node runs a program in a folder, where it finds what it imports.
func node(t *testing.T, dir string, env []string, text string, in io.Reader) (out string, code int) {
	t.Helper()
	modules := filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(os.Getenv("HOME"), ".cache")), "meterd", "documents", "node_modules")
	require.DirExists(t, modules, "run deploy/setup.sh --tests")
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); !errors.Is(err, os.ErrExist) {
		require.NoError(t, err)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "program.mjs"), []byte(text), 0o600))
	cmd := exec.CommandContext(t.Context(), "node", "program.mjs")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, append(os.Environ(), env...), in
	b, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(b), exit.ExitCode()
	}
	require.NoError(t, err)
	return string(b), 0
}

// goProgram makes a program of a document's lines: they stand in a function that
// gives an error, as a developer's would.
func goProgram(text string, imports []string, before string) string {
	head, body, _ := strings.Cut(text, "\n)\n")
	head = strings.Replace(head, "import (\n", "", 1)
	return "package main\n\nimport (\n\t\"" + strings.Join(imports, "\"\n\t\"") + "\"\n" + head + "\n)\n\nfunc run(ctx context.Context) (err error) {\n" + before + body +
		"\nreturn err\n}\n\nfunc main() {\n\tif err := run(context.Background()); err != nil {\n\t\tfmt.Fprintln(os.Stderr, err)\n\t\tos.Exit(1)\n\t}\n}\n"
}

// goRun runs a program with this module's packages.
func goRun(t *testing.T, dir, text string) error {
	t.Helper()
	path := filepath.Join(dir, "program.go")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	cmd := exec.CommandContext(t.Context(), "go", "run", path)
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	t.Logf("go run: %s", out)
	return err
}

// records of an account that usage knows.
func (s *shell) records(account string) string {
	return strings.TrimSpace(s.run("usage", "meterd usage --parent acme --by account --json | grep "+account+` | grep -o '"records":[0-9]*'`))
}

// TestPrograms runs the programs that the documents print, in Go and for Node, beside a
// real system: each record that they send is metered, once.
func TestPrograms(t *testing.T) {
	t.Parallel()
	const path = "../../docs/channel-services.md"
	s, stop := examples(t)
	info := s.info()
	url := "redis://:" + info.RedisPassword + "@" + info.Redis + "/0"

	before := s.records("acme-support")
	text := program(t, path, "js", "send.mjs")
	out, code := node(t, s.dir, []string{"REDIS_URL=" + url}, text, nil)
	require.Equal(t, "taken\n", out)
	require.Zero(t, code)
	require.True(t, testengine.Until(time.Minute, func() bool { return s.records("acme-support") != before }), "it is metered")

	here := strings.NewReplacer(`&redis.Options{Addr: "redis.internal:6379"}`, `&redis.Options{Addr: "`+info.Redis+`", Password: "`+info.RedisPassword+`"}`)
	sends := goProgram(here.Replace(program(t, path, "go", "jobs.NewClient")), []string{"context", "fmt", "os", "time"}, "")
	require.Contains(t, sends, info.Redis)
	before = s.records("acme-marketing")
	require.NoError(t, goRun(t, s.dir, sends))
	require.True(t, testengine.Until(time.Minute, func() bool { return s.records("acme-marketing") != before }), "it is metered")
	after := s.records("acme-marketing")
	require.NoError(t, goRun(t, s.dir, sends), "again: the same id, of another moment")
	require.True(t, testengine.Until(time.Minute, func() bool {
		return s.run("conflicts", "meterd quarantine list --reason conflict --json") != ""
	}), "it is refused")
	require.Equal(t, after, s.records("acme-marketing"))

	asks := goProgram(program(t, path, "go", "gate.New"), []string{"context", "fmt", "os"},
		here.Replace("rdb := redis.NewClient(&redis.Options{Addr: \"redis.internal:6379\"})\n"))
	require.NoError(t, goRun(t, s.dir, asks))
	s.run("a suspension", "meterd suspend acme-marketing --note x")
	require.Error(t, goRun(t, s.dir, asks), "not sent")

	stop()
	out, code = node(t, s.dir, []string{"REDIS_URL=" + url}, text, nil)
	require.Contains(t, out, "not taken; send the same again")
	require.Equal(t, 1, code)
}

// TestHookProgram: what a receiver's program takes is what meterd signed, and nothing
// else.
func TestHookProgram(t *testing.T) {
	t.Setenv("ACME_HOOK_SECRET", "whsec_"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	type message struct {
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"` // base64
	}
	var got message
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		got = message{map[string]string{}, base64.StdEncoding.EncodeToString(b)}
		for name := range r.Header {
			got.Headers[strings.ToLower(name)] = r.Header.Get(name)
		}
	}))
	defer receiver.Close()
	text := program(t, "../../docs/parents-and-resellers.md", "js", "function verified") + `
import { readFileSync } from "node:fs";
const { headers, body } = JSON.parse(readFileSync(0));
process.exitCode = verified(headers, Buffer.from(body, "base64")) ? 0 : 1;
`
	send := func(at time.Time) message {
		require.NoError(t, notify.NewWebhook().Send(t.Context(), receiver.URL, notify.Secret{Env: "ACME_HOOK_SECRET"}, &notify.Message{ID: "msg_a_1", Type: "account.suspend", At: at, Data: map[string]any{"a": 1}}, at))
		return got
	}
	dir := t.TempDir()
	takes := func(m message) bool {
		in, err := json.Marshal(m)
		require.NoError(t, err)
		out, code := node(t, dir, nil, text, bytes.NewReader(in))
		require.Empty(t, out)
		return code == 0
	}
	now := time.Now()
	require.True(t, takes(send(now)))
	require.False(t, takes(send(now.Add(-time.Hour))), "old")
	m := send(now)
	m.Body = base64.StdEncoding.EncodeToString([]byte(`{"type":"account.resume"}`))
	require.False(t, takes(m), "another body")
	m = send(now)
	m.Headers["webhook-signature"] = "v1,AAAA"
	require.False(t, takes(m))
	delete(m.Headers, "webhook-signature")
	require.False(t, takes(m))
}
