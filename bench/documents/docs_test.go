package documents_test

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/proc"
	"github.com/meterd/meterd/internal/embedded"
)

// edit is what a document can't print as it is run: an id or a date that is another
// each time, or a command that is printed because it is refused.
type edit struct{ printed, run string }

// examples are a system with the accounts of examples/, their wallets and some of
// their records, and a shell beside it.
func examples(t *testing.T) (s *shell, stop func()) {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, ".meterd")
	up := proc.Launch(t, binary, []string{"METERD_DATA=" + data}, "up")
	up.WaitReady(t)
	stop = sync.OnceFunc(func() { up.Stop(t) })
	t.Cleanup(stop)
	s = newShell(t, dir, binary)
	accounts, err := os.ReadFile("../../examples/accounts.yaml")
	require.NoError(t, err)
	s.write("examples.yaml", string(accounts))
	usage, err := os.ReadFile("../../examples/usage.jsonl")
	require.NoError(t, err)
	lines := strings.SplitAfter(string(usage), "\n")
	s.write("usage.jsonl", strings.Join(lines[:2000], ""))
	s.write("outbox.jsonl", strings.Join(lines[2000:2200], ""))
	s.run("setting up", `
meterd accounts apply -f examples.yaml
for parent in acme saffron; do meterd wallet topup $parent 500.00 --ref set-up-$parent; done
meterd wallet allocate acme-marketing 100.00 --ref set-up-marketing
meterd enqueue usage.jsonl --wait`)
	return s, stop
}

// info is what run.json says of the system beside the shell.
func (s *shell) info() (info embedded.RunInfo) {
	s.tb.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, ".meterd", "run.json"))
	require.NoError(s.tb, err)
	require.NoError(s.tb, json.Unmarshal(text, &info))
	return info
}

// compress puts a file's text into another.
func (s *shell) compress(name, to string) {
	s.tb.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	require.NoError(s.tb, err)
	f, err := os.Create(filepath.Join(s.dir, to))
	require.NoError(s.tb, err)
	defer func() { _ = f.Close() }()
	if strings.HasSuffix(to, ".gz") {
		w := gzip.NewWriter(f)
		_, err = w.Write(text)
		require.NoError(s.tb, err)
		require.NoError(s.tb, w.Close())
		return
	}
	w, err := zstd.NewWriter(f)
	require.NoError(s.tb, err)
	_, err = w.Write(text)
	require.NoError(s.tb, err)
	require.NoError(s.tb, w.Close())
}

// edited are blocks with each edit made, which must be there to be made.
func edited(tb testing.TB, path string, list []block, edits []edit) []block {
	tb.Helper()
	for _, e := range edits {
		found := false
		for i := range list {
			if strings.Contains(list[i].text, e.printed) {
				found = true
				list[i].text = strings.ReplaceAll(list[i].text, e.printed, e.run)
			}
		}
		require.True(tb, found, "%s doesn't print %q any more", path, e.printed)
	}
	return list
}

// TestChannelServices runs what a channel service's developer reads.
func TestChannelServices(t *testing.T) {
	t.Parallel()
	const path = "../../docs/channel-services.md"
	s, _ := examples(t)
	s.compress("outbox.jsonl", "monday.jsonl.gz")
	s.compress("outbox.jsonl", "tuesday.jsonl.zst")
	for from, to := range map[string]string{"twilio.csv": "messages.csv", "kaleyra.csv": "report.csv"} {
		text, err := os.ReadFile(filepath.Join("../../jobs/importer/testdata", from))
		require.NoError(t, err)
		s.write(to, string(text))
	}
	s.compress("report.csv", "report.csv.gz")
	s.write("map.yaml", "AC0123: acme-marketing\n")
	s.write("refused.jsonl", `{"id":"x","account_id":"nobody","channel":"sms","units":1,"unit":"segment","occurred_at":"2026-11-24T10:00:00Z"}`+"\n")
	s.run("a refused line", "meterd enqueue refused.jsonl --wait")
	list := edited(t, path, blocks(t, path), []edit{
		{"55e3d41f1474bc7bf00603166677f53c", `$(meterd quarantine list --json | ids | head -1)`},
		{`"epoch":1000000002}`, `"epoch":…}`},
	})
	require.Equal(t, 4, s.perform(path, list, func(b *block) bool { return b.lang == "js" }))
}

// TestParentsAndResellers runs what whoever keeps accounts reads.
func TestParentsAndResellers(t *testing.T) {
	t.Parallel()
	const path = "../../docs/parents-and-resellers.md"
	s, _ := examples(t)
	list := edited(t, path, blocks(t, path), []edit{
		{"id: standard-eur", "id: another-eur"}, // the examples' is in force
		{"meterd report resend 4be1a3a7f3f7c8a1d2b0c9e8 --failed", "! meterd report resend 4be1a3a7f3f7c8a1d2b0c9e8 --failed"}, // there is no such run
		{"meterd accounts show acme --as acme-marketing", "! meterd accounts show acme --as acme-marketing"},                   // it says so
	})
	ran := s.perform(path, list, func(b *block) bool {
		if b.lang == "yaml" && b.file() == "" { // a part of a file: of acme's, if it is indented
			text := b.text
			if strings.HasPrefix(text, " ") {
				text = "parents:\n  - id: acme\n    module: enterprise\n    timezone: Europe/Rome\n    plan: retail-eur\n    funding: {mode: prepaid}\n" + text
			}
			s.write("part.yaml", text)
			s.run(b.where(path), "meterd accounts apply -f part.yaml --dry-run")
			return true
		}
		return b.lang == "js"
	})
	require.Equal(t, 8, ran)
}

