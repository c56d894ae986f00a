package figures

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

func rest() []measurement {
	return []measurement{
		{
			name: "start", run: onSpread(startAndIdle), figures: []Figure{
				{Name: "start", Unit: "s", Goal: 1.5, AtMost: true},
				{Name: "idle memory", Unit: "MB", Goal: 350, AtMost: true},
				{Name: "idle cpu", Unit: "% of a core", Goal: 2, AtMost: true},
			},
		},
		{
			name: "many accounts", run: manyAccounts, once: true, figures: []Figure{
				{Name: "snapshot", Unit: "s", Goal: 2, AtMost: true},
				{Name: "snapshot memory", Unit: "bytes/account", Goal: 200, AtMost: true},
				{Name: "ingest lost to many accounts", Unit: "%", Goal: 10, AtMost: true},
			},
		},
		{
			name: "month statement", run: statement, once: true, figures: []Figure{
				{Name: "statement", Unit: "s", Goal: 2, AtMost: true},
			},
		},
		{
			name: "rollups", run: onSpread(upkeep, "--reconcile-every", "10h"), once: true, figures: []Figure{
				{Name: "rollup upkeep", Unit: "% of ingest's CPU", Goal: 5, AtMost: true},
			},
		},
		{
			name: "workers", run: workers, once: true, figures: []Figure{
				{Name: "one worker process", Unit: "records/s", Compared: true},
				{Name: "two worker processes", Unit: "records/s", Compared: true},
				{Name: "four worker processes", Unit: "records/s", Compared: true},
			},
		},
		{
			name: "soak", run: onSpread(soak), once: true, asked: true, figures: []Figure{
				{Name: "soak records", Unit: "records", Compared: true},
				{Name: "soak rate", Unit: "records/s", Compared: true},
				{Name: "soak latency growth", Unit: "%", Goal: 10, AtMost: true},
				{Name: "soak cpu growth", Unit: "%", Goal: 10, AtMost: true},
				{Name: "soak memory growth", Unit: "%", Goal: 10, AtMost: true},
				{Name: "soak waiting tasks", Unit: "tasks", Goal: 100, AtMost: true},
			},
		},
	}
}

