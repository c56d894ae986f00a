package reports

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// expected works a bill out from the rows themselves.
type expected struct {
	records, lateRecords                               uint64
	amount, fees, refunds, adjustments, late, purseNet metering.Micros
	days, countries, channels, campaigns               map[string]metering.Micros // net
	outcomes                                           map[string]uint64
}

func expect(rows []ledger.Row, account, period string, loc *time.Location) *expected {
	e := &expected{days: map[string]metering.Micros{}, countries: map[string]metering.Micros{}, channels: map[string]metering.Micros{}, campaigns: map[string]metering.Micros{}, outcomes: map[string]uint64{}}
	last, campaign := map[string]string{}, map[string]string{}
	for i := range rows {
		if r := rows[i].Record; r.AccountID == account && r.Kind == metering.KindStatus {
			last[r.RefersTo] = r.Status // written in the order of their times
		} else if r.Kind == metering.KindUsage {
			campaign[r.ID] = tagOf(r, "campaign")
		}
	}
	for i := range rows {
		row := &rows[i]
		r := row.Record
		if r.AccountID != account || row.Booked != period || r.Kind == metering.KindStatus {
			continue
		}
		sign := metering.Micros(1)
		if r.Kind == metering.KindRefund {
			sign = -1
		}
		net := sign * row.Charge.Amount
		e.purseNet += net
		if r.Kind == metering.KindUsage {
			status := last[r.ID]
			if status == "" {
				status = r.Status
			}
			e.outcomes[metering.PublicStatus(status)]++
		}
		if r.Kind == metering.KindAdjustment || row.Period != period {
			e.adjustments += net
			if r.Kind != metering.KindAdjustment {
				e.late += net
			}
			if r.Kind == metering.KindUsage {
				e.lateRecords++
			}
			continue
		}
		if r.Kind == metering.KindUsage {
			e.records++
			e.amount += row.Charge.Amount
			e.fees += row.Charge.Fee
		} else {
			e.refunds += row.Charge.Amount
		}
		e.days[r.OccurredAt.In(loc).Format(time.DateOnly)] += net
		e.countries[r.Country] += net
		e.campaigns[campaign[cmp.Or(r.RefersTo, r.ID)]] += net
		e.channels[r.Channel+" "+r.Direction] += net
	}
	return e
}

func tagOf(r *metering.Record, key string) string {
	for _, t := range r.Tags {
		if t.Key == key {
			return t.Value
		}
	}
	return ""
}

// seeded is a world whose rows are kept.
func seeded(tb testing.TB) (*world, []ledger.Row) {
	tb.Helper()
	w := newWorld(tb)
	w.keep = true
	w.seed()
	return w, w.kept
}

func TestParentStatementEqualsAnIndependentComputation(t *testing.T) {
	t.Parallel()
	w, rows := seeded(t)
	for _, id := range w.snap.Parents {
		st, audience, err := w.reporter().Build(t.Context(), Request{Parent: id, Period: "2026-11"})
		require.NoError(t, err)
		require.Equal(t, AudienceParent, audience)
		p, ok := st.(*ParentStatement)
		require.True(t, ok)
		require.Len(t, p.Accounts, 1+len(w.snap.Subs[id]))
		require.NotZero(t, p.Totals.Records)
		var sum Totals
		for i := range p.Accounts {
			s := &p.Accounts[i]
			sum.plus(&s.Totals)
			loc := w.snap.Accounts[id].Calendar.Location(now)
			want := expect(rows, s.Account, "2026-11", loc)
			equalUsage(t, want, &s.Usage)
			if s.Budget != nil {
				require.Equal(t, want.purseNet, s.Budget.Charged.micros(), s.Account)
			}
		}
		sum.in(p.Currency)
		require.Equal(t, sum, p.Totals)
		sumToTotals(t, p)
		if p.Wallet != nil {
			require.Equal(t, p.Wallet.Opening.micros()+p.Wallet.Moved.micros()-p.Wallet.Charged.micros(), p.Wallet.Closing.micros())
			sums := w.sums(id)
			require.Equal(t, sums.Balance[id], p.Wallet.Closing.micros(), "the projection's way to the same balance")
		}
	}
}

