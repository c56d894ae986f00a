package documents_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/proc"
	"github.com/meterd/meterd/internal/testengine"
)

// night is a system of real servers on which things go wrong, and an operator's shell.
type night struct {
	*shell

	engines *testengine.Engines
	env     []string
	health  string       // of the worker that was started last
	answer  atomic.Int32 // of the parent's receiver
	told    atomic.Int32
}

// servers starts a system without a worker.
func servers(t *testing.T) *night {
	t.Helper()
	n := &night{engines: testengine.Start(t)}
	n.env = []string{
		"METERD_REDIS=redis://:" + n.engines.RedisPassword + "@" + n.engines.RedisAddr + "/0",
		"METERD_CLICKHOUSE=" + strings.Replace(n.engines.ClickHouseURL, "//", "//"+n.engines.ClickHouseUser+":"+n.engines.ClickHousePassword+"@", 1),
		"METERD_DATABASE=" + n.engines.Database,
	}
	n.shell = newShell(t, t.TempDir(), binary)
	n.run("addresses", "export "+strings.Join(n.env, " "))
	n.answer.Store(http.StatusOK)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.told.Add(1)
		w.WriteHeader(int(n.answer.Load()))
	}))
	t.Cleanup(receiver.Close)
	n.write("accounts.yaml", strings.ReplaceAll(`plans:
  - {id: flat, currency: EUR, versions: [{effective_from: 2026-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.01"}]}]}
parents:
  - id: acme
    module: enterprise
    timezone: UTC
    plan: flat
    funding: {mode: prepaid}
    hooks: [{url: "URL", secret_env: NIGHT_HOOK}]
    sub_accounts: [{id: acme-support, channels: [sms]}]
`, "URL", receiver.URL))
	n.write("later.yaml", "parents:\n  - {id: nobody, module: enterprise, timezone: UTC, plan: flat, funding: {mode: postpaid}}\n")
	return n
}

// worker starts one, with the receiver's secret unless it is to be missing.
func (n *night) worker(secret bool, args ...string) *proc.Process {
	n.tb.Helper()
	env := n.env
	if secret {
		env = append(slices.Clip(env), "NIGHT_HOOK=whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=")
	}
	p := proc.Launch(n.tb, binary, env, append([]string{"worker"}, args...)...)
	n.health = strings.TrimPrefix(p.WaitReady(n.tb), "ready ")
	return p
}

// named waits until the doctor says that these parts aren't all right, and no other; it
// returns what it says of them.
func (n *night) named(parts ...string) string {
	n.tb.Helper()
	said := ""
	failed := regexp.MustCompile(`(?m)^ *(\S.*?) +FAILED`)
	ok := testengine.Until(time.Minute, func() bool {
		said = n.run("doctor", "meterd doctor || true")
		var found []string
		for _, m := range failed.FindAllStringSubmatch(said, -1) {
			found = append(found, m[1])
		}
		return strings.Join(found, ", ") == strings.Join(parts, ", ")
	})
	require.True(n.tb, ok, "the doctor should name %q and says\n%s", parts, said)
	return said
}

// says wants a command's output to tell something.
func (n *night) says(command, want string) {
	n.tb.Helper()
	said := ""
	ok := testengine.Until(30*time.Second, func() bool {
		said = n.run(command, command)
		return regexp.MustCompile(want).MatchString(said)
	})
	require.True(n.tb, ok, "%s should say %q and says\n%s", command, want, said)
}

// message is one of an account, of now.
func (n *night) message(account, id string) string {
	return fmt.Sprintf(`{"id":%q,"account_id":%q,"channel":"sms","units":1,"unit":"segment","occurred_at":%q}`+"\n", id, account, time.Now().UTC().Format(time.RFC3339))
}

// send enqueues a message of an account.
func (n *night) send(account, id string) {
	n.write("one.jsonl", n.message(account, id))
	n.run("send", "meterd enqueue one.jsonl")
}