// TestFinance runs what finance reads: its queries as they stand, over HTTP.
func TestFinance(t *testing.T) {
	t.Parallel()
	const path = "../../docs/finance.md"
	s, _ := examples(t)
	info := s.info()
	s.run("what run.json says", "ADDRESS="+info.ClickHouse+"\nPASSWORD="+info.ClickHousePassword)
	curl := ""
	queries := 0
	ran := s.perform(path, blocks(t, path), func(b *block) bool {
		switch {
		case strings.HasPrefix(b.text, "curl"):
			curl = strings.Replace(b.text, "curl", "curl --silent --show-error --fail-with-body", 1)
			return true
		case b.lang == "sql":
			s.write("query.sql", b.text)
			said := s.run(b.where(path), curl)
			none := strings.Contains(b.text, "m.billable != c.billable") // what must never be
			require.Equal(t, none, strings.TrimSpace(said) == "", "%s finds %q", b.where(path), said)
			queries++
			return true
		}
		return false
	})
	require.Equal(t, []int{3, 4}, []int{ran, queries})
}

// TestOperators runs what an operator reads, but for what needs other machines, each
// of which is named.
func TestOperators(t *testing.T) {
	t.Parallel()
	const path = "../../docs/operators.md"
	elsewhere := map[string]string{
		"meterd up --data /var/lib/meterd --listen": "a system of its own runs",
		"docker compose":      "deploy's tests",
		"export METERD_REDIS": "bench/cluster",
		"meterd worker":       "bench/faults",
		"redis-check-aof":     "bench/faults cuts such a file",
		"clickhouse-client":   "needs a server",
	}
	s, stop := examples(t)
	text, err := os.ReadFile("../../examples/accounts.yaml")
	require.NoError(t, err)
	s.write("accounts.yaml", string(text))
	s.write("right.yaml", `plans:
  - id: standard-eur-right
    currency: EUR
    versions:
      - effective_from: 2026-01-01T00:00:00Z
        rules: [{channel: sms, unit: segment, price: "0.05"}]
`)
	s.write("refused.jsonl", `{"id":"x","account_id":"nobody","channel":"sms","units":1,"unit":"segment","occurred_at":"2026-11-24T10:00:00Z"}`+"\n")
	s.run("what the document takes to be there", "meterd accounts apply -f right.yaml\nmeterd enqueue refused.jsonl --wait\nmeterd suspend acme-support --note x")
	list := edited(t, path, blocks(t, path), []edit{
		{"meterd report resend 3f6c0d9a1b2c4d5e6f708192", "! meterd report resend 3f6c0d9a1b2c4d5e6f708192"}, // no such run
		{"meterd findings show 3f9a0c", "! meterd findings show 3f9a0c"},                                     // nor finding
		{"meterd findings ack 3f9a0c", "! meterd findings ack 3f9a0c"},
		{"2b3fbecc65aab2a4428d0a51f355ab5d", `$(meterd quarantine list --json | ids | head -1)`},
		{"http://127.0.0.1:8480", s.info().HTTP},
		{"meterd up --data /var/lib/meterd-restored", "meterd up --data restored >up.log 2>&1 &\nmeterd doctor --data restored --wait 60s || cat up.log\nkill -INT $!\nwait $!"},
		{"/var/lib/meterd-restored", "restored"},
		{"--data /var/lib/meterd /backups", "--data .meterd /backups"},
		{"/backups/", ""},
	})
	used := map[string]bool{}
	ran := s.perform(path, list, func(b *block) bool {
		skipped := false
		for what := range elsewhere { // a block may hold several
			if strings.Contains(b.text, what) {
				used[what], skipped = true, true
			}
		}
		switch {
		case skipped:
			return true
		case strings.HasPrefix(b.text, "meterd backup"):
			stop()
		case strings.Contains(b.text, "CHECK "):
			require.Equal(t, checks(b.text), checks(s.run(b.where(path), "meterd doctor")), "as the document shows")
			return true
		case b.lang == "" || b.lang == "yaml":
			return true
		}
		return false
	})
	require.Len(t, used, len(elsewhere), "skipped what isn't there any more")
	require.Equal(t, 16, ran)
}

// checks that a doctor's table names, in order.
func checks(table string) (out []string) {
	for line := range strings.Lines(table) {
		if name, _, ok := strings.Cut(line, " ok "); ok {
			out = append(out, strings.TrimSpace(name))
		}
	}
	return out
}

// TestConfiguration runs what it prints, with the file that it prints.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	const path = "../../docs/configuration.md"
	list := edited(t, path, blocks(t, path), []edit{{"/etc/meterd.yaml", "etc.yaml"}})
	s := newShell(t, t.TempDir(), binary)
	for i := range list {
		if list[i].lang == "yaml" {
			s.write("etc.yaml", list[i].text)
		}
	}
	require.Equal(t, 1, s.perform(path, list, func(*block) bool { return false }))
}