// sumToTotals: each of a parent's lists is its totals' figures, and what its accounts' are.
func sumToTotals(t *testing.T, p *ParentStatement) {
	t.Helper()
	var channels, countries, campaigns, days Figures
	var units, billed decimal.Decimal
	for i := range p.ByChannel {
		channels.plus(&p.ByChannel[i].Figures)
		units, billed = units.Add(p.ByChannel[i].Units), billed.Add(p.ByChannel[i].BilledUnits)
	}
	for i := range p.ByCountry {
		countries.plus(&p.ByCountry[i].Figures)
	}
	for i := range p.ByCampaign {
		campaigns.plus(&p.ByCampaign[i].Figures)
		billed = billed.Sub(p.ByCampaign[i].BilledUnits)
	}
	for i := range p.ByDay {
		days.plus(&p.ByDay[i].Figures)
	}
	list := []*Figures{&channels, &countries, &days}
	if len(p.ByCampaign) > 0 {
		list = append(list, &campaigns)
		require.True(t, billed.IsZero(), "campaigns have all units charged")
	}
	for _, f := range list {
		f.in(p.Currency)
		require.Equal(t, p.Totals.Figures, *f)
	}
	for i := range p.Accounts {
		for j := range p.Accounts[i].ByChannel {
			units = units.Sub(p.Accounts[i].ByChannel[j].Units)
		}
	}
	require.True(t, units.IsZero())
}

func equalUsage(t *testing.T, want *expected, u *Usage) {
	t.Helper()
	require.Equal(t, want.records, u.Totals.Records)
	require.Equal(t, want.lateRecords, u.Totals.LateRecords)
	require.Equal(t, want.records+want.lateRecords, u.Totals.Booked)
	require.Equal(t, want.late, u.Totals.Late.micros())
	require.Equal(t, want.adjustments-want.late, u.Totals.Corrections.micros())
	require.Equal(t, want.amount, u.Totals.Amount.micros())
	require.Equal(t, want.fees, u.Totals.Fees.micros())
	require.Equal(t, want.refunds, u.Totals.Refunds.micros())
	require.Equal(t, want.adjustments, u.Totals.Adjustments.micros())
	require.Equal(t, want.amount-want.refunds+want.adjustments, u.Totals.Billable.micros())
	days, countries, channels, campaigns := map[string]metering.Micros{}, map[string]metering.Micros{}, map[string]metering.Micros{}, map[string]metering.Micros{}
	outcomes := map[string]uint64{}
	var rates Figures
	for _, l := range u.ByDay {
		days[l.Day] += l.Net.micros()
	}
	for _, l := range u.ByCountry {
		countries[l.Country] += l.Net.micros()
	}
	for _, l := range u.ByChannel {
		channels[l.Channel+" "+l.Direction] += l.Net.micros()
	}
	for i := range u.ByRate {
		rates.plus(&u.ByRate[i].Figures)
	}
	for _, l := range u.Outcomes {
		outcomes[l.Outcome] += l.Messages
	}
	for _, l := range u.ByCampaign {
		campaigns[l.Campaign] += l.Net.micros()
	}
	if len(want.campaigns) == 1 {
		want.campaigns = map[string]metering.Micros{} // nobody names one
	}
	require.Equal(t, want.campaigns, campaigns)
	require.Equal(t, want.days, days)
	require.Equal(t, want.countries, countries)
	require.Equal(t, want.channels, channels)
	require.Equal(t, want.outcomes, outcomes)
	rates.in(u.Totals.Amount.Currency)
	require.Equal(t, u.Totals.Figures, rates)
}

func TestEnterpriseStatementIsItsSectionOfTheParents(t *testing.T) {
	t.Parallel()
	w, rows := seeded(t)
	for _, id := range []string{"acme-marketing", "acme-support"} {
		st, audience, err := w.reporter().Build(t.Context(), Request{Parent: "acme", Audience: id, Period: "2026-11"})
		require.NoError(t, err)
		require.Equal(t, id, audience)
		e, ok := st.(*EnterpriseStatement)
		require.True(t, ok)
		equalUsage(t, expect(rows, id, "2026-11", w.snap.Accounts["acme"].Calendar.Location(now)), &e.Usage)
		sums := w.sums("acme")
		if id == "acme-marketing" {
			require.Equal(t, "budget", e.Funds)
			require.Equal(t, sums.Balance[id], e.Budget.Balance.micros())
			require.Equal(t, []string{"budget_exhausted"}, e.Reasons)
			require.Len(t, e.Suspensions, 2)
			require.Empty(t, e.Suspensions[0].Note)
			require.Equal(t, []Alert{{At: time.Date(2026, 11, 5, 14, 0, 0, 0, time.UTC), Limit: "budget", Share: 50}}, e.Alerts, "once, and not the parent's")
		} else {
			require.Equal(t, Shared, e.Funds)
			require.Nil(t, e.Budget)
			require.Equal(t, "500.00", e.Limit.Limit.String())
			require.Equal(t, e.Totals.Billable, e.Limit.Used)
			require.EqualValues(t, 5, e.Completeness.Quarantined)
			require.EqualValues(t, 3, e.Completeness.NotYetPriced)
			require.Equal(t, []string{metering.ReasonParentFunds}, e.Suspensions[0].Reasons)
		}
	}
}

