package doctor_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/reconcile"
	"github.com/meterd/meterd/worker"
)

// broken is a state of a system that the doctor must name.
type broken struct {
	name string
	make func(t *testing.T, p *patient)
	mend func(t *testing.T, p *patient)
	want map[string]string // check → a part of what it says
}

// config sets one of Redis's settings.
func config(t *testing.T, p *patient, name, value string) {
	t.Helper()
	require.NoError(t, p.rdb.ConfigSet(t.Context(), name, value).Err())
}

func wrongSetting(name, wrong, right, says string) broken {
	return broken{
		name: name + " " + wrong,
		make: func(t *testing.T, p *patient) { t.Helper(); config(t, p, name, wrong) },
		mend: func(t *testing.T, p *patient) { t.Helper(); config(t, p, name, right) },
		want: map[string]string{"redis settings": name + " is " + wrong + ": set " + right + ", or " + says},
	}
}

// seenAs has the doctor see ClickHouse otherwise than it is.
func seenAs(name string, f func(d *door), want map[string]string) broken {
	return broken{
		name: name,
		make: func(t *testing.T, p *patient) { t.Helper(); p.door.set(f) },
		mend: func(t *testing.T, p *patient) { t.Helper(); p.door.set(nil) },
		want: want,
	}
}

// answeredAs has the doctor see an answer of Redis otherwise than it is.
func answeredAs(name string, f func(cmd redis.Cmder), want map[string]string) broken {
	return broken{
		name: name,
		make: func(t *testing.T, p *patient) { t.Helper(); p.hook.set(f) },
		mend: func(t *testing.T, p *patient) { t.Helper(); p.hook.set(nil) },
		want: want,
	}
}

// infoAs changes a line of INFO.
func infoAs(old, other string) func(cmd redis.Cmder) {
	return func(cmd redis.Cmder) {
		if s, ok := cmd.(*redis.StringCmd); ok && cmd.Name() == "info" {
			s.SetVal(strings.ReplaceAll(s.Val(), old, other))
		}
	}
}

func redisPID(t *testing.T, p *patient) int {
	t.Helper()
	text, err := p.rdb.Info(t.Context(), "server").Result()
	require.NoError(t, err)
	_, rest, _ := strings.Cut(text, "process_id:")
	pid, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\r\n", 2)[0]))
	require.NoError(t, err)
	return pid
}

