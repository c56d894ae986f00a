package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSetUpLeavesACompleteMachineAlone(t *testing.T) {
	t.Parallel()
	m := complete(t)
	require.Empty(t, m.ok("--tests"))
	require.Equal(t, []string{"sha256sum"}, m.asked())
	require.Empty(t, m.ok("--tests"))
	require.Empty(t, m.asked(), "a sum that was right is remembered")
	require.Empty(t, m.ok("--tests", "--check"))
	require.Empty(t, m.asked())
}

const fontPackages = "fonts-noto-core fonts-noto-cjk"

func TestSetUpInstallsWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command, pkg string
		asked        string
	}{
		"redis-server": {"redis-server", "redis-server", "redis-server"},
		"compiler":     {"gcc", "gcc", "gcc libc6-dev"},
		"headers":      {"pthread.h", "libc6-dev", "gcc libc6-dev"},
		"chromium":     {"chromium", "chromium", "chromium"},
		"fonts":        {"fonts-noto-core", "fonts-noto-core", fontPackages},
		"cjk":          {"fonts-noto-cjk", "fonts-noto-cjk", fontPackages},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := complete(t)
			m.ok("--tests")
			m.asked()
			m.uninstall(c.command, c.pkg)
			m.refused("missing", "--tests", "--check")
			require.Empty(t, m.asked(), "a check asks for nothing")
			require.Contains(t, m.ok("--tests"), "installing "+c.asked+"\n")
			want := []string{"apt-get update", "apt-get install " + c.asked}
			asked := m.asked()
			if name == "redis-server" {
				require.Len(t, asked, 3)
				require.Contains(t, []string{"systemctl disable redis-server", "service redis-server stop"}, asked[2])
				asked = asked[:2]
			}
			require.Equal(t, want, asked)
			require.Empty(t, m.ok("--tests"))
			require.Empty(t, m.asked(), "the second time nothing is missing")
		})
	}
}

// TestSetUpInstallsWhatProgramsImport: as a whole or not at all, and anew where it is
// of other versions.
func TestSetUpInstallsWhatProgramsImport(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.ok("--tests")
	m.asked()
	path := filepath.Join(m.dir, installed)
	m.write(installed, "ioredis@1.0.0")
	m.refused("programs for Node", "--tests", "--check")
	m.write("npm-answers", "half")
	m.refused("npm could not install ioredis@", "--tests")
	left, err := filepath.Glob(filepath.Dir(path) + ".*")
	require.NoError(t, err)
	require.Empty(t, left)
	m.write("npm-answers", "whole")
	m.asked()
	require.Contains(t, m.ok("--tests"), "installing ioredis@")
	require.Regexp(t, `^npm install .* ioredis@\S+ protobufjs@\S+$`, m.asked()[0])
	require.Empty(t, m.ok("--tests"))
	require.Empty(t, m.asked())
}

// TestSetUpInstallsFontsWhereTheyAreWanted: a worker without them shows ids.
func TestSetUpInstallsFontsWhereTheyAreWanted(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.ok()
	m.asked()
	m.uninstall("fonts-noto-cjk", "fonts-noto-cjk")
	require.Empty(t, m.ok())
	require.Empty(t, m.ok("--check"))
	require.Contains(t, m.refused("fonts of all scripts are missing", "--fonts", "--check"), "METERD_FONTS")
	require.Empty(t, m.asked())
	require.Contains(t, m.ok("--fonts"), "installing "+fontPackages+"\n")
	require.Equal(t, []string{"apt-get update", "apt-get install " + fontPackages}, m.asked())
	require.Empty(t, m.ok("--fonts", "--check"))

	m.uninstall("fonts-noto-core", "fonts-noto-core")
	out, err := m.setUp([]string{"METERD_FONTS=" + m.dir}, "--fonts")
	require.NoError(t, err, out)
	out, err = m.setUp([]string{"METERD_FONTS=" + filepath.Join(m.dir, "uid")}, "--fonts")
	require.Error(t, err)
	require.Contains(t, out, "which is no folder")
}

