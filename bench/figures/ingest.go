package figures

import (
	"context"
	"errors"
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
				{Name: "client / asynq", Unit: "×", Goal: 50},
				{Name: "cpu", Unit: "µs/record", Goal: 8, AtMost: true},
				{Name: "wire", Unit: "bytes/record", Goal: 40, AtMost: true},
				{Name: "disk", Unit: "bytes/record", Goal: 30, AtMost: true},
			},
		},
		{
			name: "ingest from a file", run: onSpread(ingestFile), figures: []Figure{
				{Name: "file", Unit: "records/s", Goal: 180_000},
				{Name: "file / asynq", Unit: "×", Goal: 40},
			},
		},
		{name: "cold records", run: onSpread(backfill), figures: []Figure{{Name: "backfill", Unit: "records/s", Goal: 60_000}}},
		{
			name: "real traffic", once: true, run: onSpread(realTraffic), figures: []Figure{
				{Name: "few copies and late / clean", Unit: "%", Goal: 80},
				{Name: "many copies and late / clean", Unit: "%", Goal: 50},
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
	return map[string]float64{"backfill": rate}, nil
}

// realTraffic is a file with copies and late records, as retries and outages make
// them, beside one without, into a ledger that holds millions of rows: 2 % of each,
// then 15 % copies and 18 % late.
func realTraffic(ctx context.Context, b *bench, s *system) (map[string]float64, error) {
	l := newLoad(8, subs(parents, each))
	send := func(n int, copies, late float64) (float64, error) {
		l.copies, l.late = copies, late
		return s.sendFile(ctx, l, n)
	}
	if _, err := send(b.n(3_000_000, 60_000), 0, 0.3); err != nil {
		return nil, err
	}
	n := b.n(500_000, 30_000)
	clean, err := send(n, 0, 0)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, mix := range []struct {
		name         string
		copies, late float64
	}{{"few", 0.02, 0.02}, {"many", 0.15, 0.18}} {
		rate, err := send(n, mix.copies, mix.late)
		if err != nil {
			return nil, err
		}
		out[mix.name+" copies and late / clean"] = 100 * rate / clean
	}
	return out, nil
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
