package deploy

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// machine is one that set-up runs on. Its PATH is a folder with stubs and the
// few real commands of basics: nothing can reach the packages of the machine
// that runs the test.
type machine struct {
	t   *testing.T
	dir string
	sum string // on record for the library
	tty *os.File
}

// basics are the real commands that set-up needs.
var basics = []string{"bash", "cat", "cut", "env", "flock", "mkdir", "mv", "rm", "stat"}

const library = "cache/meterd/*/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"

// installed says what the documents' programs import, once it is there.
const installed = "cache/meterd/documents/installed"

// record notes what is asked.
const record = `printf '%s %s\n' "${0##*/}" "$*" >>"$MACHINE/asked"
`

// recordLock notes whether set-up's lock came with it, too.
const recordLock = record + `if { : >&9; } 2>/dev/null; then printf '%s inherits the lock\n' "${0##*/}" >>"$MACHINE/asked"; fi
`

// stubs are in PATH from the start. What apt-get installs is in packages.
var stubs = map[string]string{
	"uname":           `case "$1" in -s) echo Linux ;; -m) echo x86_64 ;; esac`,
	"id":              `echo "$(<"$MACHINE/uid")"`,
	"go":              `[ "$*" = "env CC" ] && echo "$(<"$MACHINE/cc")"`,
	"gcc":             `[ -f "$MACHINE/bin/pthread.h" ] && [ "$1" = -E ]`,
	"pthread.h":       ``,
	"chromium":        `exit 1`,
	"fonts-noto-core": ``,
	"fonts-noto-cjk":  ``,
	"dpkg-query":      `for package in "$@"; do :; done; [ -f "$MACHINE/bin/$package" ] && printf installed`,
	"redis-server":    `echo "Redis server v=7.0.15 sha=00000000:0 bits=64"`,
	"sleep":           record,
	"systemctl":       recordLock,
	"service":         recordLock,
	"sudo":            record + `if [ "$1" = -n ]; then [ -f "$MACHINE/sudoer" ]; exit; fi; exec "$@"`,
	"sha256sum": record + `read -r text
if [ "$text" = whole ]; then echo "$SUM  -"; else echo "0badc0de  -"; fi`,
	"npm": recordLock + `package=
while [ $# -gt 0 ]; do
  case "$1" in --prefix) prefix=$2 ;; @chdb/*) package=${1%@*} ;; esac
  shift
done
answer="$(<"$MACHINE/npm-answers")"
if [ "$answer" = nothing ]; then exit; fi
"$MACHINE/tools/mkdir" -p "$prefix/node_modules/$package"
if [ -z "$package" ]; then [ "$answer" != half ]; exit; fi
echo "$answer" >"$prefix/node_modules/$package/libchdb.so"
"$MACHINE/tools/sleep" 0.2
[ "$answer" != half ]`,
	"apt-get": recordLock + `[ "$DEBIAN_FRONTEND $RUNLEVEL" = "noninteractive 1" ] || echo "apt-get may ask and start" >>"$MACHINE/asked"
case " $* " in
*" update "*)
  failures="$(<"$MACHINE/update-failures")"
  if [ "$failures" -gt 0 ]; then
    echo $((failures - 1)) >"$MACHINE/update-failures"
    exit 100
  fi
  ;;
*" install "*)
  if [ -f "$MACHINE/apt-fails" ]; then echo "E: Unable to locate package" >&2; exit 100; fi
  for package in "$@"; do
    if [ -d "$MACHINE/packages/$package" ]; then "$MACHINE/tools/cp" -R "$MACHINE/packages/$package/." "$MACHINE/bin/"; fi
  done
  ;;
esac`,
}

// complete is a machine on which nothing is missing.
func complete(t *testing.T) *machine {
	t.Helper()
	script, err := os.ReadFile("setup.sh")
	require.NoError(t, err)
	sum := regexp.MustCompile(`sum=([0-9a-f]{64})`).FindSubmatch(script)
	version := regexp.MustCompile(`(?m)^version=(.+)$`).FindSubmatch(script)
	programs := regexp.MustCompile(`(?m)^programs="(.+)"$`).FindSubmatch(script)
	require.NotNil(t, sum)
	require.NotNil(t, version)
	require.NotNil(t, programs)
	m := &machine{t: t, dir: t.TempDir(), sum: string(sum[1])}
	for _, dir := range []string{"bin", "tools", "packages", "home"} {
		require.NoError(t, os.Mkdir(filepath.Join(m.dir, dir), 0o750))
	}
	for _, name := range basics {
		m.link("bin", name)
	}
	for _, name := range []string{"cp", "mkdir", "sleep"} {
		m.link("tools", name)
	}
	for name, text := range stubs {
		m.stub(name, text)
	}
	m.write("uid", "0")
	m.write("cc", "gcc")
	m.write("npm-answers", "whole")
	m.write("update-failures", "0")
	m.write(installed, string(programs[1]))
	m.write(strings.Replace(library, "*", string(version[1]), 1), "whole")
	return m
}