// files of a request by their format.
func files(t *testing.T, w *world, q Request) map[string][]byte {
	t.Helper()
	q.Out, q.Formats = t.TempDir(), FormatsOf(q.Kind)
	if q.Period == "" {
		q.Period = "2026-11"
	}
	list, err := w.reporter().Run(t.Context(), q)
	require.NoError(t, err)
	out := map[string][]byte{}
	for _, f := range list {
		b, err := os.ReadFile(f.Path)
		require.NoError(t, err)
		require.EqualValues(t, len(b), f.Bytes)
		if strings.HasSuffix(f.Path, "-about.json") {
			f.Format = "about"
		}
		out[f.Format] = b
	}
	return out
}

func TestCSVAddsUp(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	for _, q := range []Request{{Parent: "acme"}, {Parent: "acme", Audience: "acme-marketing"}} {
		lines, err := csv.NewReader(bytes.NewReader(files(t, w, q)[FormatCSV])).ReadAll()
		require.NoError(t, err)
		at := map[string]int{}
		for i, h := range lines[0] {
			at[h] = i
		}
		sums := map[string]decimal.Decimal{}
		for _, l := range lines[1:] {
			for _, column := range []string{"amount", "refunds", "net", "billable", "records", "late", "corrections", "adjustments"} {
				if v := l[at[column]]; v != "" {
					k := l[at["section"]] + " " + column
					sums[k] = sums[k].Add(decimal.RequireFromString(v))
				}
			}
		}
		sums["account_total records"] = sums["account_total records"].Sub(sums["adjustment records"]) // late ones are in no other list
		for _, column := range []string{"amount", "refunds", "net", "records"} {
			for _, section := range []string{"channel", "country", "campaign", "day", "rate"} {
				require.Equal(t, sums["account_total "+column].String(), sums[section+" "+column].String(), "%s %s", section, column)
			}
		}
		if q.Audience == "" {
			require.Equal(t, sums["account_total billable"].String(), sums["total billable"].String())
			for _, column := range []string{"amount", "refunds", "net", "records"} {
				for _, section := range []string{"channel", "country", "campaign", "day"} {
					require.Equal(t, sums[section+" "+column].String(), sums["total_"+section+" "+column].String(), "%s %s", section, column)
				}
			}
		}
		for _, column := range []string{"late", "corrections", "adjustments"} {
			require.NotZero(t, sums["adjustment "+column].Sign(), column)
			require.Equal(t, sums["account_total "+column].String(), sums["adjustment "+column].String(), column)
		}
	}
}

func TestXLSXIsTypedAndAddsUp(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	st, _, err := w.reporter().Build(t.Context(), Request{Parent: "acme", Period: "2026-11"})
	require.NoError(t, err)
	p, ok := st.(*ParentStatement)
	require.True(t, ok)
	f, err := excelize.OpenReader(bytes.NewReader(files(t, w, Request{Parent: "acme"})[FormatXLSX]))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	require.Equal(t, []string{"Bill", "Overview", "Accounts", "Wallet", "acme own", "acme-franchise", "acme-marketing", "acme-support"}, f.GetSheetList())
	for i, sheet := range f.GetSheetList()[4:] {
		rows, err := f.GetRows(sheet, excelize.Options{RawCellValue: true})
		require.NoError(t, err)
		in, sum := "", decimal.Zero
		checked := 0
		for n, row := range rows {
			switch {
			case len(row) == 1:
				in, sum = row[0], decimal.Zero
			case len(row) > 1 && (in == "By channel" || in == "By destination country" || in == "By campaign" || in == "By day" || in == "By price"):
				v, err := decimal.NewFromString(row[len(row)-1]) // net
				if err != nil {
					continue // the header
				}
				cell, err := excelize.CoordinatesToCellName(len(row), n+1)
				require.NoError(t, err)
				kind, err := f.GetCellType(sheet, cell)
				require.NoError(t, err)
				require.Contains(t, []excelize.CellType{excelize.CellTypeNumber, excelize.CellTypeUnset}, kind, "%s %s", sheet, cell)
				if row[0] == "Total" {
					require.Equal(t, sum.String(), v.String(), "%s: %s", sheet, in)
					require.Equal(t, p.Accounts[i].Totals.Net.Sum.Decimal().String(), v.String())
					checked++
					in = ""
				}
				sum = sum.Add(v)
			}
		}
		require.Equal(t, 5, checked, sheet)
	}
	props, err := f.GetDocProps()
	require.NoError(t, err)
	require.Equal(t, "2000-01-01T00:00:00Z", props.Created)
}