// ofEngines are broken states that a system with a worker mends as soon as the
// engine is right again.
func ofEngines() []broken {
	pid := 0
	return []broken{
		wrongSetting("appendonly", "no", "yes", "a restart loses the queue"),
		wrongSetting("appendfsync", "everysec", "always", "a power cut loses"),
		wrongSetting("aof-load-truncated", "yes", "no", "half a charge may count twice"),
		wrongSetting("maxmemory-policy", "allkeys-lru", "noeviction", "Redis drops money"),
		wrongSetting("set-max-intset-entries", "512", "4096", "dedup takes several times the memory"),
		{
			name: "memory full",
			make: func(t *testing.T, p *patient) { t.Helper(); config(t, p, "maxmemory", "100kb") },
			mend: func(t *testing.T, p *patient) { t.Helper(); config(t, p, "maxmemory", "0") },
			want: map[string]string{"redis write": "OOM command not allowed", "redis memory": "raise it or free memory"},
		},
		{
			name: "redis hangs",
			make: func(t *testing.T, p *patient) {
				t.Helper()
				pid = redisPID(t, p)
				require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
			},
			mend: func(t *testing.T, p *patient) { t.Helper(); require.NoError(t, syscall.Kill(pid, syscall.SIGCONT)) },
			want: map[string]string{"redis": "no answer in time: see that it runs, that --redis names it"},
		},
		{
			name: "a replica",
			make: func(t *testing.T, p *patient) {
				t.Helper()
				require.NoError(t, p.rdb.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
			},
			mend: func(t *testing.T, p *patient) {
				t.Helper()
				require.NoError(t, p.rdb.ReplicaOf(t.Context(), "no", "one").Err())
			},
			want: map[string]string{"redis write": "this is a replica: name the primary in --redis"},
		},
		{
			name: "breaker open",
			make: func(t *testing.T, p *patient) {
				t.Helper()
				require.NoError(t, p.rdb.HSet(t.Context(), "{p00}:meta", "brk", time.Now().UnixMilli()).Err())
			},
			mend: func(t *testing.T, p *patient) {
				t.Helper()
				require.NoError(t, p.rdb.HDel(t.Context(), "{p00}:meta", "brk").Err())
			},
			want: map[string]string{"breaker 0": "meterd breaker show"},
		},
		{
			name: "a task given up",
			make: func(t *testing.T, p *patient) {
				t.Helper()
				require.NoError(t, p.rdb.ZAdd(t.Context(), "asynq:{reports}:archived", redis.Z{Member: "x"}).Err())
			},
			mend: func(t *testing.T, p *patient) {
				t.Helper()
				require.NoError(t, p.rdb.Del(t.Context(), "asynq:{reports}:archived").Err())
			},
			want: map[string]string{"queues": "1 tasks of queue reports were given up"},
		},
		answeredAs("an old redis", infoAs("redis_version:", "redis_version:6.2.1\r\nwas:"), map[string]string{"redis settings": "its version is 6.2.1: take 7.0 or later"}),
		answeredAs("a file that can't be written", infoAs("aof_last_write_status:ok", "aof_last_write_status:err"), map[string]string{"redis files": "aof_last_write_status is err: look at its disk"}),
		answeredAs("memory nearly full", infoAs("maxmemory:0", "maxmemory:1"), map[string]string{"redis memory": "raise it or free memory"}),
		answeredAs("redis's clock", func(cmd redis.Cmder) {
			if c, ok := cmd.(*redis.TimeCmd); ok {
				c.SetVal(c.Val().Add(5 * time.Second))
			}
		}, map[string]string{"clocks": "ahead of this machine: keep all machines' time by NTP"}),
		seenAs("clickhouse hangs", func(d *door) { d.hang = true }, map[string]string{"clickhouse": "no answer in time"}),
		seenAs("clickhouse away", func(d *door) { d.err = errors.New("dial tcp 10.0.0.1:8123: connect: connection refused") }, map[string]string{"clickhouse": "connection refused: see that it runs, that --clickhouse names it"}),
		seenAs("clickhouse's disk full", func(d *door) {
			d.ask = func(query string) string {
				if strings.Contains(query, "INSERT INTO") {
					return "SELECT throwIf(1, 'no space')"
				}
				return query
			}
		}, map[string]string{"clickhouse write": "no space"}),
		seenAs("clickhouse's disk nearly full", instead("FROM system.disks", "FROM (SELECT '/d' AS path, toUInt64(1000) AS free_space, toUInt64(100000000000) AS total_space)"),
			map[string]string{"clickhouse disk": "/d has 1000.0 B free of 93.1 GiB: free some"}),
		seenAs("clickhouse's machine short of memory", instead("FROM system.asynchronous_metrics",
			"FROM (SELECT arrayJoin([('OSMemoryAvailable', 1), ('OSMemoryTotal', 100)]) AS x, x.1 AS metric, x.2 AS value)"),
			map[string]string{"clickhouse memory": "its machine has 1.0 B available of 100.0 B"}),
		seenAs("a mutation fails", instead("FROM system.mutations", "FROM (SELECT {database:String} AS database, 'records' AS table, 'mutation_3.txt' AS mutation_id, 0 AS is_done, 'no space' AS latest_fail_reason)"),
			map[string]string{"clickhouse mutations": "mutation_3.txt of records: no space"}),
		seenAs("clickhouse's clock", instead("SELECT now64(3, 'UTC')", "SELECT now64(3, 'UTC') - 5"), map[string]string{"clocks": "behind this machine: keep"}),
		seenAs("an older schema", instead(".migrations ORDER BY", ".migrations WHERE name != '0019_id_hash' ORDER BY"), map[string]string{"schema": "0019_id_hash isn't applied yet: run `meterd migrate`"}),
	}
}

// TestNamesWhatIsBroken: each state by itself, in a system that is all right before
// and after.
func TestNamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.apply(t, accounts)
	p.work(t)
	require.Empty(t, p.failed(t))
	require.NoError(t, p.Ready(t.Context()))
	for _, b := range ofEngines() {
		b.make(t, p)
		failed := p.failed(t)
		b.mend(t, p)
		for check, says := range b.want {
			assert.Contains(t, failed[check], says, "%s: %v", b.name, failed)
		}
		assert.Len(t, failed, len(b.want), "%s: %v", b.name, failed)
		var left map[string]string
		require.True(t, testengine.Until(30*time.Second, func() bool { left = p.failed(t); return len(left) == 0 }), "after %s: %v", b.name, left)
	}

	// What a worker can't do without is what /readyz asks.
	config(t, p, "maxmemory", "100kb")
	p.door.set(func(d *door) { d.hang = true })
	err := p.Ready(t.Context())
	require.ErrorContains(t, err, "redis write: OOM")
	require.ErrorContains(t, err, "clickhouse: no answer in time")
}

