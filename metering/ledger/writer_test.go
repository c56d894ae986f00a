package ledger

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
)

// running starts a writer; it is stopped when the test ends.
func running(tb testing.TB, l *Ledger, o WriterOptions) *Writer {
	tb.Helper()
	w := NewWriter(l, o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		require.NoError(tb, <-ended)
	})
	return w
}

func (l *Ledger) count(tb testing.TB, table string) int {
	tb.Helper()
	var n uint64
	require.NoError(tb, l.conn.QueryRow(tb.Context(), l.text("SELECT count() FROM {db}."+table)).Scan(&n))
	return int(n)
}

func TestWriterStoresBeforeItReturns(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := running(t, l, WriterOptions{Gap: 20 * time.Millisecond, RowsMax: 150})
	const writers, times, rows = 20, 5, 10
	var wg sync.WaitGroup
	errs := make(chan error, writers*times)
	for i := range writers {
		wg.Go(func() {
			for j := range times {
				b := &Batch{Quarantine: []Entry{{ID: fmt.Sprint(i, j), QuarantinedAt: noon, State: QuarantineOpen}}}
				var ids []metering.Identity
				for k := range rows {
					r := sent(fmt.Sprintf("%d-%d-%d", i, j, k), noon)
					b.Rows = append(b.Rows, r)
					ids = append(ids, r.Record.Identity())
				}
				if err := w.Write(context.Background(), b); err != nil {
					errs <- err
					return
				}
				found, err := l.Lookup(context.Background(), ids)
				if err == nil && len(found) != rows {
					err = fmt.Errorf("%d of %d rows stand after Write", len(found), rows)
				}
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, writers*times*rows, l.count(t, "records"))
	require.Equal(t, writers*times, l.count(t, "quarantine"))
	require.Equal(t, 1, l.count(t, "dirty_hours FINAL"))
	var parts uint64
	require.NoError(t, l.conn.QueryRow(t.Context(), "SELECT count() FROM system.parts WHERE table = 'records' AND level = 0 AND database = '"+l.database+"'").Scan(&parts))
	require.LessOrEqual(t, parts, uint64(writers*times/2), "inserts are joined")
}

func TestWriterReturnsWhenItsCallerGivesUp(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := NewWriter(l, WriterOptions{}) // not running
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, w.Write(ctx, &Batch{Rows: []Row{sent("m", noon)}}), context.DeadlineExceeded)
	require.NoError(t, w.Write(ctx, &Batch{}), "nothing to store")
}

func TestWriterStoresWhatIsLeftWhenItStops(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := NewWriter(l, WriterOptions{Gap: time.Hour, Linger: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	written := make(chan error, 3)
	for i := range 3 {
		go func() {
			written <- w.Write(context.Background(), &Batch{Rows: []Row{sent(fmt.Sprint("m", i), noon)}})
		}()
	}
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.rows == 3
	}, 5*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	for range 3 {
		require.NoError(t, <-written)
	}
	require.Equal(t, 3, l.count(t, "records"))
}

// TestWriterJoinsNoMoreThanItsBound, of what isn't rows either.
func TestWriterJoinsNoMoreThanItsBound(t *testing.T) {
	t.Parallel()
	w := NewWriter(nil, WriterOptions{RowsMax: 100}) // not running
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	raw := bytes.Repeat([]byte("x"), 50<<10)
	for _, b := range []*Batch{
		{Rows: make([]Row, 60)}, {Quarantine: make([]Entry, 40)}, {Quarantine: []Entry{{Raw: raw}}}, {Waiting: []Waiting{{Raw: raw}}}, {Rows: make([]Row, 1)},
	} {
		require.ErrorIs(t, w.Write(ctx, b), context.Canceled)
	}
	var groups []int
	for group := w.take(); len(group) > 0; group = w.take() {
		groups = append(groups, len(group))
	}
	require.Equal(t, []int{2, 1, 2}, groups)
	require.Zero(t, w.rows)
}

// TestWriterSendsNothingLate: rows whose charge is too old by the time that an
// insert is sent aren't in it; those of others are.
func TestWriterSendsNothingLate(t *testing.T) {
	t.Parallel()
	l := open(t)
	now := clock.NewFake(noon)
	w := NewWriter(l, WriterOptions{Clock: now})
	old := &Batch{Charged: now.Now(), Rows: []Row{sent("old", noon)}}
	just := &Batch{Charged: now.Advance(time.Second), Rows: []Row{sent("just", noon)}}
	whenever := &Batch{Rows: []Row{sent("whenever", noon)}}
	var writes sync.WaitGroup
	written := make([]error, 3)
	for i, b := range []*Batch{old, just, whenever} {
		writes.Go(func() { written[i] = w.Write(context.Background(), b) })
	}
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.rows == 3
	}, 5*time.Second, time.Millisecond)
	now.Advance(metering.SendMax)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	writes.Wait()
	require.ErrorIs(t, written[0], ErrLate)
	require.NoError(t, written[1])
	require.NoError(t, written[2])
	require.Equal(t, 2, l.count(t, "records"))
	require.ErrorIs(t, w.Write(t.Context(), old), ErrLate, "it stays so")
	old.Charged = now.Now()
	require.NoError(t, w.Write(t.Context(), old))
	cancel()
	require.NoError(t, <-ended)
	require.Equal(t, 3, l.count(t, "records"))
}

func TestWriterSetsRefusedRowsApart(t *testing.T) {
	t.Parallel()
	l := open(t)
	require.NoError(t, l.conn.Exec(t.Context(), l.text("ALTER TABLE {db}.records ADD CONSTRAINT poison CHECK error_code != 'poison'")))
	w := running(t, l, WriterOptions{Gap: time.Millisecond})
	batches := make([]*Batch, 4)
	var wg sync.WaitGroup
	errs := make([]error, len(batches))
	for i := range batches {
		batches[i] = &Batch{}
		for j := range 25 {
			r := sent(fmt.Sprintf("%d-%d", i, j), noon)
			if (i == 1 && (j == 3 || j == 24)) || i == 2 {
				r.Record.ErrorCode = "poison"
			}
			batches[i].Rows = append(batches[i].Rows, r)
		}
		wg.Go(func() { errs[i] = w.Write(context.Background(), batches[i]) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Empty(t, batches[0].Refused)
	require.Equal(t, []int{3, 24}, batches[1].Refused)
	require.Len(t, batches[2].Refused, 25)
	require.Empty(t, batches[3].Refused)
	require.Equal(t, 25+23+25, l.count(t, "records"))
	// Writing again changes nothing.
	require.NoError(t, w.Write(t.Context(), batches[1]))
	require.Equal(t, []int{3, 24}, batches[1].Refused)
	require.Equal(t, 25+23+25, l.count(t, "records FINAL"))
}

func TestWriterSaysWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	l := open(t)
	require.NoError(t, l.conn.Exec(t.Context(), l.text("RENAME TABLE {db}.records TO {db}.elsewhere")))
	w := running(t, l, WriterOptions{})
	require.Error(t, w.Write(t.Context(), &Batch{Rows: []Row{sent("m", noon)}}))
	require.NoError(t, l.conn.Exec(t.Context(), l.text("RENAME TABLE {db}.elsewhere TO {db}.records")))
	require.NoError(t, w.Write(t.Context(), &Batch{Rows: []Row{sent("m", noon)}}))
	require.Equal(t, 1, l.count(t, "records"))
}

func TestRowsKeepWhatTheySay(t *testing.T) {
	t.Parallel()
	l := open(t)
	r := sent(`odd 'id' \`, noon.Add(123*time.Millisecond))
	r.Record.Tags = []metering.Tag{{Key: "a", Value: "1"}, {Key: "b'", Value: "\x00\\"}}
	r.Charge.Amount, r.Charge.Units = metering.MicrosMax, metering.QuantityMax
	put(t, l, noon, r)
	var tags map[string]string
	var at time.Time
	var id string
	require.NoError(t, l.conn.QueryRow(t.Context(), l.text("SELECT id, occurred_at, tags FROM {db}.records")).Scan(&id, &at, &tags))
	require.Equal(t, r.Record.ID, id)
	require.Equal(t, r.Record.OccurredAt, at.UTC())
	require.Equal(t, map[string]string{"a": "1", "b'": "\x00\\"}, tags)
	require.Equal(t, []string{": 999999999999.999999 1 999999999999.999999 0 0.01 0 EUR"}, shorts(usage(t, l, UsageQuery{Parent: "acme"})))
	put(t, l, noon, sent("m2", noon))
	require.Equal(t, []string{": 1000000000000.999999 2 1000000000000.049999 0 0.02 0 EUR"}, shorts(usage(t, l, UsageQuery{Parent: "acme"})), "a sum may be larger than an amount")
}

// asking notes how long each insert of records may take in ClickHouse.
type asking struct{ seconds chan string }

// RoundTrip implements http.RoundTripper.
func (a asking) RoundTrip(req *http.Request) (*http.Response, error) {
	if q := req.URL.Query(); strings.Contains(q.Get("query"), ".records ") {
		a.seconds <- q.Get("max_execution_time")
	}
	return http.DefaultTransport.RoundTrip(req) //nolint:wrapcheck // a transport's
}

// TestClickHouseEndsAnInsert that its sender has given up, or died over, before
// metering.LandMax: what waits for the rows of an older projection relies on it.
func TestClickHouseEndsAnInsert(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	a := asking{make(chan string, 10)}
	l, err := Open(Options{URL: e.ClickHouseAddress(), Password: e.ClickHousePassword, Database: e.Database, Transport: a})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	_, err = l.Migrate(t.Context())
	require.NoError(t, err)
	require.NoError(t, running(t, l, WriterOptions{}).Write(t.Context(), &Batch{Rows: []Row{sent("m", noon)}}))
	seconds, err := strconv.Atoi(<-a.seconds)
	require.NoError(t, err)
	require.Positive(t, seconds)
	require.LessOrEqual(t, metering.SendMax+time.Duration(seconds)*time.Second, metering.LandMax)
}
