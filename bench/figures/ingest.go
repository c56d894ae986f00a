package figures

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// parents and sub-accounts of the spread-out load.
const (
	parents = 20
	each    = 50
)

func ingest() []measurement {
	return []measurement{
		{
			name: "ingest", run: onSpread(ingestClient), figures: []Figure{
				{Name: "client", Unit: "records/s", Goal: 250_000},
				{Name: "asynq", Unit: "records/s", Compared: true},
				{Name: "client / asynq", Unit: "×", Goal: 100},
				{Name: "cpu", Unit: "µs/record", Goal: 8, AtMost: true},
				{Name: "wire", Unit: "bytes/record", Goal: 40, AtMost: true},
				{Name: "disk", Unit: "bytes/record", Goal: 30, AtMost: true},
			},
		},
		{
			name: "ingest from a file", run: onSpread(ingestFile), figures: []Figure{
				{Name: "file", Unit: "records/s", Goal: 180_000},
				{Name: "file / asynq", Unit: "×", Goal: 80},
			},
		},
		{
			name: "cold records", run: onSpread(backfill), figures: []Figure{
				{Name: "backfill", Unit: "records/s", Goal: 60_000},
				{Name: "backfill / asynq", Unit: "×", Goal: 40},
			},
		},
		{
			name: "real traffic", once: true, run: onSpread(realTraffic, "--reconcile-every", "10h"), figures: []Figure{
				{Name: ofMix("few", million), Unit: "%", Goal: 80},
				{Name: ofMix("many", million), Unit: "%", Goal: 50},
				{Name: ofMix("few", 10*million), Unit: "%", Goal: 80},
				{Name: ofMix("many", 10*million), Unit: "%", Goal: 50},
			},
		},
		{
			name: "one account", run: onSpread(oneAccount), figures: []Figure{
				{Name: "one parent / spread out", Unit: "%", Goal: 90},
				{Name: "one sub-account / spread out", Unit: "%", Goal: 90},
			},
		},
	}
}

// onSpread measures on a system with the accounts of the spread-out load,
// started with the flags.
func onSpread(f func(ctx context.Context, b *bench, s *system) (map[string]float64, error), flags ...string) func(context.Context, *bench) (map[string]float64, error) {
	return func(ctx context.Context, b *bench) (_ map[string]float64, err error) {
		s, err := b.up(ctx, accountsFile(parents, each), flags...)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.down()) }()
		return f(ctx, b, s)
	}
}

// warm fills caches and pools, so that a short run measures the same as a long one.
func (s *system) warm(ctx context.Context, l *load) error {
	_, err := s.send(ctx, 20_000, func(int) []byte { return l.next() })
	return err
}

func ingestClient(ctx context.Context, b *bench, s *system) (map[string]float64, error) {
	l := newLoad(1, subs(parents, each))
	if err := s.warm(ctx, l); err != nil {
		return nil, err
	}
	n := b.n(2_000_000, 60_000)
	lines := l.lines(n)
	before, _, err := s.use(ctx)
	if err != nil {
		return nil, err
	}
	producer, sent := own(), s.written.Load()
	took, err := s.send(ctx, n, func(i int) []byte { return lines[i] })
	if err != nil {
		return nil, err
	}
	producer, sent = own()-producer, s.written.Load()-sent
	after, _, err := s.use(ctx)
	if err != nil {
		return nil, err
	}
	rate := float64(n) / took.Seconds()
	b.half = int(rate / 2)
	plain, err := s.plainAsynq(ctx, b)
	if err != nil {
		return nil, err
	}
	disk, err := s.rowBytes(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]float64{
		"client": rate, "asynq": plain, "client / asynq": rate / plain,
		"cpu":  float64((after - before + producer).Microseconds()) / float64(n),
		"wire": float64(sent) / float64(n), "disk": disk,
	}, nil
}

