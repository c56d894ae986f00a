package reports

import (
	"context"
	"fmt"
	"strconv"
	"strings"
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

// now is when the reports of these tests are made, unless a test says otherwise.
var now = time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)

// world is a ledger of a test's own, with accounts and usage.
type world struct {
	tb     testing.TB
	ledger *ledger.Ledger
	clock  *clock.Fake
	snap   *metering.Snapshot
	states map[string]AccountState
	rows   []ledger.Row
	seq    int64
	keep   bool // rows are kept in kept
	kept   []ledger.Row
	conn   func() driver.Conn
	engine *testengine.Engines
}

// micro reads an amount.
func micro(s string) metering.Micros {
	m, err := metering.ParseMicros(s)
	if err != nil {
		panic(err)
	}
	return m
}

// micros of a sum that fits an amount.
func (m Money) micros() metering.Micros {
	n, err := m.Sum.Micros()
	if err != nil {
		panic(err)
	}
	return n
}

func limit(s string) *metering.Micros {
	m := micro(s)
	return &m
}

// canaries are planted in the data; none may reach a reseller.
const (
	canaryPlan    = "kanarienplan"
	canarySibling = "sibling-wombat"
	canaryParent  = "parent-dodo"
	canaryTag     = "tag-canary-0.777"
	canaryNote    = "note-canary"
	canaryRef     = "ref-canary"
	canaryIssuer  = "issuer-canary"
	canaryPrice   = "0.31337777"
	canaryStatus  = "no-credits-0.31337"
)

// accounts: acme is an enterprise that pays ahead, globex a reseller on credit,
// parent-dodo a reseller that pays ahead.
func accounts() []*metering.Account {
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	parent := func(id, name, zone, currency string, module metering.Module, mode metering.Mode) *metering.Account {
		source := metering.SourceWallet
		if mode == metering.Postpaid {
			source = metering.SourceCredit
		}
		return &metering.Account{
			ID: id, Name: name, Module: module, Currency: currency, Mode: mode, Source: source, Zones: []metering.ZoneFrom{{Zone: zone}},
			Plans: []metering.PlanFrom{{Plan: "standard"}}, CreatedAt: created,
			Issuer: &metering.Issuer{Name: canaryIssuer + " Ltd", Address: "1 " + canaryIssuer + " Street\nLondon"},
		}
	}
	sub := func(p *metering.Account, id, name string, source metering.Source) *metering.Account {
		return &metering.Account{
			ID: id, ParentID: p.ID, Name: name, Module: p.Module, Currency: p.Currency, Mode: p.Mode, Source: source,
			Plans: p.Plans, CreatedAt: created,
		}
	}
	acme := parent("acme", "Acme Retail", "Europe/Rome", "EUR", metering.Enterprise, metering.Prepaid)
	support := sub(acme, "acme-support", "Acme Customer Care", metering.SourceShared)
	support.MonthlyLimit = limit("500")
	franchise := sub(acme, "acme-franchise", "Acme Franchise London", metering.SourceShared)
	franchise.Module, franchise.OwnModule, franchise.OwnZone = metering.Reseller, metering.Reseller, "Europe/London"
	globex := parent("globex", "Globex Messaging", "America/New_York", "USD", metering.Reseller, metering.Postpaid)
	globex.CreditLimit = limit("10000")
	clinic := sub(globex, "globex-clinic", "Globex Clinic", metering.SourceCredit)
	clinic.MonthlyLimit = limit("250")
	dodo := parent(canaryParent, canaryParent+" name", "Asia/Kathmandu", "JPY", metering.Reseller, metering.Prepaid)
	dodo.Plans = []metering.PlanFrom{{Plan: canaryPlan}}
	lone := sub(dodo, "lone-shop", "Lone Shop", metering.SourceAllocated)
	lone.MonthlyLimit = limit("7654321.5")
	return []*metering.Account{
		acme, sub(acme, "acme-marketing", "Acme Marketing", metering.SourceAllocated), support, franchise,
		globex, sub(globex, "globex-shop", "Globex Shop", metering.SourceCredit), clinic,
		dodo, lone, sub(dodo, canarySibling, canarySibling+" name", metering.SourceShared),
	}
}