func startAndIdle(ctx context.Context, b *bench, s *system) (map[string]float64, error) {
	n := b.n(200_000, 20_000)
	l := newLoad(41, subs(parents, each))
	if _, err := s.send(ctx, n, func(int) []byte { return l.next() }); err != nil {
		return nil, err
	}
	if err := s.stop(); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	// What has come is merged, and for a minute after work it is asked every 2 s what that left.
	if err := pause(ctx, time.Duration(b.n(90, 2))*time.Second); err != nil {
		return nil, err
	}
	before, _, err := s.use(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := pause(ctx, time.Duration(b.n(30, 3))*time.Second); err != nil {
		return nil, err
	}
	after, resident, err := s.use(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]float64{
		"start": s.ready.Seconds(), "idle memory": float64(resident) / 1e6,
		"idle cpu": 100 * (after - before).Seconds() / time.Since(began).Seconds(),
	}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// manyAccounts: 10,000 parents with ten sub-accounts each.
func manyAccounts(ctx context.Context, b *bench) (_ map[string]float64, err error) {
	many, few := b.n(10_000, 300), 10
	s, err := b.up(ctx, accountsFile(many, few))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	seconds, perAccount, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	n := b.n(400_000, 40_000)
	if err := s.warm(ctx, newLoad(50, subs(parents, few))); err != nil {
		return nil, err
	}
	var rates [2]float64
	for i, accounts := range [][]string{subs(parents, few), subs(many, few)} {
		lines := newLoad(uint64(51+i), accounts).lines(n)
		took, err := s.send(ctx, n, func(i int) []byte { return lines[i] })
		if err != nil {
			return nil, err
		}
		rates[i] = float64(n) / took.Seconds()
	}
	return map[string]float64{
		"snapshot": seconds, "snapshot memory": perAccount, "ingest lost to many accounts": 100 * (1 - rates[1]/rates[0]),
	}, nil
}

// snapshot reads all accounts, as a worker does when it starts: seconds, and
// bytes an account beyond its strings.
func (s *system) snapshot(ctx context.Context) (seconds, perAccount float64, err error) {
	l, err := ledger.Open(ledger.Options{URL: s.info.ClickHouse, Password: s.info.ClickHousePassword, Database: s.info.Database})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := l.Ping(ctx); err != nil {
		return 0, 0, err
	}
	snapshots := admin.NewSnapshots(l, balance.New(s.redis, 1), clock.System())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	if _, err := snapshots.Refresh(ctx); err != nil {
		return 0, 0, err
	}
	seconds = time.Since(began).Seconds()
	runtime.GC()
	runtime.ReadMemStats(&after)
	snap := snapshots.Current()
	strings := 0
	for id := range snap.Accounts {
		strings += len(id)
	}
	perAccount = (float64(after.HeapAlloc) - float64(before.HeapAlloc) - float64(strings)) / float64(len(snap.Accounts))
	runtime.KeepAlive(snap)
	return seconds, perAccount, nil
}

// statement of a parent whose month has 100 million rows, most of them rolled.
func statement(ctx context.Context, b *bench) (_ map[string]float64, err error) {
	rows, accounts := b.n(100_000_000, 1_000_000), b.n(1000, 50)
	s, err := b.up(ctx, accountsFile(1, accounts), "--reconcile-every", "10h")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	conn, err := s.direct(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	month := time.Now().UTC().AddDate(0, 0, -time.Now().UTC().Day()) // of the month before
	period := month.Format("2006-01")
	first := time.Date(month.Year(), month.Month(), 2, 0, 0, 0, 0, time.UTC)
	const hours = 24 * 26
	start := first.Format("2006-01-02 15:04:05")
	at := fmt.Sprintf("toDateTime64('%s', 3, 'UTC') + toIntervalSecond(intDiv(number, %d) * 3600 * %d / (%d / %[2]d))", start, accounts, hours, rows)
	if err := s.putRows(ctx, conn, rows, "0", accounts, at); err != nil {
		return nil, err
	}
	due := strings.NewReplacer("{db}", s.info.Database, "{first}", start, "{hours}", fmt.Sprint(hours), "{accounts}", fmt.Sprint(accounts)).Replace(hoursOfAMonth)
	if err := conn.Exec(ctx, due); err != nil {
		return nil, fmt.Errorf("mark a month's hours: %w", err)
	}
	for rolled := uint64(0); rolled < uint64(accounts*hours); {
		if err := conn.QueryRow(ctx, "SELECT count() FROM "+s.info.Database+".usage_hourly FINAL").Scan(&rolled); err != nil {
			return nil, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	if _, err := s.cli(ctx, "report", "run", "--parent", parentName(0), "--period", period, "--format", "json", "--out", s.dir); err != nil {
		return nil, err
	}
	return map[string]float64{"statement": time.Since(began).Seconds()}, nil
}

const hoursOfAMonth = `INSERT INTO {db}.dirty_hours (account_id, hour, marked_at)
SELECT 'parent-00000-sub-' || leftPad(toString(number % {accounts}), 4, '0'), toDateTime('{first}', 'UTC') + intDiv(number, {accounts}) * 3600, now64(3)
FROM numbers({accounts} * {hours})`

// markedNow marks the hours of all rows as if their inserts' bound had passed.
const markedNow = `INSERT INTO {db}.dirty_hours (account_id, hour, marked_at)
SELECT DISTINCT account_id, toStartOfHour(occurred_at), now64(3) FROM {db}.records`

// mergesMax is how long after an insert its rows are merged at most. Hours are
// rolled later than that.
const mergesMax = 20 * time.Second

// upkeep is what rolling the hours of some records takes, against what it took
// to charge and store them.
func upkeep(ctx context.Context, b *bench, s *system) (map[string]float64, error) {
	conn, err := s.direct(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	l := newLoad(81, subs(parents, each))
	l.until = time.Now().UTC().Truncate(time.Hour) // hours that are over
	lines := l.lines(b.n(1_000_000, 60_000))
	cpu := func() (used time.Duration) {
		if err == nil {
			used, _, err = s.use(ctx)
		}
		return used
	}
	began := cpu()
	if _, err := s.send(ctx, len(lines), func(i int) []byte { return lines[i] }); err != nil {
		return nil, err
	}
	ingest := cpu() - began
	for _, q := range []string{"TRUNCATE TABLE {db}.dirty_hours", markedNow} {
		if err := conn.Exec(ctx, strings.ReplaceAll(q, "{db}", s.info.Database)); err != nil {
			return nil, fmt.Errorf("mark hours: %w", err)
		}
	}
	if err := pause(ctx, mergesMax); err != nil {
		return nil, err
	}
	const quiet = 5 * time.Second
	before := cpu()
	if err := pause(ctx, quiet); err != nil {
		return nil, err
	}
	from := time.Now()
	after := cpu()
	for rolled := uint64(0); rolled < uint64(len(lines)); {
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
		if err := conn.QueryRow(ctx, "SELECT sum(arraySum(lines.records)) FROM "+s.info.Database+".usage_hourly FINAL").Scan(&rolled); err != nil {
			return nil, err
		}
	}
	roll := cpu() - after - time.Duration(float64(after-before)*float64(time.Since(from))/float64(quiet)) // the rest is as before
	return map[string]float64{"rollup upkeep": 100 * max(roll, 0).Seconds() / ingest.Seconds()}, err
}

// workers: the same load by one, two and four worker processes on one Redis
// and one ClickHouse.
func workers(ctx context.Context, b *bench) (map[string]float64, error) {
	out := map[string]float64{}
	for _, w := range []struct {
		name string
		n    int
	}{{"one worker process", 1}, {"two worker processes", 2}, {"four worker processes", 4}} {
		rate, err := b.byWorkers(ctx, w.n)
		if err != nil {
			return nil, err
		}
		out[w.name] = rate
	}
	return out, nil
}

// byWorkers is the rate of n worker processes. The engines run beside them, in
// this process and in a child of it.
func (b *bench) byWorkers(ctx context.Context, n int) (_ float64, err error) {
	s, err := b.up(ctx, "")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.down()) }()
	if err := s.stop(); err != nil {
		return 0, err
	}
	engines, err := embedded.Start(ctx, filepath.Join(s.dir, "data"), embedded.SystemOptions{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, engines.Stop(context.WithoutCancel(ctx))) }()
	s.info = engines.Info()
	s.connect()
	s.env = append(s.env, "METERD_REDIS=redis://:"+s.info.RedisPassword+"@"+s.info.Redis,
		"METERD_CLICKHOUSE="+strings.Replace(s.info.ClickHouse, "://", "://default:"+s.info.ClickHousePassword+"@", 1))
	for range n {
		w, err := s.launch(ctx, "worker")
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, w.stop()) }()
	}
	if err := s.apply(ctx, accountsFile(parents, each)); err != nil {
		return 0, err
	}
	l := newLoad(61, subs(parents, each))
	if err := s.warm(ctx, l); err != nil {
		return 0, err
	}
	lines := l.lines(b.n(400_000, 40_000))
	took, err := s.send(ctx, len(lines), func(i int) []byte { return lines[i] })
	return float64(len(lines)) / took.Seconds(), err
}

// soak sends 50 million records, a third of them copies or late, at two fifths of the rate
// that the system takes them at: it bears that with time left, whatever the machine.
func soak(ctx context.Context, b *bench, s *system) (map[string]float64, error) {
	l := newLoad(71, subs(parents, each))
	l.copies, l.late = 1./6, 1./6
	n, probe := b.n(50_000_000, 200_000), b.n(500_000, 20_000)
	took, err := s.send(ctx, probe, func(int) []byte { return l.next() })
	if err != nil {
		return nil, err
	}
	rate := int(0.4 * float64(probe) / took.Seconds())
	_, _ = fmt.Fprintf(b.Log, "  %d records at %d a second\n", n, rate)
	began := time.Now()
	sending, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.steady(sending, l, rate) }()
	var samples []soakSample
	single := newLoad(72, subs(parents, each)) // records that are sent alone and waited for
	for time.Since(began).Seconds()*float64(rate) < float64(n) && err == nil {
		if err = pause(ctx, time.Second); err != nil {
			break
		}
		var x soakSample
		x.use, x.resident, err = s.use(ctx)
		depth, e2 := s.redis.LLen(ctx, wire.PendingKey(wire.IngestQueue(0))).Result()
		x.waiting, err = depth, errors.Join(err, e2)
		if err == nil {
			x.latency, err = s.send(ctx, 1, func(int) []byte { return single.next() })
		}
		samples = append(samples, x)
		if len(samples)%60 == 0 {
			_, _ = fmt.Fprintf(b.Log, "  %d million sent, %d MB, %d tasks wait\n", int(time.Since(began).Seconds()*float64(rate))/million, x.resident/million, x.waiting)
		}
	}
	cancel()
	if err := errors.Join(err, <-ended); err != nil {
		return nil, err
	}
	third := max(len(samples)/3, 1)
	second, last := samples[third:2*third], samples[len(samples)-third:]
	of := func(list []soakSample, f func(x *soakSample) int64) float64 {
		sum := 0.0
		for i := range list {
			sum += float64(f(&list[i]))
		}
		return sum / float64(len(list))
	}
	resident, latency := func(x *soakSample) int64 { return x.resident }, func(x *soakSample) int64 { return int64(x.latency) }
	cpu := func(list []soakSample) float64 {
		return (list[len(list)-1].use - list[0].use).Seconds() / float64(len(list))
	}
	return map[string]float64{
		"soak records": float64(n), "soak rate": float64(rate),
		"soak waiting tasks":  of(last, func(x *soakSample) int64 { return x.waiting }),
		"soak memory growth":  100 * (of(last, resident)/of(second, resident) - 1),
		"soak cpu growth":     100 * (cpu(last)/cpu(second) - 1),
		"soak latency growth": 100 * (of(last, latency)/of(second, latency) - 1),
	}, nil
}

// soakSample is a second of it.
type soakSample struct {
	use      time.Duration // of CPU so far
	resident int64         // bytes
	waiting  int64         // tasks of an ingest queue
	latency  time.Duration // of a record that was sent alone, until it was stored
}