// TestNamesWhoIsMissing: a system without workers isn't all right.
func TestNamesWhoIsMissing(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	failed := p.failed(t)
	require.Contains(t, failed["projection 0"], "no projection")
	for _, role := range worker.Roles() {
		require.Contains(t, failed["role "+role], "no worker has it: start `meterd up`, or `meterd worker --roles "+role+"`")
	}
	require.Len(t, failed, 5)

	p.apply(t, accounts)
	p.work(t, worker.RoleIngest, worker.RoleSuspensions)
	stop := p.work(t, worker.RoleScheduler, worker.RoleReports)
	require.Empty(t, p.failed(t))
	require.NoError(t, p.rdb.Del(t.Context(), "{p00}:a:acme").Err())
	require.Contains(t, p.failed(t)["accounts"], "redis has lost 1 of ")
	require.Contains(t, p.failed(t)["accounts"], ", acme: `meterd reconcile` brings them back")
	res, err := reconcile.NewReconciler(p.deps.Projector, p.deps.Log).Run(t.Context(), p.deps.Snapshots.Current())
	require.NoError(t, err)
	require.Equal(t, 1, res.Healed)
	require.Contains(t, p.failed(t)["findings"], "1 projection_drift")
	open, err := p.deps.Ledger.Findings(t.Context(), ledger.FindingsQuery{Limit: 9})
	require.NoError(t, err)
	require.NoError(t, p.deps.Ledger.AckFindings(t.Context(), []string{open[0].ID}, "operator", "a test's", time.Now()))
	require.Empty(t, p.failed(t))

	stop() // who stops says so
	failed = p.failed(t)
	require.Len(t, failed, 2)
	require.Contains(t, failed["role "+worker.RoleScheduler], "no worker has it")
	require.NotContains(t, failed["role "+worker.RoleScheduler], "heard of")

	// Who dies is silent.
	long := time.Now().Add(-time.Minute).UnixMilli()
	require.NoError(t, p.rdb.HSet(t.Context(), "meterd:workers", "dead", fmt.Sprintf(`%d {"roles":["scheduler"],"host":"h","pid":7}`, long)).Err())
	require.Regexp(t, `\(h, process 7 was last heard of [0-9]+m[0-9]+s ago\)$`, p.failed(t)["role "+worker.RoleScheduler])

	// Of another number of partitions.
	two := p.System
	two.Store = balance.New(p.rdb, 2)
	var said []string
	for _, c := range two.All(t.Context()) {
		said = append(said, c.Detail)
	}
	require.Contains(t, strings.Join(said, "\n"), "redis holds a projection of 1 partitions, not of 2")
}