func plans() []*metering.Plan {
	price, err := metering.ParsePrice(canaryPrice)
	if err != nil {
		panic(err)
	}
	plan := func(id, currency string, price int64) *metering.Plan {
		return &metering.Plan{ID: id, Currency: currency, Versions: []metering.PlanVersion{{
			EffectiveFrom: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
			Rules:         []metering.Rule{{Channel: "sms", Unit: "segment", Price: price}, {Channel: "voice", Unit: "second", Price: price, Increment: [2]int64{60, 60}}},
		}}}
	}
	return []*metering.Plan{plan("standard", "EUR", 4_120_000), plan(canaryPlan, "JPY", price)}
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	e := testengine.StartClickHouse(tb)
	l, err := ledger.Open(ledger.Options{
		URL:      e.ClickHouseAddress(),
		Password: e.ClickHousePassword, Database: e.Database,
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	schematest.Make(tb, e)
	w := &world{tb: tb, engine: e, ledger: l, clock: clock.NewFake(now), states: map[string]AccountState{}, conn: func() driver.Conn { return e.ClickHouse(tb) }}
	w.apply(1, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), accounts(), plans())
	return w
}

// apply stores accounts and plans and takes the snapshot anew.
func (w *world) apply(number int64, at time.Time, list []*metering.Account, plans []*metering.Plan) {
	w.tb.Helper()
	require.NoError(w.tb, w.ledger.SaveCatalog(w.tb.Context(), number, list, plans, at))
	var err error
	w.snap, err = w.ledger.Snapshot(w.tb.Context())
	require.NoError(w.tb, err)
	require.Empty(w.tb, w.snap.Faults)
}

// sums are what a rebuild reads of a parent's accounts.
func (w *world) sums(parent string) *ledger.Sums {
	w.tb.Helper()
	sums, err := w.ledger.Sums(w.tb.Context(), 2, []ledger.SumsOf{{Parent: parent, Base: &ledger.Base{}}})
	require.NoError(w.tb, err)
	return sums[parent]
}

func (w *world) reporter() *Reporter {
	return NewReporter(Deps{
		Ledger: w.ledger, Snapshot: func() *metering.Snapshot { return w.snap }, Clock: w.clock,
		States: func(_ context.Context, id string) (AccountState, error) { return w.states[id], nil },
	})
}

// row adds a usage row of an account; change fills in what matters to the test.
func (w *world) row(account string, at time.Time, change func(r *ledger.Row)) *ledger.Row {
	a := w.snap.Accounts[account]
	w.seq++
	period := a.Calendar.Of(at).Name
	purse, _ := a.Purse()
	r := ledger.Row{
		Record: &metering.Record{
			ID: "m" + strconv.FormatInt(w.seq, 10), Kind: metering.KindUsage, AccountID: account, Channel: "sms", Direction: metering.Outbound,
			Status: "sent", To: "+393331234567", From: "TEST", Country: "IT", Units: metering.Units(1), Unit: "segment", OccurredAt: at,
		},
		ParentID: a.Parent(),
		Charge:   metering.Charge{Units: 1_000_000, Unit: "segment", Billed: 1_000_000, Amount: 50_000, Fee: 10_000, Plan: a.PlanAt(at), Version: 1, Rule: 1},
		Purse:    purse, Currency: a.Currency, Hash: uint64(w.seq), Period: period, Booked: period, Epoch: 1, Seq: w.seq, Hour: at.Truncate(time.Hour),
	}
	if change != nil {
		change(&r)
	}
	w.rows = append(w.rows, r)
	return &w.rows[len(w.rows)-1]
}

// status of a message.
func (w *world) status(of *ledger.Row, status string, at time.Time) {
	account, id := of.Record.AccountID, of.Record.ID
	w.row(account, at, func(r *ledger.Row) {
		*r.Record = metering.Record{ID: "s" + strconv.FormatInt(w.seq, 10), Kind: metering.KindStatus, AccountID: account, Status: status, RefersTo: id, OccurredAt: at}
		r.Charge, r.Currency, r.Purse = metering.Charge{}, "", ""
	})
}

// refund of a message, without its fee.
func (w *world) refund(of *ledger.Row, at time.Time) {
	from := *of
	rec := *of.Record
	w.row(rec.AccountID, at, func(r *ledger.Row) {
		rec.Kind, rec.RefersTo, rec.ID, rec.Status, rec.OccurredAt = metering.KindRefund, rec.ID, "r"+rec.ID, "", at
		rec.Tags = nil // a refund has none of its message's
		r.Record = &rec
		r.Charge = metering.Charge{Amount: from.Charge.Amount - from.Charge.Fee, Plan: from.Charge.Plan, Version: 1, Rule: 1}
	})
}

// store writes the rows as the worker does.
func (w *world) store(at time.Time) {
	w.tb.Helper()
	ctx, cancel := context.WithCancel(w.tb.Context())
	defer cancel()
	writer := ledger.NewWriter(w.ledger, ledger.WriterOptions{Clock: clock.NewFake(at), Gap: time.Millisecond})
	done := make(chan struct{})
	go func() { defer close(done); _ = writer.Run(ctx) }()
	b := &ledger.Batch{Rows: w.rows}
	require.NoError(w.tb, writer.Write(ctx, b))
	require.Empty(w.tb, b.Refused)
	cancel()
	<-done
	if w.keep {
		w.kept = append(w.kept, w.rows...)
	}
	w.rows = nil
}

func (w *world) transfer(t metering.Transfer, booked string) {
	w.tb.Helper()
	w.seq++
	require.NoError(w.tb, t.Validate())
	require.NoError(w.tb, w.ledger.InsertTransfers(w.tb.Context(), []ledger.TransferRow{{Transfer: t, Booked: booked, At: t.At, Epoch: 1, Seq: w.seq}}))
}

func (w *world) quarantine(account string, reason metering.Reason, n int, at time.Time) {
	w.tb.Helper()
	var list []ledger.Entry
	for i := range n {
		raw := fmt.Appendf(nil, `{"id":"%s-%d","amount":"%s"}`, reason, i, canaryPrice)
		list = append(list, ledger.Entry{
			ID: ledger.EntryID(account, "usage", raw), Reason: reason, AccountID: account, Kind: "usage", Raw: raw, Detail: canaryPlan,
			QuarantinedAt: at, State: ledger.QuarantineOpen, Version: uint64(at.UnixMicro()),
		})
	}
	require.NoError(w.tb, w.ledger.InsertQuarantine(w.tb.Context(), list))
}

// seed fills the world with November's traffic, some of October's late, money
// moved, states, and things that went wrong. It is the same on every run.
func (w *world) seed() {
	w.tb.Helper()
	start := time.Date(2026, 10, 31, 23, 30, 0, 0, time.UTC)
	countries := []string{"IT", "FR", "DE", "US", ""}
	ends := []string{"delivered", "delivered", "delivered", "failed", "undelivered", "read", ""}
	i := 0
	for _, id := range w.snap.Parents {
		for _, account := range append([]string{id}, w.snap.Subs[id]...) {
			i++
			for n := range 160 + 20*i {
				at := start.Add(time.Duration(n*(5+i)*7919) * time.Second % (19 * 24 * time.Hour)).Add(time.Duration(n) * time.Millisecond)
				w.message(account, n, at, countries[n%len(countries)], ends[n%len(ends)])
			}
		}
	}
	w.late()
	w.store(now.Add(-time.Hour))
	w.money()
	w.trouble()
}

func (w *world) message(account string, n int, at time.Time, country, end string) {
	dodo := w.snap.Accounts[account].Parent() == canaryParent
	r := w.row(account, at, func(r *ledger.Row) {
		r.Record.Country = country
		r.Charge.Amount = metering.Micros(41_237 + n%13*1_009)
		r.Record.Tags = []metering.Tag{{Key: "rate", Value: canaryTag}}
		if strings.HasPrefix(account, "acme") && n%6 < 2 {
			r.Record.Tags = append([]metering.Tag{{Key: "campaign", Value: "autumn" + strconv.Itoa(n%6)}}, r.Record.Tags...)
		}
		switch n % 9 {
		case 5:
			r.Record.Channel, r.Record.Unit, r.Charge.Unit, r.Charge.Rule = "voice", "second", "second", 2
			units := metering.Quantity(30+n%90) * 1_000_000
			r.Record.Units, r.Charge.Units, r.Charge.Billed = metering.Some(units), units, (units+59_999_999)/60_000_000*60_000_000
		case 7:
			r.Record.Direction, r.Record.Status = metering.Inbound, "received"
		case 8:
			r.Record.Channel, r.Record.Unit, r.Charge.Unit, r.Charge.Plan, r.Charge.Rule = "whatsapp", "message", "message", "", 0
		}
		if dodo {
			r.Charge.Amount += 31_337_000_000
			r.Record.ErrorCode = canaryStatus
		}
	})
	if r.Record.Direction == metering.Inbound {
		return
	}
	at2 := at.Add(time.Minute)
	copied := *r
	if end != "" {
		w.status(&copied, end, at2)
	}
	if dodo && n%11 == 3 {
		w.status(&copied, canaryStatus, at2.Add(time.Minute))
	}
	if end == "failed" {
		w.refund(&copied, at2.Add(10*time.Minute))
	}
}

// late are records of October that came when it was closed, and a correction.
func (w *world) late() {
	october := time.Date(2026, 10, 12, 8, 0, 0, 0, time.UTC)
	for _, account := range []string{"acme-marketing", "globex-shop", "lone-shop"} {
		r := w.row(account, october, func(r *ledger.Row) { r.Booked = "2026-11" })
		copied := *r
		w.refund(&copied, october.Add(time.Hour))
		w.rows[len(w.rows)-1].Booked = "2026-11"
		w.row(account, october, func(r *ledger.Row) {
			r.Record.Kind, r.Booked = metering.KindAdjustment, "2026-11"
			r.Record.RefersTo, r.Record.ID = r.Record.ID, rerateOf(r.ParentID)+" "+r.Record.ID
			r.Charge = metering.Charge{Amount: -20_000, Plan: r.Charge.Plan, Version: 1, Rule: 1}
		})
		w.row(account, october, nil)
		parent := w.snap.Accounts[account].Parent()
		require.NoError(w.tb, w.ledger.InsertRerate(w.tb.Context(), &ledger.Rerate{
			Ref: rerateOf(parent), ParentID: parent, Period: "2026-10", Plan: "standard", Reason: canaryNote, Actor: "operator", At: now,
		}))
	}
}

// rerateOf is the reference of a parent's re-rating.
func rerateOf(parent string) string { return "rerate-" + parent + "-" + canaryRef }

func (w *world) money() {
	day := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	for _, p := range []struct{ parent, sub, currency, scale string }{{"acme", "acme-marketing", "EUR", "1"}, {canaryParent, "lone-shop", "JPY", "1000000"}} {
		k := decimal.RequireFromString(p.scale)
		amount := func(s string) metering.Micros { return micro(decimal.RequireFromString(s).Mul(k).String()) }
		w.transfer(metering.Transfer{
			Ref: p.parent + "-october", Kind: metering.TransferTopup, ParentID: p.parent, AccountID: p.parent, Amount: amount("80"),
			Currency: p.currency, Actor: "operator", At: day.AddDate(0, -1, 0),
		}, "2026-10")
		w.transfer(metering.Transfer{
			Ref: p.parent + "-" + canaryRef, Kind: metering.TransferTopup, ParentID: p.parent, AccountID: p.parent, Amount: amount("120.5"),
			Currency: p.currency, Actor: "operator", Reason: canaryNote, At: day,
		}, "2026-11")
		w.transfer(metering.Transfer{
			Ref: p.sub + "-" + canaryRef, Kind: metering.TransferAllocate, ParentID: p.parent, AccountID: p.sub, Amount: amount("12"),
			Currency: p.currency, Actor: p.parent, At: day.Add(time.Hour),
		}, "2026-11")
	}
}

func (w *world) trouble() {
	at := time.Date(2026, 11, 5, 14, 0, 0, 0, time.UTC)
	w.quarantine("acme-support", metering.ReasonNoPrice, 3, at)
	w.quarantine("acme-support", metering.ReasonChannelNotEnabled, 2, at)
	w.quarantine("lone-shop", metering.ReasonNoPrice, 4, at)
	w.quarantine("globex-shop", metering.ReasonConflict, 1, at)
	require.NoError(w.tb, w.ledger.InsertAlerts(w.tb.Context(), []ledger.AlertRow{
		{AccountID: "acme-marketing", ParentID: "acme", Limit: "budget", Mark: "t1", Share: 50, Epoch: 1, At: at},
		{AccountID: "acme-marketing", ParentID: "acme", Limit: "budget", Mark: "t1", Share: 50, Epoch: 2, At: at.Add(time.Hour)},
		{AccountID: "acme", ParentID: "acme", Limit: "wallet", Mark: "t1", Share: 80, Epoch: 1, At: at.Add(2 * time.Hour)},
		{AccountID: "acme", ParentID: "acme", Limit: "wallet", Mark: "t0", Share: 80, Epoch: 1, At: at.AddDate(0, -1, 0)},
		{AccountID: "lone-shop", ParentID: canaryParent, Limit: "budget", Mark: canaryRef, Share: 100, Epoch: 1, At: at},
	}))
	row := func(id, parent string, epoch int64, flags metering.Flags, cause string, at time.Time) ledger.StateRow {
		return ledger.StateRow{AccountID: id, ParentID: parent, Epoch: epoch, Flags: flags, Cause: cause, Period: "2026-11", Actor: "operator", Note: canaryNote, At: at}
	}
	require.NoError(w.tb, w.ledger.InsertStates(w.tb.Context(), []ledger.StateRow{
		row("acme-marketing", "acme", 1, metering.FlagBudget, "budget_exhausted", at),
		row("acme-marketing", "acme", 2, 0, "", at.Add(3*time.Hour)),
		row("acme-marketing", "acme", 3, metering.FlagBudget, "budget_exhausted", at.Add(96*time.Hour)),
		row("acme", "acme", 1, metering.FlagWallet, "wallet_exhausted", at.Add(30*time.Hour)),
		row("acme", "acme", 2, 0, "", at.Add(31*time.Hour)),
		row("globex-clinic", "globex", 1, metering.FlagManualOperator, "manual", at),
		row("lone-shop", canaryParent, 1, metering.FlagBudget|metering.FlagMonthly|metering.FlagManualParent, "manual", at),
	}))
	w.states["acme-marketing"] = AccountState{Own: metering.FlagBudget}
	w.states["globex-clinic"] = AccountState{Own: metering.FlagManualOperator}
	w.states["lone-shop"] = AccountState{Own: metering.FlagBudget | metering.FlagMonthly | metering.FlagManualParent, Inherited: metering.FlagManualParent}
}

// small is a few rows of acme's, for golden files.
func (w *world) small() {
	w.tb.Helper()
	at := time.Date(2026, 11, 3, 9, 0, 0, 0, time.UTC)
	m := *w.row("acme-marketing", at, nil)
	w.status(&m, "failed", at.Add(time.Minute))
	w.refund(&m, at.Add(11*time.Minute))
	w.row("acme-marketing", at.Add(24*time.Hour), func(r *ledger.Row) { r.Record.Country, r.Charge.Amount = "FR", 61_700 })
	m = *w.row("acme-franchise", at, nil)
	w.status(&m, "delivered", at.Add(time.Minute))
	m = *w.row("acme-franchise", at.Add(time.Hour), nil)
	w.status(&m, canaryStatus, at.Add(time.Hour+time.Minute))
	w.row("acme-franchise", at, func(r *ledger.Row) {
		r.Record.Channel, r.Record.Unit, r.Record.Status = "voice", "second", "completed"
		r.Charge = metering.Charge{Units: 61_500_000, Unit: "second", Billed: 120_000_000, Amount: 4_944_000, Plan: "standard", Version: 1, Rule: 2}
	})
	w.row("acme", at, func(r *ledger.Row) { r.Record.Direction, r.Record.Status = metering.Inbound, "received" })
	w.row("acme-support", at.AddDate(0, -1, 0), func(r *ledger.Row) { r.Booked = "2026-11" })
	w.store(now)
	w.money()
	w.quarantine("acme-support", metering.ReasonNoPrice, 1, at)
}
