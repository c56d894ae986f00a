package reports

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// detailOf makes a detail and returns its files by name.
func detailOf(t *testing.T, w *world, q Request) (map[string][]byte, []File) {
	t.Helper()
	q.Kind, q.Out = KindMessages, t.TempDir()
	if q.Period == "" {
		q.Period = "2026-11"
	}
	if q.Formats == nil {
		q.Formats = FormatsOf(KindMessages)
	}
	list, err := w.reporter().Run(t.Context(), q)
	require.NoError(t, err)
	out := map[string][]byte{}
	for _, f := range list {
		b, err := os.ReadFile(f.Path)
		require.NoError(t, err)
		require.EqualValues(t, len(b), f.Bytes)
		out[filepath.Base(f.Path)] = b
	}
	return out, list
}

// csvMaps reads a CSV's lines by their columns' names.
func csvMaps(t *testing.T, b []byte) []map[string]string {
	t.Helper()
	lines, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	require.NoError(t, err)
	out := make([]map[string]string, 0, len(lines))
	for _, l := range lines[1:] {
		m := map[string]string{}
		for i, h := range lines[0] {
			m[h] = l[i]
		}
		out = append(out, m)
	}
	return out
}

func TestTheDetailIsTheStatementLineByLine(t *testing.T) {
	t.Parallel()
	w, rows := seeded(t)
	for _, q := range []Request{{Parent: "acme"}, {Parent: "globex"}, {Parent: canaryParent}, {Parent: "acme", Audience: "acme-marketing"}, {Parent: "acme", Audience: "acme-support"}} {
		var progress []int64
		q.Progress = func(done, _ int64) { progress = append(progress, done) }
		got, _ := detailOf(t, w, q)
		account := q.Audience
		if account == "" {
			account = q.Parent
		}
		lines := csvMaps(t, got[account+"-2026-11-messages.csv"])
		sums, first := map[string]metering.Micros{}, map[string]string{}
		trace := map[string][]string{}
		for _, r := range rows {
			if r.Record.Kind == metering.KindStatus {
				k := r.Record.AccountID + "/" + r.Record.RefersTo
				trace[k] = append(trace[k], r.Record.Status+" "+instant(r.Record.OccurredAt))
			}
		}
		for i, l := range lines {
			k := l["account"] + "/" + l["message_id"]
			require.Empty(t, first[k], "once each")
			first[k] = l["amount_billable"]
			if i > 0 {
				require.Less(t, lines[i-1]["account"]+"\x00"+lines[i-1]["message_id"], l["account"]+"\x00"+l["message_id"], "in the order of accounts and ids")
			}
			sums[l["account"]] += micro(l["amount_billable"])
			require.Equal(t, micro(l["amount"])-micro(l["refunded"])+micro(l["late"])+micro(l["correction"]), micro(l["amount_billable"]))
			if micro(l["correction"]) != 0 && micro(l["amount"]) == 0 && micro(l["late"]) == 0 {
				require.Equal(t, "2026-10", l["period"]) // a correction of a closed month's
				continue
			}
			want := strings.Join(append([]string{"sent " + l["occurred_at"]}, trace[k]...), " > ")
			if l["direction"] == "inbound" {
				want = "received " + l["occurred_at"]
			}
			require.Equal(t, want, l["status_trace"], k)
			require.True(t, strings.HasPrefix(want[strings.LastIndex(want, "> ")+1:], " "+l["status"]) || strings.HasPrefix(want, l["status"]), k)
		}
		st, _, err := w.reporter().Build(t.Context(), Request{Parent: q.Parent, Audience: q.Audience, Period: "2026-11"})
		require.NoError(t, err)
		switch s := st.(type) {
		case *ParentStatement:
			for i := range s.Accounts {
				require.Equal(t, s.Accounts[i].Totals.Billable.micros(), sums[s.Accounts[i].Account])
			}
		case *EnterpriseStatement:
			require.Equal(t, map[string]metering.Micros{account: s.Totals.Billable.micros()}, sums)
		}
		var about MoneyAbout
		var raw map[string]any
		require.NoError(t, json.Unmarshal(got[account+"-2026-11-messages-about.json"], &raw))
		bill := totalsOf(st)
		for k, sum := range map[string]Money{
			"amount": bill.Amount, "refunded": bill.Refunds, "late": bill.Late, "corrections": bill.Corrections, "amount_billable": bill.Billable,
		} {
			require.Equal(t, sum.String(), raw[k], "%s of the lines and of the statement", k)
			delete(raw, k) // Money is only written
		}
		b, err := json.Marshal(raw)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &about))
		require.EqualValues(t, len(lines), about.Lines)
		require.EqualValues(t, len(lines), progress[len(progress)-1])
	}
}

// totalsOf a statement with money.
func totalsOf(st Statement) *Totals {
	switch s := st.(type) {
	case *ParentStatement:
		return &s.Totals
	case *EnterpriseStatement:
		return &s.Totals
	}
	return nil
}

// jsonMaps reads JSON lines; every value as text.
func jsonMaps(t *testing.T, b []byte) []map[string]string {
	t.Helper()
	var out []map[string]string
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	for d.More() {
		var m map[string]any
		require.NoError(t, d.Decode(&m))
		line := map[string]string{}
		for k, v := range m {
			switch v := v.(type) {
			case string:
				line[k] = v
			case json.Number:
				line[k] = v.String()
			case nil:
				line[k] = ""
			default:
				require.Fail(t, "a value", "%s %v", k, v)
			}
		}
		out = append(out, line)
	}
	return out
}

