package arch_test

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/meterd/meterd"

type pkg struct {
	ImportPath string
	Doc        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,Imports,Deps,GoFiles", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	var list []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// rooms is the table of docs/architecture.md, The rooms: what each folder may import of ours. The
// longest name that fits a package is its room.
var rooms = map[string][]string{
	"metering":           {},
	"metering/balance":   {"metering"},
	"metering/ledger":    {"metering", "sql", "internal"},
	"metering/admin":     {"metering", "metering/balance", "metering/ledger", "internal"},
	"metering/gate":      {"metering", "metering/balance", "internal"},
	"metering/reconcile": {"metering", "metering/balance", "metering/ledger", "internal"},
	"jobs":               {"metering", "internal/wire"},
	"worker/pipeline":    {"metering", "metering/balance", "metering/ledger", "metering/admin", "metering/reconcile", "worker/metrics", "internal"},
	"worker/suspend":     {"metering", "metering/balance", "metering/ledger", "metering/admin", "worker/metrics", "worker/pipeline", "internal"},
	"worker/workertest":  {"metering", "metering/", "internal"},
	"worker/metrics":     {"metering", "metering/balance", "metering/ledger", "internal"},
	"worker/reporting":   {"jobs", "metering", "metering/ledger", "reports", "internal"},
	"worker":             {"jobs", "metering", "metering/", "reports", "worker/", "internal"},
	"doctor":             {"jobs", "metering", "metering/", "worker", "worker/suspend", "reports", "internal"},
	"reports":            {"metering", "metering/ledger", "reports/", "internal"},
	"sql":                {},
	"internal":           {"internal"},
	"cmd":                {""},
	"bench":              {""},
	"examples":           {"metering", "metering/admin"},
	"deploy":             {},
}

// outside is what a room may import of others' libraries: only named rooms are
// held to a list.
var outside = map[string][]string{
	"metering": {"github.com/shopspring/decimal"},
}

func roomOf(path string) string {
	rel := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	best := ""
	for room := range rooms {
		if (rel == room || strings.HasPrefix(rel, room+"/")) && len(room) > len(best) {
			best = room
		}
	}
	return best
}

func allows(list []string, rel string) bool {
	for _, a := range list {
		switch {
		case a == "":
			return true
		case strings.HasSuffix(a, "/"):
			if strings.HasPrefix(rel, a) {
				return true
			}
		case rel == a, a == "internal" && strings.HasPrefix(rel, "internal/"):
			return true
		}
	}
	return false
}

// Data flows one way: cmd → worker → jobs, reports, metering/* → metering.
func TestImportsFollowTheRooms(t *testing.T) {
	for _, p := range packages(t) {
		room := roomOf(p.ImportPath)
		if room == "" {
			t.Errorf("%s is in no room: add it to the table of this test and of docs/architecture.md", p.ImportPath)
			continue
		}
		self := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, imp := range p.Imports {
			rel, ours := strings.CutPrefix(imp, module+"/")
			switch {
			case ours && rel != room && !strings.HasPrefix(rel, self+"/") && !allows(rooms[room], rel):
				t.Errorf("%s imports %s: the room %s may import only %v", p.ImportPath, imp, room, rooms[room])
			case !ours && strings.Contains(imp, ".") && outside[room] != nil && !allows(outside[room], imp):
				t.Errorf("%s imports %s: %s is pure, see metering/doc.go", p.ImportPath, imp, room)
			}
		}
	}
}

// A channel service that imports the client and the gate links neither
// ClickHouse nor the reports.
func TestClientsLinkLittle(t *testing.T) {
	for _, p := range packages(t) {
		rel := strings.TrimPrefix(p.ImportPath, module+"/")
		if rel != "jobs" && rel != "metering/gate" {
			continue
		}
		for _, dep := range p.Deps {
			if strings.Contains(dep, "ClickHouse") || strings.HasPrefix(dep, module+"/reports") || strings.HasPrefix(dep, module+"/metering/ledger") {
				t.Errorf("%s links %s", p.ImportPath, dep)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment: say in doc.go what it decides and what it leaves out", p.ImportPath)
		}
	}
}

// stable are the packages that others import; each other one that they could says that
// it isn't meant for that.
var stable = []string{"jobs", "jobs/importer", "metering", "metering/gate"}

func TestWhatIsStableIsSaid(t *testing.T) {
	for _, p := range packages(t) {
		rel := strings.TrimPrefix(p.ImportPath, module+"/")
		if room, _, _ := strings.Cut(rel, "/"); slices.Contains([]string{"internal", "cmd", "bench", "examples", "deploy"}, room) {
			continue // nobody can, or a program's
		}
		says := slices.ContainsFunc(p.GoFiles, func(name string) bool {
			text, err := os.ReadFile(filepath.Join("../..", rel, name))
			require.NoError(t, err)
			return strings.Contains(string(text), "no stable interface.\npackage ")
		})
		if len(p.GoFiles) > 0 && says == slices.Contains(stable, rel) {
			t.Errorf("%s: its comment must say that it is no stable interface, unless others import it: %v", p.ImportPath, stable)
		}
	}
}

// Every query and script is called by its name somewhere.
func TestNoQueryOrScriptIsUnused(t *testing.T) {
	var code strings.Builder
	walk(t, "../..", ".go", func(path string, text []byte) {
		// The engines of memory name every script and query, but call none.
		memory := strings.Contains(path, "/balancetest/") || strings.Contains(path, "/ledgertest/")
		if !strings.HasSuffix(path, "_test.go") && !memory {
			code.Write(text)
		}
	})
	source := code.String()
	for folder, ext := range map[string]string{"../../sql/queries": ".sql", "../../metering/balance/lua": ".lua", "../../worker": ".lua", "../../internal/wire": ".lua"} {
		walk(t, folder, ext, func(path string, text []byte) {
			name := strings.TrimSuffix(filepath.Base(path), ext)
			if !strings.Contains(source, `"`+name+`"`) && !strings.Contains(source, name+ext) {
				t.Errorf("%s is used by no code: delete it, or call it", path)
			}
			if !strings.HasPrefix(string(text), "-- "+name) {
				t.Errorf("%s: its first line must be \"-- %s: …\" or \"-- %s%s: …\", with inputs and outputs below", path, name, name, ext)
			}
		})
	}
}

func walk(t *testing.T, root, ext string, f func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ext {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f(path, text)
		return nil
	})
	require.NoError(t, err)
}
