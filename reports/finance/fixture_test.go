package finance

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/clock"
	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/schematest"
)

func TestMain(m *testing.M) { testengine.Main(m) }

// now is when these tests export; November is their month.
var now = time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)

// books are a ledger of a test's own.
type books struct {
	tb     testing.TB
	ledger *ledger.Ledger
	clock  *clock.Fake
	snap   *metering.Snapshot
	rand   *rand.Rand
	rows   []ledger.Row // not stored yet
	all    []ledger.Row
	seq    int64
	conn   func() driver.Conn
}

func openBooks(tb testing.TB) *books {
	tb.Helper()
	e := testengine.StartClickHouse(tb)
	l, err := ledger.Open(ledger.Options{
		URL:      e.ClickHouseAddress(),
		Password: e.ClickHousePassword, Database: e.Database,
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	schematest.Make(tb, e)
	b := &books{tb: tb, ledger: l, clock: clock.NewFake(now), rand: rand.New(rand.NewPCG(7, 11)), conn: func() driver.Conn { return e.ClickHouse(tb) }}
	b.apply(1, accounts(), plans())
	return b
}

func (b *books) apply(number int64, list []*metering.Account, plans []*metering.Plan) {
	b.tb.Helper()
	require.NoError(b.tb, b.ledger.SaveCatalog(b.tb.Context(), number, list, plans, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
	var err error
	b.snap, err = b.ledger.Snapshot(b.tb.Context())
	require.NoError(b.tb, err)
	require.Empty(b.tb, b.snap.Faults)
}

// accounts: acme pays ahead, in a zone whose November has a day of its own
// beginning; globex on credit, with a sub-account in no hurry to be rounded.
func accounts() []*metering.Account {
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	account := func(id, parent, name, zone, currency, plan string, mode metering.Mode, source metering.Source) *metering.Account {
		return &metering.Account{
			ID: id, ParentID: parent, Name: name, Module: metering.Enterprise, Currency: currency, Mode: mode, Source: source,
			Zones: []metering.ZoneFrom{{Zone: zone}}, Plans: []metering.PlanFrom{{Plan: plan}}, CreatedAt: created,
		}
	}
	return []*metering.Account{
		account("acme", "", "=Acme, \"Retail\"", "Europe/Rome", "EUR", "eur", metering.Prepaid, metering.SourceWallet),
		account("acme-own", "acme", "Acme Own", "Europe/Rome", "EUR", "eur", metering.Prepaid, metering.SourceAllocated),
		account("acme-shared", "acme", "", "Europe/Rome", "EUR", "eur", metering.Prepaid, metering.SourceShared),
		account("globex", "", "Globex", "America/New_York", "JPY", "jpy", metering.Postpaid, metering.SourceCredit),
		account("globex-shop", "globex", "Globex Shop", "America/New_York", "JPY", "jpy", metering.Postpaid, metering.SourceCredit),
	}
}

func plans() []*metering.Plan {
	rules := []metering.Rule{
		{Channel: "sms", Unit: "segment", Price: 7_500_000},
		{Channel: "sms", Country: "IT", Unit: "segment", Price: 4_123_457},
		{Channel: "sms", Network: "22210", Unit: "segment", Price: 3_980_001, Fee: 3_000},
		{Channel: "voice", Unit: "second", Price: 41_667, Increment: [2]int64{30, 6}, Minimum: 20_000},
		{Channel: "voice", Country: "FR", Unit: "minute", Price: 1_400_003},
		{Channel: "mms", Unit: "message", Price: 0, Fee: 10_000},
		{Channel: "whatsapp", Category: "marketing", Unit: "message", Price: 6_910_000},
		{Channel: "whatsapp", Unit: "message", Price: 0},
	}
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	plan := func(id, currency string) *metering.Plan {
		return &metering.Plan{ID: id, Currency: currency, Versions: []metering.PlanVersion{
			{EffectiveFrom: from, Rules: rules}, {EffectiveFrom: time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC), Rules: append([]metering.Rule{}, rules...)},
		}}
	}
	return []*metering.Plan{plan("eur", "EUR"), plan("jpy", "JPY")}
}

// message of an account at an instant, rated as the worker does, and booked in
// a month.
func (b *books) message(account string, at time.Time, booked string) *ledger.Row {
	b.tb.Helper()
	a := b.snap.Accounts[account]
	b.seq++
	rec := &metering.Record{
		ID: "m" + strconv.FormatInt(b.seq, 10), Kind: metering.KindUsage, AccountID: account, Direction: metering.Outbound, OccurredAt: at,
		Channel: b.one("sms", "sms", "sms", "voice", "mms", "whatsapp"), Country: b.one("IT", "FR", "DE", ""),
		Category: b.one("", "", "marketing"), Network: b.one("", "", "22210"),
		Tags: []metering.Tag{{Key: "campaign", Value: b.one("", "spring", "=2+2")}},
	}
	rec.Units = metering.Units(int64(b.rand.IntN(4)))
	if rec.Channel == "voice" {
		rec.Unit, rec.Units = "second", metering.Units(int64(b.rand.IntN(200)))
	}
	if b.rand.IntN(8) == 0 { // came with its amount
		rec.Amount, rec.Currency, rec.Units = metering.Some(metering.Micros(b.rand.IntN(90_001))), a.Currency, metering.Optional[metering.Quantity]{}
	}
	c, refused := metering.Rate(b.snap, a, rec, b.clock.Now())
	require.Nil(b.tb, refused)
	purse, _ := a.Purse()
	return b.add(&ledger.Row{Record: rec, Charge: c, Purse: purse, Booked: booked})
}

// add a row, with what follows from its record and account.
func (b *books) add(r *ledger.Row) *ledger.Row {
	a := b.snap.Accounts[r.Record.AccountID]
	b.seq++
	r.ParentID, r.Currency, r.Hash, r.Epoch, r.Seq = a.Parent(), a.Currency, uint64(b.seq), 1, b.seq
	r.Period, r.Hour = a.Calendar.Of(r.Record.OccurredAt).Name, r.Record.OccurredAt.Truncate(time.Hour)
	if r.Booked == "" {
		r.Booked = r.Period
	}
	b.rows = append(b.rows, *r)
	return &b.rows[len(b.rows)-1]
}

// refund gives back all that a message was charged but its fee, or a part.
func (b *books) refund(of ledger.Row, at time.Time, amount metering.Micros, booked string) {
	rec := *of.Record
	rec.Kind, rec.RefersTo, rec.ID, rec.OccurredAt, rec.Tags = metering.KindRefund, rec.ID, "r"+rec.ID, at, nil
	b.add(&ledger.Row{
		Record: &rec, Purse: of.Purse, Booked: booked,
		Charge: metering.Charge{Amount: amount, Plan: of.Charge.Plan, Version: of.Charge.Version, Rule: of.Charge.Rule},
	})
}

// correct books an adjustment of a message, as a re-rating does.
func (b *books) correct(of ledger.Row, amount metering.Micros, booked string) {
	rec := *of.Record
	rec.Kind, rec.RefersTo, rec.ID, rec.Tags = metering.KindAdjustment, rec.ID, "corr-"+of.ParentID+" "+rec.ID, nil
	b.add(&ledger.Row{Record: &rec, Purse: of.Purse, Booked: booked, Charge: metering.Charge{Amount: amount, Plan: of.Charge.Plan, Version: 1, Rule: 1}})
}

func (b *books) one(list ...string) string { return list[b.rand.IntN(len(list))] }

// november of every account: messages, refunds whole and in part, corrections,
// and what came late of October.
func (b *books) november(messages int) {
	for _, account := range []string{"acme", "acme-own", "acme-shared", "globex", "globex-shop"} {
		for n := range messages {
			at := time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC).Add(time.Duration(b.rand.IntN(26*24*3600)) * time.Second)
			booked := ""
			if n%4 == 3 {
				at, booked = at.AddDate(0, -1, 0), "2026-11"
			}
			m := *b.message(account, at, booked)
			switch given := m.Charge.Amount - m.Charge.Fee; b.rand.IntN(12) {
			case 0:
				b.refund(m, at.Add(time.Minute), given, booked)
			case 1:
				b.refund(m, at.Add(time.Minute), given/2, booked)
			case 2:
				b.correct(m, metering.Micros(b.rand.IntN(4001)-2000), booked)
			}
		}
	}
	b.store(now)
	for _, parent := range []string{"acme", "globex"} {
		require.NoError(b.tb, b.ledger.InsertRerate(b.tb.Context(), &ledger.Rerate{
			Ref: "corr-" + parent, ParentID: parent, Period: "2026-11", Plan: "eur", Reason: "agreed in October", Actor: "operator", At: now,
		}))
	}
}

func (b *books) money() {
	at := time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
	for i, t := range []metering.Transfer{
		{Ref: "inv-1", Kind: metering.TransferTopup, ParentID: "acme", AccountID: "acme", Amount: 250_000_000, Currency: "EUR", Actor: "operator", At: at},
		{Ref: "inv-2", Kind: metering.TransferTopup, ParentID: "acme", AccountID: "acme", Amount: 10_500_000, Currency: "EUR", Actor: "operator", At: at.AddDate(0, 0, 9)},
		{Ref: "fix-1", Kind: metering.TransferAdjust, ParentID: "acme", AccountID: "acme", Amount: -500_000, Currency: "EUR", Reason: "typed wrong", Actor: "operator", At: at, Invoiced: true},
		{Ref: "gift-1", Kind: metering.TransferAdjust, ParentID: "acme", AccountID: "acme", Amount: 7_250_000, Currency: "EUR", Reason: "for the outage", Actor: "operator", At: at},
		{Ref: "b-1", Kind: metering.TransferAllocate, ParentID: "acme", AccountID: "acme-own", Amount: 90_000_000, Currency: "EUR", Actor: "acme", At: at},
	} {
		require.NoError(b.tb, t.Validate())
		require.NoError(b.tb, b.ledger.InsertTransfers(b.tb.Context(), []ledger.TransferRow{{Transfer: t, Booked: "2026-11", At: t.At, Epoch: 1, Seq: int64(i + 1)}}))
	}
}

// store writes the rows as the worker does.
func (b *books) store(at time.Time) {
	b.tb.Helper()
	ctx, cancel := context.WithCancel(b.tb.Context())
	defer cancel()
	writer := ledger.NewWriter(b.ledger, ledger.WriterOptions{Clock: clock.NewFake(at), Gap: time.Millisecond})
	done := make(chan struct{})
	go func() { defer close(done); _ = writer.Run(ctx) }()
	batch := &ledger.Batch{Rows: b.rows}
	require.NoError(b.tb, writer.Write(ctx, batch))
	require.Empty(b.tb, batch.Refused)
	cancel()
	<-done
	b.all = append(b.all, b.rows...)
	b.rows = nil
}

// closeMonth fixes a parent's month as the closer does.
func (b *books) closeMonth(parent, period string) {
	b.tb.Helper()
	p, err := b.snap.Accounts[parent].Calendar.Named(period)
	require.NoError(b.tb, err)
	balances, err := b.ledger.OpeningBalances(b.tb.Context(), parent, "2026-12")
	require.NoError(b.tb, err)
	require.NoError(b.tb, b.ledger.FinishClosing(b.tb.Context(), &ledger.Closing{
		ParentID: parent, Period: period, Start: p.Start, End: p.End, AsOf: b.clock.Now(), Catalog: b.snap.Catalog, Epoch: 1, Seq: b.seq, Balances: balances,
	}))
}

func (b *books) exporter() *Exporter {
	return New(Deps{Ledger: b.ledger, Snapshot: b.snap, Clock: b.clock})
}

// wantBill is what this test says that a parent's November comes to.
type wantBill struct {
	amount, refunds, adjustments decimal.Decimal
	records, late                uint64
	lines                        decimal.Decimal // amount − refunds, with corrections, of whatever period
}

func (b *books) bill(parent string) wantBill {
	var out wantBill
	for i := range b.all {
		r := &b.all[i]
		if r.ParentID != parent || r.Booked != "2026-11" {
			continue
		}
		v := r.Charge.Amount.Decimal()
		late := r.Period != "2026-11"
		if r.Record.Kind == metering.KindRefund {
			out.lines = out.lines.Sub(v)
		} else {
			out.lines = out.lines.Add(v)
		}
		switch {
		case r.Record.Kind == metering.KindAdjustment:
			out.adjustments = out.adjustments.Add(v)
		case r.Record.Kind == metering.KindRefund && late:
			out.adjustments = out.adjustments.Sub(v)
		case r.Record.Kind == metering.KindRefund:
			out.refunds = out.refunds.Add(v)
		default:
			out.records++
			if late {
				out.late++
				out.adjustments = out.adjustments.Add(v)
			} else {
				out.amount = out.amount.Add(v)
			}
		}
	}
	return out
}