// sameText compares without printing whole reports.
func sameText(t *testing.T, want, got []byte) {
	t.Helper()
	if bytes.Equal(want, got) {
		return
	}
	i := 0
	for i < min(len(want), len(got)) && want[i] == got[i] {
		i++
	}
	around := func(b []byte) string { return string(b[max(0, i-80):min(len(b), i+80)]) }
	require.Failf(t, "reports differ", "at byte %d\nwant …%s…\ngot  …%s…", i, around(want), around(got))
}

func TestDaysAreOfTheAccountsOwnZone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	late := time.Date(2026, 11, 9, 23, 30, 0, 0, time.UTC) // the 10th in Rome, the 9th in London
	w.row("acme-franchise", late, nil)
	w.row("acme-support", late, nil)
	w.store(late)
	st, _, err := w.reporter().Build(t.Context(), Request{Audience: "acme-franchise", Period: "2026-11"})
	require.NoError(t, err)
	a, ok := st.(*ActivityStatement)
	require.True(t, ok)
	require.Equal(t, []ActivityLine{{Day: "2026-11-09", Channel: "sms", Direction: "outbound", Outcome: "sent", Messages: 1}}, a.Activity)
	require.Equal(t, "Europe/London", a.Timezone)
	st, _, err = w.reporter().Build(t.Context(), Request{Parent: "acme", Period: "2026-11-10"})
	require.NoError(t, err)
	p, ok := st.(*ParentStatement)
	require.True(t, ok)
	require.EqualValues(t, 2, p.Totals.Records, "a day of the parent's")
	require.Nil(t, p.Wallet.Opening)
	st, _, err = w.reporter().Build(t.Context(), Request{Parent: "acme", Period: "2026-11-02..2026-11-09"})
	require.NoError(t, err)
	p, ok = st.(*ParentStatement)
	require.True(t, ok)
	require.Zero(t, p.Totals.Records)
	require.Equal(t, "acme-2026-11-02_2026-11-09-statement", p.baseName())
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	good := Request{Parent: "acme", Period: "2026-11", Formats: []string{"csv"}, Out: t.TempDir()}
	var unknown []string
	for _, c := range []struct {
		change func(q *Request)
		want   error
	}{
		{func(q *Request) { q.Period = "november" }, ErrPeriod},
		{func(q *Request) { q.Period = "2026-13" }, ErrPeriod},
		{func(q *Request) { q.Period = "" }, ErrPeriod},
		{func(q *Request) { q.Period = "2026-11-31" }, ErrPeriod},
		{func(q *Request) { q.Period = "2026-12" }, ErrFuture},
		{func(q *Request) { q.Formats = []string{"docx"} }, ErrFormat},
		{func(q *Request) { q.Formats = nil }, ErrFormat},
		{func(q *Request) { q.Out = filepath.Join(file, "sub") }, ErrFolder},
		{func(q *Request) { q.Parent = "nobody" }, metering.ErrUnknownAccount},
		{func(q *Request) { q.Parent = "acme-support" }, metering.ErrUnknownAccount},
		{func(q *Request) { q.Audience = "globex-shop" }, metering.ErrUnknownAccount},
		{func(q *Request) { q.Audience = "globex" }, metering.ErrUnknownAccount},
		{func(q *Request) { q.Audience = "no such" }, metering.ErrUnknownAccount},
		{func(q *Request) { q.Parent, q.Audience = "", "" }, metering.ErrUnknownAccount},
	} {
		q := good
		c.change(&q)
		_, err := w.reporter().Run(t.Context(), q)
		require.ErrorIs(t, err, c.want, "%+v", q)
		if errors.Is(c.want, metering.ErrUnknownAccount) {
			unknown = append(unknown, err.Error())
		}
	}
	for _, u := range unknown {
		require.Equal(t, unknown[0], u, "all unknown accounts answer alike")
	}
	list, err := os.ReadDir(good.Out)
	require.NoError(t, err)
	for _, f := range list {
		require.False(t, strings.HasPrefix(f.Name(), "."), "nothing half done is left")
	}
}