func (m *machine) link(dir, name string) {
	m.t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(m.t, err, "the test of set-up needs %s: install it (coreutils, util-linux)", name)
	require.NoError(m.t, os.Symlink(path, filepath.Join(m.dir, dir, name)))
}

func (m *machine) stub(name, text string) {
	m.t.Helper()
	bash, err := filepath.EvalSymlinks(filepath.Join(m.dir, "bin", "bash"))
	require.NoError(m.t, err)
	// A process that is started meanwhile would have the file open to write, for
	// a moment in which it can't be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	require.NoError(m.t, os.WriteFile(filepath.Join(m.dir, "bin", name), []byte("#!"+bash+"\n"+text+"\n"), 0o700))
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o750))
	require.NoError(m.t, os.WriteFile(path, []byte(text+"\n"), 0o600))
}

// remove takes a command away for good.
func (m *machine) remove(name string) {
	m.t.Helper()
	require.NoError(m.t, os.Remove(filepath.Join(m.dir, "bin", name)))
}

// uninstall takes a command away; the package brings it back.
func (m *machine) uninstall(name, pkg string) {
	m.t.Helper()
	dir := filepath.Join(m.dir, "packages", pkg)
	require.NoError(m.t, os.MkdirAll(dir, 0o750))
	require.NoError(m.t, os.Rename(filepath.Join(m.dir, "bin", name), filepath.Join(dir, name)))
}

// libraryPath is where the library is, or "".
func (m *machine) libraryPath() string {
	m.t.Helper()
	found, err := filepath.Glob(filepath.Join(m.dir, library))
	require.NoError(m.t, err)
	return strings.Join(found, " ")
}

func (m *machine) removeLibrary() {
	m.t.Helper()
	require.NoError(m.t, os.Remove(m.libraryPath()))
}

// setUp runs the script; environment is added to what it has.
func (m *machine) setUp(environment []string, args ...string) (string, error) {
	m.t.Helper()
	script, err := filepath.Abs("setup.sh")
	require.NoError(m.t, err)
	cmd := exec.CommandContext(m.t.Context(), script, args...)
	cmd.Dir = m.dir
	cmd.Env = append([]string{
		"PATH=" + filepath.Join(m.dir, "bin"), "HOME=" + filepath.Join(m.dir, "home"),
		"XDG_CACHE_HOME=" + filepath.Join(m.dir, "cache"), "MACHINE=" + m.dir, "SUM=" + m.sum,
	}, environment...)
	if m.tty != nil {
		cmd.Stdin = m.tty
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// ok is a set-up that ends well.
func (m *machine) ok(args ...string) string {
	m.t.Helper()
	out, err := m.setUp(nil, args...)
	require.NoError(m.t, err, out)
	return out
}

// refused is a set-up that ends with these words.
func (m *machine) refused(words string, args ...string) string {
	m.t.Helper()
	out, err := m.setUp(nil, args...)
	var exit *exec.ExitError
	require.ErrorAs(m.t, err, &exit, out)
	require.Equal(m.t, 1, exit.ExitCode(), out)
	require.Contains(m.t, out, words)
	return out
}

// options are left out of what was asked.
var options = regexp.MustCompile(` -q+| -o \S+| --?[a-z]+(-[a-z]+)*(=\S+)?| env [A-Z]\S+( [A-Z]\S+)?`)

// asked is what was asked of the machine since the last call, without options.
func (m *machine) asked() []string {
	m.t.Helper()
	path := filepath.Join(m.dir, "asked")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(m.t, err)
	require.NoError(m.t, os.Remove(path))
	var lines []string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimSpace(options.ReplaceAllString(line, "")))
	}
	return lines
}