// rowBytes is what a row takes on disk once all parts are merged.
func (s *system) rowBytes(ctx context.Context) (_ float64, err error) {
	conn, err := s.direct(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.Exec(ctx, "OPTIMIZE TABLE "+s.info.Database+".records FINAL"); err != nil {
		return 0, err
	}
	var size, rows uint64
	if err := conn.QueryRow(ctx, "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts WHERE database = {db:String} AND table = 'records' AND active",
		clickhouse.Named("db", s.info.Database)).Scan(&size, &rows); err != nil {
		return 0, err
	}
	return float64(size) / float64(rows), nil
}

func ingestFile(ctx context.Context, b *bench, s *system) (map[string]float64, error) {
	l := newLoad(2, subs(parents, each))
	if err := s.warm(ctx, l); err != nil {
		return nil, err
	}
	n := b.n(2_000_000, 60_000)
	rate, err := s.sendFile(ctx, l, n)
	if err != nil {
		return nil, err
	}
	plain, err := s.plainAsynq(ctx, b)
	if err != nil {
		return nil, err
	}
	return map[string]float64{"file": rate, "file / asynq": rate / plain}, nil
}

// backfill sends records of the last weeks, of which none is in the ledger, to
// one that holds as many of the same time.
func backfill(ctx context.Context, b *bench, s *system) (map[string]float64, error) {
	n := b.n(500_000, 30_000)
	l := newLoad(3, subs(parents, each))
	l.until, l.span = time.Now().UTC().Add(-48*time.Hour), 28*24*time.Hour
	var rate float64
	for range 2 { // the first fills the ledger
		var err error
		if rate, err = s.sendFile(ctx, l, n); err != nil {
			return nil, err
		}
	}
	plain, err := s.plainAsynq(ctx, b)
	if err != nil {
		return nil, err
	}
	return map[string]float64{"backfill": rate, "backfill / asynq": rate / plain}, nil
}

const million = 1_000_000

// ofMix names the figure of a mix over so many rows.
func ofMix(mix string, rows int) string {
	return fmt.Sprintf("%s copies and late / clean, over %d million rows", mix, rows/million)
}

// realTraffic is a file with copies and late records, as retries and outages make
// them, beside one without: 2 % of each, then 15 % copies and 18 % late, into ledgers
// of one and of ten million rows.
func realTraffic(ctx context.Context, b *bench, s *system) (map[string]float64, error) {
	l := newLoad(8, subs(parents, each))
	send := func(n int, copies, late float64) (float64, error) {
		l.copies, l.late = copies, late
		return s.sendFile(ctx, l, n)
	}
	if err := s.warm(ctx, l); err != nil {
		return nil, err
	}
	n := b.n(2_000_000, 30_000)
	out := map[string]float64{}
	for _, rows := range []int{million, 10 * million} {
		if err := s.fill(ctx, b.n(rows, rows/100)); err != nil {
			return nil, err
		}
		clean, err := send(n, 0, 0)
		if err != nil {
			return nil, err
		}
		for _, mix := range []struct {
			name         string
			copies, late float64
		}{{"few", 0.02, 0.02}, {"many", 0.15, 0.18}} {
			rate, err := send(n, mix.copies, mix.late)
			if err != nil {
				return nil, err
			}
			out[ofMix(mix.name, rows)] = 100 * rate / clean
		}
	}
	return out, nil
}

// fill stores messages of the two months before the dedup window, of the spread-out
// load's accounts, until there are so many rows, and waits until they are merged.
func (s *system) fill(ctx context.Context, rows int) (err error) {
	conn, err := s.direct(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var stored uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM "+s.info.Database+".records").Scan(&stored); err != nil {
		return err
	}
	at := "now64(3, 'UTC') - toIntervalSecond(200000 + rand() % (60 * 86400))"
	parent := fmt.Sprintf("intDiv(number %% %d, %d)", parents*each, each)
	if err := s.putRows(ctx, conn, max(rows-int(stored), 0), parent, each, at); err != nil {
		return err
	}
	return waitMerged(ctx, conn)
}

// rowsAStatement bounds one: whoever waits for it hears nothing until it is done.
const rowsAStatement = 5_000_000

// putRows stores so many messages beside the pipeline, of parents' sub-accounts in
// turn: expressions of number for the parent's number and for occurred_at.
func (s *system) putRows(ctx context.Context, conn clickhouse.Conn, rows int, parent string, subs int, at string) error {
	for from := 0; from < rows; from += rowsAStatement {
		q := strings.NewReplacer("{db}", s.info.Database, "{from}", strconv.Itoa(from), "{rows}", strconv.Itoa(min(rows-from, rowsAStatement)),
			"{parent}", parent, "{subs}", strconv.Itoa(subs), "{at}", at).Replace(insertRows)
		if err := conn.Exec(ctx, q); err != nil {
			return fmt.Errorf("store rows from %d on: %w", from, err)
		}
	}
	return nil
}

// What is noted isn't looked at for automatic refunds: of rows that came so late those
// would take a core, for as long as the measurement.
const insertRows = `INSERT INTO {db}.records (account_id, kind, id, occurred_at, parent_id, channel, direction, status, recipient,
 country, units, unit, billed_units, amount, currency, plan, plan_version, rule, purse, content_hash, period, booked, epoch, seq, stored_at, noted)
SELECT concat(parent, '-sub-', leftPad(toString(number % {subs}), 4, '0')), 'usage', substring(lower(hex(randomString(11))), 1, 22), {at} AS at,
 concat('parent-', leftPad(toString({parent}), 5, '0')) AS parent, 'sms', 'outbound', 'delivered', concat('+39347', toString(rand(1) % 10000000)),
 ['IT', 'DE', 'FR'][1 + number % 3], 1, 'segment', 1, 0.0412, 'EUR', 'standard', 1, 2, 'credit',
 rand64(2), formatDateTime(at, '%Y-%m') AS month, month, 1, 1, now64(3), 1
FROM numbers({from}, {rows}) SETTINGS max_insert_block_size = 1000000, max_partitions_per_insert_block = 0`

// waitMerged waits until no merge runs for a while.
func waitMerged(ctx context.Context, conn clickhouse.Conn) error {
	for quiet := 0; quiet < 3; {
		var merges uint64
		if err := conn.QueryRow(ctx, "SELECT count() FROM system.merges").Scan(&merges); err != nil {
			return err
		}
		if quiet++; merges > 0 {
			quiet = 0
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

func oneAccount(ctx context.Context, b *bench, s *system) (map[string]float64, error) {
	n := b.n(500_000, 40_000)
	rates := map[string]float64{}
	if err := s.warm(ctx, newLoad(4, subs(parents, each))); err != nil {
		return nil, err
	}
	for i, of := range []struct {
		name     string
		accounts []string
	}{
		{"spread", subs(parents, each)}, {"parent", subs(1, each)}, {"sub", subs(1, 1)},
	} {
		lines := newLoad(uint64(5+i), of.accounts).lines(n)
		took, err := s.send(ctx, n, func(i int) []byte { return lines[i] })
		if err != nil {
			return nil, err
		}
		rates[of.name] = float64(n) / took.Seconds()
	}
	return map[string]float64{
		"one parent / spread out":      100 * rates["parent"] / rates["spread"],
		"one sub-account / spread out": 100 * rates["sub"] / rates["spread"],
	}, nil
}