func TestSetUpWithoutTestsNeedsNeitherCompilerNorBrowser(t *testing.T) {
	t.Parallel()
	m := complete(t)
	require.NoError(t, os.Remove(filepath.Join(m.dir, installed)))
	m.remove("gcc")
	m.remove("chromium")
	require.Empty(t, m.ok())
	require.Empty(t, m.ok("--check"))
	require.Equal(t, []string{"sha256sum"}, m.asked())
}

// The names are those that the tests of reports look for.
func TestSetUpKnowsEachNameOfChromium(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../reports/browser_test.go")
	require.NoError(t, err)
	list := regexp.MustCompile(`range \[\]string\{(.*"chromium".*)\}`).FindSubmatch(text)
	require.NotNil(t, list)
	for name := range strings.SplitSeq(string(list[1]), ", ") {
		m := complete(t)
		m.remove("chromium")
		m.stub(strings.Trim(name, `"`), "")
		require.Empty(t, m.ok("--tests"), name)
	}
	m := complete(t)
	m.remove("chromium")
	m.refused("none of these is in PATH: "+strings.NewReplacer(`"`, "", ",", "").Replace(string(list[1])), "--tests")
}

func TestSetUpChecksEverything(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.removeLibrary()
	for _, name := range []string{"redis-server", "gcc", "chromium", "fonts-noto-core"} {
		m.remove(name)
	}
	require.NoError(t, os.Remove(filepath.Join(m.dir, installed)))
	out, err := m.setUp(nil, "--tests", "--check")
	require.Error(t, err)
	for _, name := range []string{"library", "redis-server", "C compiler", "Chromium", "fonts", "programs for Node"} {
		require.Contains(t, out, name)
	}
	require.Empty(t, m.asked())
	entries, err := os.ReadDir(filepath.Join(m.dir, "home"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestSetUpSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{
		"go":      "Go 1.26 or later is missing",
		"npm":     "npm is needed to fetch the ClickHouse library: install Node.js",
		"apt-get": "redis-server (7.0 or later) is missing: install it, or set METERD_REDIS_SERVER",
	} {
		m := complete(t)
		if name == "npm" {
			m.removeLibrary()
		}
		m.remove("redis-server")
		m.remove(name)
		m.refused(words)
		require.NotContains(t, strings.Join(m.asked(), "\n"), "install")
	}
	complete(t).refused("usage: setup.sh", "--test")
}

func TestSetUpSaysWhyItCannotInstall(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{"redis-server": "set METERD_REDIS_SERVER", "gcc": "set CC", "chromium": "install Google Chrome", "fonts-noto-core": "set METERD_FONTS"} {
		m := complete(t)
		m.remove(name)
		m.write("apt-fails", "")
		out := m.refused("apt-get could not install "+name, "--tests")
		require.Contains(t, out, words)
		require.NotContains(t, out, "apt-get installed")
		require.NoError(t, os.Remove(filepath.Join(m.dir, "apt-fails")))
		require.Contains(t, m.refused("apt-get installed "+name, "--tests"), words)
	}
}

// Lists that can't be had for a moment, or one of many that never can.
func TestSetUpUpdatesAgain(t *testing.T) {
	t.Parallel()
	for failures, want := range map[string][]string{
		"2":   {"apt-get update", "sleep 5", "apt-get update", "sleep 15", "apt-get update", "apt-get install chromium"},
		"100": {"apt-get update", "sleep 5", "apt-get update", "sleep 15", "apt-get update", "apt-get install chromium"},
	} {
		m := complete(t)
		m.ok()
		m.asked()
		m.uninstall("chromium", "chromium")
		m.write("update-failures", failures)
		out := m.ok("--tests")
		require.Contains(t, out, "apt-get update failed: trying again in 5 seconds")
		require.Equal(t, failures == "100", strings.Contains(out, "failed three times"))
		require.Equal(t, want, m.asked())
	}
}

func TestSetUpBearsWithAptGet(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.uninstall("chromium", "chromium")
	m.ok("--tests")
	text, err := os.ReadFile(filepath.Join(m.dir, "asked"))
	require.NoError(t, err)
	lines := regexp.MustCompile(`(?m)^apt-get .*`).FindAllString(string(text), -1)
	require.Len(t, lines, 2, "and it neither asks nor starts a service")
	for _, line := range lines {
		for _, option := range []string{"Acquire::Retries=3", "DPkg::Lock::Timeout=120", "Dpkg::Options::=--force-confold"} {
			require.Contains(t, line, "-o "+option)
		}
	}
	require.Contains(t, lines[1], " -y ")
}

func TestSetUpTakesRootBySudo(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.ok()
	m.write("uid", "1000")
	m.uninstall("redis-server", "redis-server")
	m.asked()
	const words = "redis-server (7.0 or later) is missing, and installing it takes root: run `apt-get install redis-server` as root, or set METERD_REDIS_SERVER"
	m.refused(words) // sudo asks for a password that nobody can give
	require.Equal(t, []string{"sudo true"}, m.asked())

	m.write("sudoer", "")
	m.ok()
	asked := m.asked()
	require.Equal(t, []string{
		"sudo true", "sudo apt-get update", "apt-get update", "sudo apt-get install redis-server", "apt-get install redis-server",
	}, asked[:5])
	require.Regexp(t, "^sudo (systemctl|service) ", asked[5])
	require.Len(t, asked, 7)

	// On a terminal somebody can.
	m.uninstall("redis-server", "redis-server")
	require.NoError(t, os.Remove(filepath.Join(m.dir, "sudoer")))
	var err error
	m.tty, err = os.Open("/dev/ptmx")
	require.NoError(t, err)
	defer func() { require.NoError(t, m.tty.Close()) }()
	m.ok()
	require.Equal(t, asked[:5], m.asked()[:5])

	m.uninstall("redis-server", "redis-server")
	m.remove("sudo")
	m.refused(words)
	require.Empty(t, m.asked())
}

func TestSetUpTakesWhatIsGiven(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.removeLibrary()
	m.uninstall("redis-server", "redis-server")
	redis := filepath.Join(m.dir, "packages/redis-server/redis-server")
	lib := filepath.Join(m.dir, "uid")
	out, err := m.setUp([]string{"METERD_CHDB_LIB=" + lib, "METERD_REDIS_SERVER=" + redis})
	require.NoError(t, err, out)
	for _, c := range [][2]string{{lib, m.dir}, {m.dir, redis}, {lib, lib}} {
		out, err = m.setUp([]string{"METERD_CHDB_LIB=" + c[0], "METERD_REDIS_SERVER=" + c[1]})
		require.Error(t, err)
		require.Regexp(t, "METERD_(CHDB_LIB|REDIS_SERVER) names .*, which (is no file|can't be run)", out)
	}
	require.Empty(t, m.asked())
}

func TestSetUpRefusesAnOldRedis(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.stub("redis-server", `echo "Redis server v=6.0.16 sha=00000000:0 bits=64"`)
	m.refused("redis-server is older than 7.0: install a later redis-server, or set METERD_REDIS_SERVER")
	m.refused("older than 7.0", "--check")
	m.stub("redis-server", `exit 127`)
	m.refused("redis-server doesn't run")
	m.stub("redis-server", `echo "Valkey server v=8.1.1 sha=00000000:0 bits=64"`)
	m.ok()
}

// apt-get's gcc doesn't help one who told Go to take another.
func TestSetUpTriesTheCompilerThatGoUses(t *testing.T) {
	t.Parallel()
	m := complete(t)
	m.write("cc", "clang -m64")
	m.refused("Go's C compiler (`go env CC`) is `clang -m64`, which compiles nothing here", "--tests")
	require.Equal(t, []string{"sha256sum"}, m.asked())
	m.stub("clang", `[ "$1" = -m64 ]`)
	m.ok("--tests")
}

// `command -v` and its like also find functions: a script with a function
// chromium never misses Chromium.
func TestScriptsLookForCommandsInPathAlone(t *testing.T) {
	t.Parallel()
	lookups := regexp.MustCompile(`(?m)\bcommand -[vV]|(?:^|[({;&|!]|\b(?:if|while)\b)[ \t]*(?:which|hash|type) .*`)
	scripts, err := filepath.Glob("../*/*.sh")
	require.NoError(t, err)
	scripts = append(scripts, "../.ci/run", "../Makefile")
	require.Contains(t, scripts, "../deploy/setup.sh")
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		found := lookups.FindString(strings.ReplaceAll(string(text), "type -P ", ""))
		require.Empty(t, found, "%s: look for commands with `type -P`", path)
	}
}
