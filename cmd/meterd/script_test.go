package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
)

// TestScripts runs testdata/*.txtar. Beside the usual commands there are
//
//	exits N CMD…        run it; its exit code must be N, and no stack trace shown
//	fields a,b,c        the first JSON object of stdout has at least these
//	only a,b,c          every JSON object of stdout has exactly these
//	is PATH VALUE       a value of stdout's JSON document: a.b, a.0.b
//	until REGEXP CMD…   run it until its stdout matches, for at most a minute
//	fill FILE…          put $NOW, $DAY, $MONTH, $ROME_MONTH and others in
//	bytes N FILE        N bytes of one line
//	binary FILE         bytes that are no text
//	gzip, zstd FILE     compress to FILE.gz, FILE.zst
//	mode OCTAL FILE     its permissions
//	redis DIR ARG…      a command to the Redis of the embedded system in a folder
func TestScripts(t *testing.T) {
	t.Parallel()
	theSystem.start(t)
	if err := buildCommand(); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "fields": cmdFields, "only": cmdOnly, "is": cmdIs, "until": cmdUntil, "fill": cmdFill,
			"bytes": cmdBytes, "binary": cmdBinary, "gzip": cmdGzip, "zstd": cmdZstd, "mode": cmdMode, "redis": cmdRedis,
		},
	})
}

// scriptMax is some ten times what the longest script takes.
const scriptMax = 4 * time.Minute

func setupScript(env *testscript.Env) error {
	tb, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("testscript hands no testing.TB on")
	}
	testengine.Bound(tb, scriptMax)
	testengine.Log(tb, "log of meterd up", theSystem.log)
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "METERD_CHDB_LIB"} {
		if v, ok := os.LookupEnv(name); ok {
			env.Setenv(name, v)
		}
	}
	env.Setenv("PATH", commandDir+":"+env.Getenv("PATH"))
	env.Setenv("METERD_DATA", theSystem.data())
	env.Setenv("REDIS_URL", theSystem.redisURL())
	env.Setenv("REDIS_ADDR", theSystem.info.Redis)
	env.Setenv("CLICKHOUSE_URL", theSystem.clickhouseURL())
	env.Setenv("CLICKHOUSE_ADDR", strings.TrimPrefix(theSystem.info.ClickHouse, "http://"))
	now := time.Now().UTC().Add(-time.Second)
	rome, err := metering.LoadZone("Europe/Rome")
	if err != nil {
		return err
	}
	env.Setenv("NOW", now.Format(time.RFC3339Nano))
	env.Setenv("SOON", now.Add(time.Hour).Format(time.RFC3339Nano))
	env.Setenv("DAY", now.Format(time.DateOnly))
	env.Setenv("MONTH", now.Format("2006-01"))
	env.Setenv("ROME_MONTH", now.In(rome).Format("2006-01"))
	return nil
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N CMD…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	text := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "internal error") {
		ts.Fatalf("a stack trace, or a panic")
	}
	if want == exitRefused || want == exitInput {
		if stderr := ts.ReadFile("stderr"); !strings.HasPrefix(stderr, "meterd: ") {
			ts.Fatalf("no error on stderr: %q", stderr)
		}
	}
}

// objects are the JSON objects of stdout.
func objects(ts *testscript.TestScript) []map[string]any {
	var out []map[string]any
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	for dec.More() {
		var v map[string]any
		if err := dec.Decode(&v); err != nil {
			ts.Fatalf("stdout isn't JSON: %v", err)
		}
		out = append(out, v)
	}
	if len(out) == 0 {
		ts.Fatalf("no JSON on stdout")
	}
	return out
}

func cmdFields(ts *testscript.TestScript, _ bool, args []string) {
	got := objects(ts)[0]
	for name := range strings.SplitSeq(args[0], ",") {
		if _, ok := got[name]; !ok {
			ts.Fatalf("no field %q in %v", name, slices.Sorted(maps.Keys(got)))
		}
	}
}

func cmdOnly(ts *testscript.TestScript, _ bool, args []string) {
	want := strings.Split(args[0], ",")
	slices.Sort(want)
	for _, got := range objects(ts) {
		if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
			ts.Fatalf("fields %v, want %v", keys, want)
		}
	}
}

func cmdIs(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: is PATH VALUE")
	}
	var v any = objects(ts)[0]
	for name := range strings.SplitSeq(args[0], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			n, err := strconv.Atoi(name)
			if err != nil || n >= len(x) {
				ts.Fatalf("no element %s in %v", name, x)
			}
			v = x[n]
		default:
			v = nil
		}
	}
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		ts.Check(err)
		text = string(b)
	}
	if (text == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], text)
	}
}

func cmdUntil(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(args[0])
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if err := ts.Exec(args[1], args[2:]...); err == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-time.After(pause):
		case <-deadline.C:
			ts.Fatalf("no %s within a minute", args[0])
		}
	}
}

func cmdRedis(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: redis DIR ARG…")
	}
	info, err := embedded.ReadRunFile(ts.MkAbs(args[0]))
	ts.Check(err)
	rdb := redis.NewClient(&redis.Options{Addr: info.Redis, Password: info.RedisPassword})
	defer func() { _ = rdb.Close() }()
	command := make([]any, 0, len(args))
	for _, a := range args[1:] {
		command = append(command, a)
	}
	ts.Check(rdb.Do(context.Background(), command...).Err())
}

func cmdFill(ts *testscript.TestScript, _ bool, args []string) {
	for _, f := range args {
		ts.Check(os.WriteFile(ts.MkAbs(f), []byte(os.Expand(ts.ReadFile(f), ts.Getenv)), 0o600))
	}
}

func cmdBytes(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), bytes.Repeat([]byte("x"), n), 0o600))
}

func cmdBinary(ts *testscript.TestScript, _ bool, args []string) {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd} // as zstd begins
	for i := range 4096 {
		b = append(b, byte(i*i>>3), byte(i))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

func cmdGzip(ts *testscript.TestScript, _ bool, args []string) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(ts.ReadFile(args[0])))
	ts.Check(errors.Join(err, w.Close()))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".gz"), b.Bytes(), 0o600))
}

func cmdZstd(ts *testscript.TestScript, _ bool, args []string) {
	w, err := zstd.NewWriter(nil)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".zst"), w.EncodeAll([]byte(ts.ReadFile(args[0])), nil), 0o600))
}

func cmdMode(ts *testscript.TestScript, _ bool, args []string) {
	st, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", st.Mode().Perm()); got != args[0] {
		ts.Fatalf("mode %s, want %s", got, args[0])
	}
}

// TestScriptsShareNoAccounts: they run side by side on one system.
func TestScriptsShareNoAccounts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	of := map[string]string{}
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^\s*-\s+\{?id: ([a-z0-9-]+)`).FindAllStringSubmatch(string(text), -1) {
			if other, ok := of[m[1]]; ok {
				require.Equal(t, other, path, "%s is an account or a plan of both", m[1])
			}
			of[m[1]] = path
		}
	}
}