// TestNamesWhatWaits: tasks that nobody takes, reports that nobody makes, secrets
// that nobody has.
func TestNamesWhatWaits(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.apply(t, strings.Replace(accounts, "mode: prepaid}}", "mode: prepaid}, hooks: [{url: \"https://hooks.example/x\", secret_env: DOCTOR_HOOK}]}", 1))
	p.work(t, worker.RoleIngest, worker.RoleSuspensions, worker.RoleReports) // who would look for what is left over isn't there
	require.NoError(t, p.rdb.HSet(t.Context(), "meterd:workers", "lives", fmt.Sprintf(`%d {"roles":["scheduler"]}`, time.Now().Add(time.Hour).UnixMilli())).Err())
	require.Equal(t, map[string]string{"webhook secrets": "hook of acme: secret: environment variable DOCTOR_HOOK is empty or missing: set it for the worker"}, p.failed(t))

	ten := time.Now().Add(-10 * time.Minute).UTC()
	own := p.ledger(t, nil)
	require.NoError(t, own.InsertReportRuns(t.Context(), []ledger.ReportRun{{Run: "r1", ParentID: "acme", Name: "monthly", Period: "2026-10", DueAt: ten, NextAt: ten, State: ledger.RunPending, Version: 1}}))
	require.Contains(t, p.failed(t)["scheduled reports"], "1 runs should have begun 10m0s ago: see `meterd report list`")

	require.NoError(t, own.InsertFindings(t.Context(), []ledger.Finding{{At: ten, Kind: ledger.FindingDrift, AccountID: "acme", Field: "bal"}, {At: ten, Kind: ledger.FindingDelivered}}))
	require.Equal(t, "1 projection_drift: see `meterd findings list` and show, then ack", p.failed(t)["findings"])

	client := asynq.NewClientFromRedisClient(p.rdb)
	require.NoError(t, p.rdb.Set(t.Context(), "asynq:{ingest-1}:paused", 1, 0).Err()) // served, but not taken
	_, err := client.EnqueueContext(t.Context(), asynq.NewTask("x", nil), wire.TaskOptions("one", "ingest-1")...)
	require.NoError(t, err)
	require.NotContains(t, p.failed(t), "queues")
	require.NoError(t, p.rdb.HSet(t.Context(), "asynq:{ingest-1}:t:one", "pending_since", ten.UnixNano()).Err())
	require.Contains(t, p.failed(t)["queues"], "the oldest of 1 tasks of queue ingest-1 has waited for 10m")
}

// TestNamesQueuesThatNobodyServes: what lies in them would wait unseen.
func TestNamesQueuesThatNobodyServes(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	client := asynq.NewClientFromRedisClient(p.rdb)
	for _, q := range []string{"ingest-2", "ingest-255"} {
		_, err := client.EnqueueContext(t.Context(), asynq.NewTask("x", nil), wire.TaskOptions("one", q)...)
		require.NoError(t, err)
	}
	require.Contains(t, p.failed(t)["queues"], "tasks lie in ingest-2, ingest-255, which no worker serves")

	srv := asynq.NewServerFromRedisClient(p.rdb, asynq.Config{Queues: map[string]int{"ingest-255": 1}, LogLevel: asynq.FatalLevel})
	require.NoError(t, srv.Start(asynq.NewServeMux())) // which knows no such task: it is tried again later
	t.Cleanup(srv.Shutdown)
	var failed map[string]string
	assert.True(t, testengine.Until(10*time.Second, func() bool {
		failed = p.failed(t)
		return strings.Contains(failed["queues"], "tasks lie in ingest-2, which")
	}), "%v", failed)
}

// TestProbesLeaveNothing: neither a look nor one that was killed.
func TestProbesLeaveNothing(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	conn := p.engines.ClickHouse(t)
	tables := func() (n uint64) {
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT count() FROM system.tables WHERE database = '"+p.engines.Database+"' AND name LIKE 'probe%'").Scan(&n))
		return n
	}
	before, err := p.rdb.DBSize(t.Context()).Result()
	require.NoError(t, err)
	require.NoError(t, p.Ready(t.Context()))
	require.Zero(t, tables())
	after, err := p.rdb.DBSize(t.Context()).Result()
	require.NoError(t, err)
	require.Equal(t, before, after)

	require.NoError(t, conn.Exec(t.Context(), "CREATE TABLE "+p.engines.Database+".probe_x (a UInt8) ENGINE = MergeTree ORDER BY a"))
	p.All(t.Context())
	require.Equal(t, uint64(1), tables(), "of who may be at it just now")
	p.door.set(instead("{before:Int64}", "4102444800"))
	p.All(t.Context())
	require.Zero(t, tables())
}
