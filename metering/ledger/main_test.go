package ledger

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
)

func TestMain(m *testing.M) { testengine.Main(m) }

// open gives a test a ledger of its own, with the schema that migrations make.
func open(tb testing.TB) *Ledger {
	tb.Helper()
	e := testengine.StartClickHouse(tb)
	e.Copy(tb, func(e *testengine.Engines) error {
		l, err := openAt(e)
		if err != nil {
			return err
		}
		_, err = l.Migrate(context.Background())
		return errors.Join(err, l.Close())
	})
	return openIn(tb, e)
}

// openEmpty gives it one that nothing has migrated.
func openEmpty(tb testing.TB) *Ledger {
	tb.Helper()
	return openIn(tb, testengine.StartClickHouse(tb))
}

func openIn(tb testing.TB, e *testengine.Engines) *Ledger {
	tb.Helper()
	l, err := openAt(e)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

func openAt(e *testengine.Engines) (*Ledger, error) {
	return Open(Options{URL: e.ClickHouseAddress(), Password: e.ClickHousePassword, Database: e.Database})
}

// apply makes accounts known: a parent and its sub-accounts.
func apply(tb testing.TB, l *Ledger, parent string, subs ...string) {
	tb.Helper()
	number, err := l.CatalogNumber(tb.Context())
	require.NoError(tb, err)
	list := []*metering.Account{{ID: parent, Zones: []metering.ZoneFrom{{Zone: "UTC"}}}}
	for _, id := range subs {
		list = append(list, &metering.Account{ID: id, ParentID: parent})
	}
	require.NoError(tb, l.SaveCatalog(tb.Context(), number+1, list, nil, noon))
}

// sumsOfOne are those of one parent.
func sumsOfOne(tb testing.TB, l *Ledger, parent string, base *Base, epoch, seq int64) *Sums {
	tb.Helper()
	sums, err := l.Sums(tb.Context(), epoch, []SumsOf{{Parent: parent, Base: base, Seq: seq}})
	require.NoError(tb, err)
	return sums[parent]
}

// noon is when nothing particular happens.
var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// sent is a message of acme-marketing, rated at 0.05 for a segment.
func sent(id string, at time.Time) Row {
	return Row{
		Record: &metering.Record{
			ID: id, Kind: metering.KindUsage, AccountID: "acme-marketing", Channel: "sms", Direction: metering.Outbound,
			Status: "sent", To: "+393331234567", From: "ACME", Country: "IT", Network: "22210", Category: "marketing",
			Units: metering.Units(1), Unit: "segment", OccurredAt: at,
		},
		ParentID: "acme",
		Charge: metering.Charge{
			Units: 1_000_000, Unit: "segment", Billed: 1_000_000, Amount: 50_000, Fee: 10_000,
			Plan: "standard-eur", Version: 1, Rule: 1,
		},
		Purse: metering.PurseBudget, Currency: "EUR", Hash: 7, Period: at.Format("2006-01"), Booked: at.Format("2006-01"),
		Epoch: 1, Seq: 1, Hour: at.Truncate(time.Hour), Refundable: true,
	}
}

// status of a message.
func status(id, message, value string, at time.Time) Row {
	r := sent(id, at)
	*r.Record = metering.Record{ID: id, Kind: metering.KindStatus, AccountID: "acme-marketing", Status: value, RefersTo: message, OccurredAt: at}
	r.Charge = metering.Charge{}
	r.Currency, r.Purse = "", ""
	return r
}

// sum of one amount, in micro-units.
func sum(m metering.Micros) metering.Sum { return m.Sum() }

// refund of a message, with what the worker copies from it.
func refund(message string, amount metering.Micros, at time.Time) Row {
	r := sent("refund-of-"+message, at)
	r.Record.Kind, r.Record.RefersTo, r.Record.Status = metering.KindRefund, message, ""
	r.Charge = metering.Charge{Amount: amount}
	return r
}

// put stores rows as the writer does.
func put(tb testing.TB, l *Ledger, now time.Time, rows ...Row) {
	tb.Helper()
	list := make([]*Row, len(rows))
	for i := range rows {
		list[i] = &rows[i]
	}
	require.NoError(tb, l.noteStatuses(tb.Context(), list, now))
	refused, err := l.insertRows(tb.Context(), list, now)
	require.NoError(tb, err)
	require.Empty(tb, refused)
	require.NoError(tb, l.markHours(tb.Context(), list, now))
}

// usage is what a query gives.
func usage(tb testing.TB, l *Ledger, q UsageQuery) []UsageLine {
	tb.Helper()
	var out []UsageLine
	require.NoError(tb, l.Usage(tb.Context(), q, func(u *UsageLine) error {
		out = append(out, *u)
		return nil
	}))
	return out
}

// by parses dimensions.
func by(tb testing.TB, s string) []Dimension {
	tb.Helper()
	list, err := ParseDimensions(s)
	require.NoError(tb, err)
	return list
}

// short is a line in one string, to compare by.
func short(u *UsageLine) string {
	return strings.Join(u.Keys, "|") + ": " + strings.Join([]string{
		u.Units.String(), u.BilledUnits.String(), u.Amount.String(), u.Refunds.String(), u.Fees.String(), u.Adjustments.String(), u.Currency,
	}, " ")
}

func shorts(list []UsageLine) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = short(&list[i])
	}
	return out
}
