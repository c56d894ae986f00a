package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/sql"
)

// billOf adds a month's lines up.
func billOf(tb testing.TB, l *Ledger, parent, period string) *metering.Bill {
	tb.Helper()
	b := metering.NewBill(period)
	require.NoError(tb, l.BillLines(tb.Context(), parent, period, b.Add))
	return b
}

// TestAnAuditorGetsTheSameDigest: with ClickHouse's own output and SHA-256,
// whatever an id holds.
func TestAnAuditorGetsTheSameDigest(t *testing.T) {
	t.Parallel()
	e := testengine.StartClickHouse(t)
	l, err := Open(Options{URL: e.ClickHouseAddress(), Password: e.ClickHousePassword, Database: e.Database})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	_, err = l.Migrate(t.Context())
	require.NoError(t, err)
	var list []Row
	for i, id := range append(oddTexts, "plain", "z") {
		if id == "" {
			continue
		}
		r := sent(id, noon.Add(time.Duration(i)*time.Second))
		r.Seq, r.Charge.Amount = int64(i+1), metering.Micros(i)*1_000_003
		list = append(list, r)
	}
	large := sent("large", noon)
	large.Charge.Amount = 999_999_999_999_999_999
	late := sent("late", noon.AddDate(0, -1, 0))
	late.Booked = "2026-11"
	other := sent("other", noon.AddDate(0, 1, 0))
	list = append(list, large, late, other, refund("plain", 7, noon), status("s", "plain", "failed", noon))
	apply(t, l, "acme", "acme-marketing")
	put(t, l, noon, list...)
	bill := billOf(t, l, "acme", "2026-11")
	want := map[metering.Identity]bool{}
	for i := range list {
		if r := &list[i]; r.Booked == "2026-11" && r.Record.Kind != metering.KindStatus {
			want[r.Record.Identity()] = true
		}
	}
	require.EqualValues(t, len(want), bill.Lines, "neither statuses nor other months' lines")

	q := url.Values{
		"database": {e.Database}, "user": {e.ClickHouseUser}, "password": {e.ClickHousePassword},
		"param_parent": {"acme"}, "param_booked": {"2026-11"},
	}
	text := strings.ReplaceAll(sql.Query("bill_lines"), "{db}", e.Database) + " FORMAT TabSeparated"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.ClickHouseURL+"/?"+q.Encode(), strings.NewReader(text))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(body))
	sum := sha256.Sum256(body)
	require.Equal(t, hex.EncodeToString(sum[:]), bill.Digest(), string(body))
}

// TestAClosedMonthStands: the first closing row stays, whatever comes after it.
func TestAClosedMonthStands(t *testing.T) {
	t.Parallel()
	l := open(t)
	first := &Closing{
		ParentID: "acme", Period: "2026-10", State: ClosingDone, Start: noon.AddDate(0, -1, 0), End: noon, Records: 3, Amount: sum(5), Refunds: sum(2), Adjustments: sum(-1),
		Lines: 4, Digest: "d1", AsOf: noon, Catalog: 7, Epoch: 2, Seq: 9, Balances: map[string]metering.Micros{"acme": -4, "it's": 1},
		Frozen: Frozen{
			Quarantined: map[string]map[metering.Reason]uint64{"acme": {metering.ReasonNoPrice: 2}},
			Rejected:    map[string]uint64{"acme": 1},
			Waiting:     map[string]uint64{"acme": 1}, Flags: map[string]FrozenFlags{"acme": {Own: metering.FlagWallet}},
		},
	}
	require.NoError(t, l.BeginClosing(t.Context(), first))
	bases, err := l.Bases(t.Context(), []string{"acme"})
	require.NoError(t, err)
	require.Equal(t, &Base{Balances: map[string]metering.Micros{}, Closed: "2026-10"}, bases["acme"],
		"a month whose closing has begun takes no more records, but nothing sums from it yet")

	require.NoError(t, l.FinishClosing(t.Context(), first))
	second := *first
	second.Digest, second.Records = "d2", 99
	require.NoError(t, l.FinishClosing(t.Context(), &second))
	require.NoError(t, l.BeginClosing(t.Context(), first))
	list, err := l.Closings(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []Closing{*first}, list)
	base, err := l.Base(t.Context(), "acme", "2026-11")
	require.NoError(t, err)
	require.Equal(t, &Base{Through: "2026-10", Balances: first.Balances, Closed: "2026-10"}, base)
	bases, err = l.Bases(t.Context(), []string{"other", "acme"})
	require.NoError(t, err)
	require.Equal(t, base, bases["acme"])
	base, err = l.Base(t.Context(), "acme", "2026-10")
	require.NoError(t, err)
	require.Empty(t, base.Through)
}

// TestSumsFromAClosedMonth: its end and the rows since are what all rows are.
func TestSumsFromAClosedMonth(t *testing.T) {
	t.Parallel()
	l := open(t)
	october := sent("october", noon.AddDate(0, -1, 0))
	november := sent("november", noon)
	november.Seq = 2
	apply(t, l, "acme", "acme-marketing")
	put(t, l, noon, october, november)
	whole := sumsOfOne(t, l, "acme", &Base{}, 1, 9)
	balances, err := l.OpeningBalances(t.Context(), "acme", "2026-11")
	require.NoError(t, err)
	require.Equal(t, map[string]metering.Micros{"acme-marketing": -50_000}, balances)
	require.NoError(t, l.FinishClosing(t.Context(), &Closing{ParentID: "acme", Period: "2026-10", AsOf: noon, Start: noon, End: noon, Balances: balances}))
	bases, err := l.Bases(t.Context(), []string{"acme"})
	require.NoError(t, err)
	since := sumsOfOne(t, l, "acme", bases["acme"], 1, 9)
	require.Equal(t, whole.Balance, since.Balance)
	require.Equal(t, map[string]map[string]metering.Micros{"acme-marketing": {"2026-11": 50_000}, "acme": {"2026-11": 50_000}}, since.Used)
	after, err := l.OpeningBalances(t.Context(), "acme", "2026-12")
	require.NoError(t, err)
	require.Equal(t, whole.Balance["acme-marketing"], after["acme-marketing"])
}
