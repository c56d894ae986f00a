package reports

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

func TestTheSameDataAreTheSameBytes(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	for _, q := range []Request{
		{Parent: "acme"},
		{Parent: "globex", Redacted: true},
		{Parent: "acme", Audience: "acme-support"},
		{Parent: "globex", Audience: "globex-shop"},
		{Parent: "acme", Kind: KindWallet},
		{Parent: "acme", Kind: KindMessages},
		{Parent: "globex", Kind: KindMessages, Redacted: true},
		{Audience: "globex-shop", Kind: KindMessages},
	} {
		// Each is made by a Reporter of its own, as two workers would.
		one, two := files(t, w, q), files(t, w, q)
		require.GreaterOrEqual(t, len(one), len(FormatsOf(q.Kind)))
		for format := range one {
			sameText(t, one[format], two[format])
		}
	}
}

func TestAClosedMonthKeepsItsBytes(t *testing.T) {
	t.Parallel()
	w, rows := seeded(t)
	closed := time.Date(2026, 12, 4, 3, 0, 0, 0, time.UTC)
	for _, parent := range w.snap.Parents {
		balances, err := w.ledger.OpeningBalances(t.Context(), parent, "2026-12")
		require.NoError(t, err)
		month, err := w.snap.Accounts[parent].Calendar.Named("2026-11")
		require.NoError(t, err)
		require.NoError(t, w.ledger.FinishClosing(t.Context(), &ledger.Closing{
			ParentID: parent, Period: month.Name, Start: month.Start, End: month.End, AsOf: closed,
			Catalog: w.snap.Catalog, Epoch: 1, Seq: w.seq, Balances: balances,
			Frozen: ledger.Frozen{
				Quarantined: map[string]map[metering.Reason]uint64{"acme-support": {metering.ReasonNoPrice: 2, metering.ReasonConflict: 1}, "globex-shop": {metering.ReasonMalformed: 4}},
				Rejected:    map[string]uint64{"acme-support": 2, "globex-shop": 3},
				Waiting:     map[string]uint64{"acme-support": 1},
				Flags:       map[string]ledger.FrozenFlags{"acme-support": {Own: metering.FlagMonthly}},
			},
		}))
	}
	requests := []Request{
		{Parent: "acme"},
		{Parent: "acme", Redacted: true},
		{Parent: "acme", Audience: "acme-support"},
		{Audience: "acme-marketing"},
		{Audience: "acme-franchise"},
		{Parent: "globex"},
		{Audience: "globex-shop"},
	}
	for _, q := range slices.Clone(requests) {
		q.Kind = KindMessages
		requests = append(requests, q)
	}
	requests = append(requests, Request{Parent: "acme", Kind: KindWallet}, Request{Parent: canaryParent, Kind: KindWallet})
	w.clock.Set(closed.Add(time.Hour))
	var before []map[string][]byte
	for _, q := range requests {
		before = append(before, files(t, w, q))
	}

	// Much happens afterwards: statuses, late records, quarantine, states, and whatever of an account may change but its module.
	later := closed.Add(48 * time.Hour)
	w.clock.Set(later)
	for i := range rows {
		if r := &rows[i]; r.Record.Kind == metering.KindUsage && i%3 == 0 {
			w.status(r, "failed", later)
		}
	}
	w.row("acme-support", now, func(r *ledger.Row) { r.Booked = "2026-12" })
	w.row("acme-marketing", now, func(r *ledger.Row) {
		r.Record.Kind, r.Record.RefersTo, r.Record.ID, r.Booked = metering.KindAdjustment, "m1", "rerate-later m1", "2026-12"
	})
	require.NoError(t, w.ledger.InsertRerate(t.Context(), &ledger.Rerate{Ref: "rerate-later", ParentID: "acme", Plan: "standard", Reason: "later", At: later}))
	w.store(later)
	w.quarantine("acme-support", metering.ReasonOverflow, 9, later)
	var list []*metering.Account
	for _, a := range accounts() {
		if a.MonthlyLimit != nil {
			a.MonthlyLimit = limit("1")
		}
		a.Name += " renamed"
		if a.Zones = append(a.Zones, metering.ZoneFrom{From: "2026-12", Zone: "Pacific/Apia"}); !a.IsParent() {
			a.OwnZone, a.ClosedAt = "Asia/Kolkata", &later
		}
		if a.Mode = metering.Postpaid; a.Currency == "USD" { // globex paid afterwards
			a.Mode = metering.Prepaid
		}
		if a.Source = metering.SourceCredit; a.Mode == metering.Prepaid {
			a.Source = metering.SourceShared
		}
		a.CreditLimit, a.Alerts, a.Observe = limit("2"), []int{1}, a.IsParent()
		a.Issuer = &metering.Issuer{Name: "another issuer"}
		list = append(list, a)
	}
	list = append(list, &metering.Account{ID: "acme-new", ParentID: "acme", Name: "New", Module: metering.Enterprise, Currency: "EUR", Mode: metering.Prepaid, Source: metering.SourceShared, CreatedAt: later})
	w.apply(2, later, list, nil)
	w.states["acme-support"] = AccountState{Own: metering.FlagMonthly}
	require.NoError(t, w.ledger.InsertStates(t.Context(), []ledger.StateRow{{AccountID: "acme-support", ParentID: "acme", Epoch: 9, Flags: metering.FlagMonthly, Period: "2026-12", At: later}}))
	w.transfer(metering.Transfer{Ref: "later", Kind: metering.TransferTopup, ParentID: "acme", AccountID: "acme", Amount: micro("7"), Currency: "EUR", Actor: "operator", At: later}, "2026-12")
	var open []ledger.Entry
	require.NoError(t, w.ledger.Quarantined(t.Context(), ledger.QuarantineFilter{Accounts: []string{"acme-support"}, Reason: string(metering.ReasonNoPrice)}, func(e *ledger.Entry) error {
		open = append(open, *e)
		return nil
	}))
	require.NoError(t, w.ledger.CloseQuarantine(t.Context(), open[:2], ledger.QuarantineDiscarded, "x", later))

	for i, q := range requests {
		after := files(t, w, q)
		for format := range after {
			sameText(t, before[i][format], after[format])
		}
		require.Contains(t, string(after[FormatJSON])+string(after["about"]), `"closed": true`)
	}
	december := files(t, w, Request{Parent: "acme", Period: "2026-12"})
	require.Contains(t, string(december[FormatJSON]), `"period": "2026-11"`, "the late record is an adjustment that names its month")
}
