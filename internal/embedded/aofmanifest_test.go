package embedded_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/embedded"
)

var analyzed = regexp.MustCompile(`(?m)filename=(.*), size=`)

// TestTheManifestIsReadAsRedisReadsIt: the file that is found is the last one that
// redis-check-aof goes through, and none where it refuses the manifest.
func TestTheManifestIsReadAsRedisReadsIt(t *testing.T) {
	t.Parallel()
	binary, err := exec.LookPath("redis-server")
	require.NoError(t, err)
	for name, c := range map[string]struct{ manifest, want string }{
		"Redis 7":           {"file a.aof seq 1 type i\nfile b.aof seq 2 type i\n", "b.aof"},
		"history":           {"file a.aof seq 1 type h\nfile b.aof seq 2 type i\n", "b.aof"},
		"Redis 8":           {"file a.aof seq 1 type i startoffset 0 endoffset 5\nfile b.aof seq 2 type i startoffset 6\n", "b.aof"},
		"any order":         {"file b.aof seq 1 type i\nTYPE i other \"\" SEQ 2\tFILE  a.aof \r\n", "a.aof"},
		"the last counts":   {"file a.aof seq 1 type h type incr file b.aof\n", "b.aof"},
		"comments":          {"# file a.aof\n#\nfile a.aof seq 1 type i\n# end", "a.aof"},
		"quoted":            {`file "c d.aof" seq 1 type i` + "\n", "c d.aof"},
		"escaped":           {`file "\x63\x20\d\"\t\xg.aof" seq 1 type "i"` + "\n", "c d\"\txg.aof"},
		"single quotes":     {`file 'c d\'.aof' note '\n' seq 1 type i` + "\n", "c d'.aof"},
		"half quoted":       {`file c" "d.aof seq 1 type i` + "\n", ""},
		"quoted to its end": {`file c" d.aof" seq 1 type i` + "\n", "c d.aof"},
		"open quotes":       {`file a.aof seq 1 type "i` + "\n", ""},
		"an open escape":    {`file a.aof seq 1 type "i\` + "\n", ""},
		"a key alone":       {"file a.aof seq 1 type i\nfile b.aof seq 2 type i startoffset\n", ""},
		"too few":           {"file a.aof seq 1 type i\nfile b.aof seq 2\n", ""},
		"no name":           {"seq 1 type i startoffset 0\n", ""},
		"no type":           {`file a.aof seq 1 type ""` + "\n", ""},
		"a path":            {"file ../a.aof seq 1 type i\n", ""},
		"another path":      {`file ..\a.aof seq 1 type i` + "\n", ""},
		"cut off":           {"file a.aof seq 1 type i\nfile b.aof seq 2 type i", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, file := range []string{"a.aof", "b.aof", cmp.Or(c.want, "c.aof")} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte("*1\r\n$4\r\nPING\r\n"), 0o600))
			}
			manifest := filepath.Join(dir, "appendonly.aof.manifest")
			require.NoError(t, os.WriteFile(manifest, []byte(c.manifest), 0o600))
			got, err := embedded.LastIncrement(dir)
			require.NoError(t, err)
			check := exec.CommandContext(t.Context(), binary, manifest)
			check.Args[0] = "redis-check-aof"
			out, err := check.CombinedOutput()
			if c.want == "" {
				require.Empty(t, got)
				require.Error(t, err, string(out))
				return
			}
			require.NoError(t, err, string(out))
			require.Equal(t, filepath.Join(dir, c.want), got)
			found := analyzed.FindAllSubmatch(out, -1)
			require.NotEmpty(t, found, string(out))
			require.Equal(t, c.want, string(found[len(found)-1][1]))
		})
	}
}