// TestNight causes what the runbook tells of, one after the other: the doctor names
// it, what the runbook says leads out, and then all is well again.
func TestNight(t *testing.T) {
	t.Parallel()
	testengine.Bound(t, 6*time.Minute)
	n := servers(t)
	all := n.worker(true)
	n.run("set up", "meterd accounts apply -f accounts.yaml\nmeterd wallet topup acme 10.00 --ref a")
	n.send("acme-support", "m1")
	n.named()

	// Worker down, and what it leaves: nobody has its roles, and nobody takes what comes.
	all.Kill()
	n.send("acme-support", "m2")
	said := n.named("queues", "role ingest", "role suspensions", "role reports", "role scheduler")
	require.Contains(t, said, "no worker serves")
	some := n.worker(true, "--roles", "ingest,suspensions,reports")
	// Role missing.
	said = n.named("role scheduler")
	require.Contains(t, said, "meterd worker --roles scheduler")
	rest := n.worker(true, "--roles", "scheduler")
	n.named()
	rest.Stop(t)
	some.Stop(t)

	// Hooks failing: no secret, then a receiver that is broken.
	all = n.worker(false)
	n.named("webhook secrets")
	all.Stop(t)
	all = n.worker(true)
	n.named()
	n.answer.Store(http.StatusInternalServerError)
	n.run("suspend", "meterd suspend acme-support --note x")
	require.True(t, testengine.Until(30*time.Second, func() bool { return n.told.Load() > 1 }), "it is tried again")
	n.says("meterd accounts show acme-support", `hook .*failed`)
	said = n.named("hooks")
	require.Regexp(t, `of acme: webhook 127\.0\.0\.1:[0-9]+: answered 500 \(try [0-9]+\): tell the receiver's owner`, said)
	n.answer.Store(http.StatusOK)
	n.says("meterd accounts show acme-support", `hook .*delivered`)
	n.named()

	// An account suspended by mistake.
	n.says("meterd accounts show acme-support", `because +manual.* by operator: x`)
	n.run("resume", "meterd resume acme-support --note mistake")
	n.says("meterd gate acme-support --channel sms", `may send`)

	// Quarantine growing.
	n.send("nobody", "q1")
	n.says("meterd quarantine list --by reason", `unknown_account +1`)
	n.run("mend and replay", "meterd accounts apply -f later.yaml\nmeterd quarantine replay --reason unknown_account")
	n.says("meterd usage --parent nobody --json", `"records":1`)

	// Drift found.
	require.NoError(t, n.engines.Redis(t).HIncrBy(t.Context(), "{p00}:a:acme", "bal", 5).Err())
	said = n.run("reconcile", "meterd reconcile && false || [ $? = 3 ]")
	require.Contains(t, said, "bal")
	n.named("findings")
	n.run("look, and say so", `id=$(meterd findings list --json | ids | head -1)
meterd findings show $id
meterd findings ack $id --note "somebody wrote to it"
meterd reconcile`)
	n.named()

	// Forced charges: rows that somebody removes, of messages that come again.
	n.write("forced.jsonl", n.message("acme-support", "f1"))
	n.run("send", "meterd enqueue forced.jsonl --wait")
	require.NoError(t, n.engines.ClickHouse(t).Exec(t.Context(), "DELETE FROM records WHERE id = 'f1'"))
	n.says("meterd enqueue forced.jsonl --wait --json", `"stored":1`)
	n.says("curl -s "+n.health+"/metrics", `(?m)^meterd_forced_charges_total.* 1$`)
	n.run("reconcile", "meterd reconcile || [ $? = 3 ]")
	n.named("findings")
	n.run("say so", `for id in $(meterd findings list --json | ids); do meterd findings ack $id --note "rows were removed"; done`)
	n.says("meterd reconcile", "0 fields had drifted")
	n.named()
	all.Stop(t)

	// Data folder in use.
	up := proc.Launch(t, binary, nil, "up", "--data", filepath.Join(n.dir, "folder"))
	up.WaitReady(t)
	require.Contains(t, n.run("a second one", "meterd up --data folder 2>&1 && false || true"), fmt.Sprintf("is in use by process %d", up.PID()))
	up.Stop(t)
}

// elsewhere is who causes the runbook's other entries: a test's name in a package's
// files.
func elsewhere() map[string][2]string {
	return map[string][2]string{
		"Redis doesn't start": {"internal/embedded", "TestTheTailIsCutWhereRedisWouldCutIt"},
		"Nothing scraped":     {"deploy/prometheus", "TestRules"},
		"Figures old":         {"deploy/prometheus", "TestRules"},
		"Answers open":        {"worker", "TestALostAnswerHoldsNobodyUp"},
		"Report failed":       {"worker/reporting", "TestADeadDestinationHoldsBackNoOther"},
		"Redis restarted":     {"bench/faults", "TestRedisRestarted"},
		"Redis emptied":       {"bench/faults", "TestRedisEmptied"},
		"Redis cut short":     {"bench/faults", "TestRedisCutByASecond"},
		"Redis out of memory": {"bench/faults", "TestRedisOutOfMemory"},
		"Redis away":          {"bench/faults", "TestRedisAway"},
		"ClickHouse away":     {"bench/faults", "TestClickHouseAway"},
		"ClickHouse slow":     {"bench/faults", "TestClickHouseSlow"},
		"Charging slow":       {"bench/faults", "TestClickHouseSlow"},
		"Disk full":           {"bench/faults", "TestClickHouseDiskFull"},
		"Worker not ready":    {"bench/faults", "TestLogsOfOutages"},
		"Worker paused":       {"bench/faults", "TestPaused"},
		"Worker killed":       {"bench/faults", "TestKilledAtEachPoint"},
		"A handler panics":    {"bench/faults", "TestPanics"},
		"Old tasks":           {"doctor", "TestNamesWhatWaits"},
		"Queue growing":       {"doctor", "TestNamesQueuesThatNobodyServes"},
	}
}

// here are the entries that TestNight causes.
func here() []string {
	return []string{"Role missing", "Worker down", "Quarantine growing", "Hooks failing", "Drift found", "Forced charges", "An account suspended by mistake", "Data folder in use"}
}

// TestEachRunbookEntryIsCaused: by TestNight or by a test that is there.
func TestEachRunbookEntryIsCaused(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operators.md")
	require.NoError(t, err)
	_, runbook, ok := strings.Cut(string(text), "\n## Runbook\n")
	require.True(t, ok)
	runbook, _, _ = strings.Cut(runbook, "\n## ")
	caused := map[string]bool{}
	for _, name := range here() {
		caused[name] = true
	}
	for name, by := range elsewhere() {
		caused[name] = true
		files, err := filepath.Glob(filepath.Join("../..", by[0], "*_test.go"))
		require.NoError(t, err)
		found := false
		for _, path := range files {
			src, err := os.ReadFile(path)
			require.NoError(t, err)
			found = found || strings.Contains(string(src), "func "+by[1]+"(")
		}
		require.True(t, found, "%s isn't in %s", by[1], by[0])
	}
	for _, m := range regexp.MustCompile(`(?m)^### (.+)$`).FindAllStringSubmatch(runbook, -1) {
		if !caused[m[1]] {
			t.Errorf("nothing causes %q", m[1])
		}
		delete(caused, m[1])
	}
	require.Empty(t, caused, "not in the runbook any more")
}