func TestEveryFormatOfADetailHoldsTheSame(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	for _, q := range []Request{{Parent: "acme"}, {Audience: "globex-shop"}, {Parent: "globex", Redacted: true}} {
		got, list := detailOf(t, w, q)
		base := strings.TrimSuffix(filepath.Base(list[0].Path), ".csv")
		want := csvMaps(t, got[base+".csv"])
		require.NotEmpty(t, want)
		sameLines(t, want, jsonMaps(t, got[base+".jsonl"]))
		names := slices.Sorted(maps.Keys(want[0]))
		sameLines(t, want, parquetMaps(t, w, names, got[base+".parquet"]))
		sheets := xlsxMaps(t, got[base+".xlsx"])
		for i := range sheets {
			// xlsxreader cuts a time to whole seconds.
			require.WithinDuration(t, timeOf(t, want[i]["occurred_at"]), timeOf(t, sheets[i]["occurred_at"]), time.Second)
			sheets[i]["occurred_at"] = want[i]["occurred_at"]
		}
		sameLines(t, want, sheets)
		for _, f := range list[:4] {
			require.EqualValues(t, len(want), f.Lines)
		}
	}
}

// sameLines compares, decimals by their value.
func sameLines(t *testing.T, want, got []map[string]string) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		for k, v := range want[i] {
			g := strings.TrimPrefix(got[i][k], "'")
			if v = strings.TrimPrefix(v, "'"); v == g {
				continue
			}
			a, err1 := decimal.NewFromString(v)
			b, err2 := decimal.NewFromString(g)
			if v == "" && err2 == nil && b.IsZero() {
				continue // Parquet has 0 where there is none
			}
			if err1 != nil || err2 != nil || !a.Equal(b) {
				require.Equal(t, v, g, "line %d, %s", i, k)
			}
		}
	}
}

// A status that comes late, twice, from before its message or out of order.
func TestStatusTraces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := time.Date(2026, 11, 3, 9, 0, 0, 0, time.UTC)
	plain := *w.row("acme-support", at, nil)
	none := *w.row("acme-support", at, func(r *ledger.Row) { r.Record.Status = "" })
	old := *w.row("acme-support", at, nil)
	refunded := *w.row("acme-support", at.AddDate(0, -1, 0), nil)
	w.status(&plain, "failed", at.Add(time.Hour))
	w.status(&plain, "delivered", at.Add(time.Hour))
	w.status(&plain, "accepted", at.Add(-time.Minute))
	w.status(&plain, "read", at.Add(time.Minute))
	w.status(&old, "failed", at.Add(-25*time.Hour))
	w.status(&none, "no-credits-0.31337", at.Add(40*24*time.Hour))
	w.status(&refunded, "failed", at)
	w.refund(&refunded, at)
	w.row("acme-support", at, func(r *ledger.Row) { // a status of a message that never came
		*r.Record = metering.Record{ID: "lost", Kind: metering.KindStatus, AccountID: "acme-support", Status: "sent", RefersTo: "nothing", OccurredAt: at}
		r.Charge, r.Currency, r.Purse = metering.Charge{}, "", ""
	})
	w.store(now)
	got, _ := detailOf(t, w, Request{Parent: "acme", Audience: "acme-support", Formats: []string{FormatCSV}})
	lines := csvMaps(t, got["acme-support-2026-11-messages.csv"])
	require.Len(t, lines, 4)
	by := map[string]map[string]string{}
	for _, l := range lines {
		by[l["message_id"]] = l
	}
	l := by[plain.Record.ID]
	require.Equal(t, "accepted 2026-11-03T08:59:00.000Z > sent 2026-11-03T09:00:00.000Z > read 2026-11-03T09:01:00.000Z > failed 2026-11-03T10:00:00.000Z > delivered 2026-11-03T10:00:00.000Z", l["status_trace"])
	require.Equal(t, "delivered", l["status"])
	require.Equal(t, "sent", by[old.Record.ID]["status"])
	require.Equal(t, "sent 2026-11-03T09:00:00.000Z", by[old.Record.ID]["status_trace"])
	require.Equal(t, "no-credits-0.31337", by[none.Record.ID]["status"])
	l = by[refunded.Record.ID]
	require.Equal(t, []string{"2026-11", "0.00", "0.04", "-0.04", "", ""}, []string{l["booked_period"], l["amount"], l["refunded"], l["amount_billable"], l["status"], l["status_trace"]})
	// The same without money.
	got, _ = detailOf(t, w, Request{Parent: "acme", Audience: "acme-support", Redacted: true, Formats: []string{FormatCSV}})
	lines = csvMaps(t, got["acme-support-2026-11-messages-activity.csv"])
	require.Len(t, lines, 3, "a refund is none of its messages")
	for _, l := range lines {
		if l["message_id"] == none.Record.ID {
			require.Equal(t, "not_allowed", l["status"])
			require.Equal(t, "not_allowed 2026-12-13T09:00:00.000Z", l["status_trace"])
		}
	}
}
