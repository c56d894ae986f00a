package reports

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/finance"
)

// words are the sums that docs/finance.md names, of one month.
type words map[string]string

// said is what a month comes to by its rows alone.
func said(rows []ledger.Row, parent, period, currency string) words {
	var records, late uint64
	var amount, fees, refunds, lateSum, corrections metering.Sum
	for i := range rows {
		r := &rows[i]
		if r.ParentID != parent || r.Booked != period || r.Record.Kind == metering.KindStatus {
			continue
		}
		v, isLate := r.Charge.Amount.Sum(), r.Period != period
		switch {
		case r.Record.Kind == metering.KindAdjustment:
			corrections = corrections.Plus(v)
		case r.Record.Kind == metering.KindRefund && isLate:
			lateSum = lateSum.Minus(v)
		case r.Record.Kind == metering.KindRefund:
			refunds = refunds.Plus(v)
		case isLate:
			records, late, lateSum = records+1, late+1, lateSum.Plus(v)
		default:
			records, amount, fees = records+1, amount.Plus(v), fees.Plus(r.Charge.Fee.Sum())
		}
	}
	net, adjustments := amount.Minus(refunds), lateSum.Plus(corrections)
	return words{
		"records": count(records), "late_records": count(late), "amount": amount.Format(currency), "fees": fees.Format(currency), "refunds": refunds.Format(currency),
		"net": net.Format(currency), "late": lateSum.Format(currency), "corrections": corrections.Format(currency),
		"adjustments": adjustments.Format(currency), "billable": net.Plus(adjustments).Format(currency),
	}
}

// anyMonth gives every account messages around the bounds of its months, late ones, whole
// refunds and parts, and corrections.
func (w *world) anyMonth(r *rand.Rand) {
	w.keep = true
	for _, a := range accounts() {
		for range r.IntN(25) {
			at := time.Date(2026, 9, 29, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.Int64N(int64(52 * 24 * time.Hour))))
			m := *w.row(a.ID, at, func(x *ledger.Row) {
				x.Charge.Amount = metering.Micros(r.Int64N(5_000_000_000))
				x.Charge.Fee = metering.Micros(r.Int64N(int64(x.Charge.Amount) + 1))
				x.Record.Country = []string{"IT", "FR", "IN", ""}[r.IntN(4)]
				if x.Period < "2026-11" && r.IntN(2) == 0 {
					x.Booked = "2026-11"
				}
			})
			booked := m.Booked
			if r.IntN(3) == 0 {
				w.refund(&m, at.Add(time.Duration(r.Int64N(int64(20*24*time.Hour)))))
				back := &w.rows[len(w.rows)-1]
				if back.Charge.Amount = m.Charge.Amount - m.Charge.Fee; r.IntN(2) == 0 {
					back.Charge.Amount /= 3
				}
				if back.Booked = max(back.Period, booked); back.Record.OccurredAt.After(now) {
					w.rows = w.rows[:len(w.rows)-1]
				}
			}
			if r.IntN(4) == 0 {
				w.row(a.ID, at, func(x *ledger.Row) {
					x.Record.Kind, x.Record.RefersTo, x.Record.ID = metering.KindAdjustment, m.Record.ID, "fix "+m.Record.ID
					x.Booked, x.Charge = "2026-11", metering.Charge{Amount: metering.Micros(r.Int64N(2_000_000) - 1_000_000), Plan: m.Charge.Plan, Version: 1, Rule: 1}
				})
			}
		}
	}
	w.store(now)
}

// TestEveryOutputSaysTheSameSums: a word is one sum, in the statement's JSON, CSV and
// workbook, in messages, exports, manifests and FOCUS, and in what `period list` reads.
func TestEveryOutputSaysTheSameSums(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.anyMonth(rand.New(rand.NewPCG(seed, 17)))
			dir := t.TempDir()
			export := func(format, name string) ([]map[string]string, *finance.Manifest) {
				path := filepath.Join(dir, name)
				m, err := finance.New(finance.Deps{Ledger: w.ledger, Snapshot: w.snap, Clock: w.clock}).Run(t.Context(),
					finance.Request{From: "2026-11", To: "2026-11", Format: format, Out: path, FOCUS: finance.FOCUSOptions{}})
				require.NoError(t, err)
				b, err := os.ReadFile(path)
				require.NoError(t, err)
				return csvMaps(t, b), m
			}
			lines, manifest := export(finance.FormatCSV, "bill.csv")
			rows, focus := export(finance.FormatFOCUS, "focus.csv")
			for _, parent := range w.snap.Parents {
				currency := w.snap.Accounts[parent].Currency
				want := said(w.kept, parent, "2026-11", currency)
				of := func(key string) func(map[string]string) bool {
					return func(l map[string]string) bool { return l[key] == parent }
				}
				for _, m := range []*finance.Manifest{manifest, focus} {
					require.Equal(t, want, ofManifest(t, m, parent), "manifest")
				}
				for word, v := range want {
					if word != "late_records" {
						same(t, v, column(t, lines, of("parent"), word), "export, %s", word)
					}
				}
				same(t, want["billable"], column(t, rows, of("BillingAccountId"), "EffectiveCost"), "FOCUS")
				require.NoError(t, w.ledger.Months(t.Context(), parent, func(m *ledger.Month) error {
					if m.Period == "2026-11" {
						same(t, want["records"], decimal.NewFromUint64(m.Records), "period list")
						same(t, want["amount"], m.Amount.Decimal(), "period list")
						same(t, want["refunds"], m.Refunds.Decimal(), "period list")
						same(t, want["adjustments"], m.Adjustments.Decimal(), "period list")
						same(t, want["billable"], m.Billable().Decimal(), "period list")
					}
					return nil
				}))
				w.statementSays(t, parent, want)
				w.usageSays(t, parent)
			}
		})
	}
}

// statementSays checks a parent's statement in each format, and its messages.
func (w *world) statementSays(t *testing.T, parent string, want words) {
	t.Helper()
	got := files(t, w, Request{Parent: parent})
	var st struct{ Totals map[string]any }
	require.NoError(t, json.Unmarshal(got[FormatJSON], &st))
	for word, v := range want {
		require.Equal(t, v, fmt.Sprint(st.Totals[word]), "%s of the JSON's totals: %v", word, st.Totals)
	}
	table, err := csv.NewReader(bytes.NewReader(got[FormatCSV])).ReadAll()
	require.NoError(t, err)
	total := table[slices.IndexFunc(table, func(l []string) bool { return l[0] == "total" })]
	for word, v := range want {
		if i := slices.Index(table[0], word); i >= 0 {
			require.Equal(t, v, total[i], "%s of the CSV's total", word)
		}
	}
	for word, v := range bookTotal(t, got[FormatXLSX]) {
		same(t, want[word], v, "workbook, %s", word)
	}
	lines := csvMaps(t, files(t, w, Request{Parent: parent, Kind: KindMessages})[FormatCSV])
	all := func(map[string]string) bool { return true }
	for word, name := range map[string]string{"amount": "amount", "fees": "fee_non_refundable", "refunds": "refunded", "late": "late", "corrections": "correction", "billable": "amount_billable"} {
		same(t, want[word], column(t, lines, all, name), "messages, %s", word)
	}
}

// usageSays checks what `usage` reads of a month: it goes by when messages occurred, so its
// sums are those of the same words without a look at bills.
func (w *world) usageSays(t *testing.T, parent string) {
	t.Helper()
	month, err := w.snap.Accounts[parent].Calendar.Named("2026-11")
	require.NoError(t, err)
	var want, got ledger.UsageLine
	for i := range w.kept {
		r := &w.kept[i]
		if at := r.Record.OccurredAt; r.ParentID != parent || at.Before(month.Start) || !at.Before(month.End) {
			continue
		}
		switch v := r.Charge.Amount.Sum(); r.Record.Kind {
		case metering.KindUsage:
			want.Records++
			want.Amount, want.Fees = want.Amount.Plus(v), want.Fees.Plus(r.Charge.Fee.Sum())
		case metering.KindRefund:
			want.Refunds = want.Refunds.Plus(v)
		case metering.KindAdjustment:
			want.Adjustments = want.Adjustments.Plus(v)
		case metering.KindStatus:
		}
	}
	require.NoError(t, w.ledger.Usage(t.Context(), ledger.UsageQuery{Parent: parent, From: month.Start, To: month.End}, func(u *ledger.UsageLine) error {
		got.Add(u)
		return nil
	}))
	require.Equal(t, []any{want.Records, want.Amount, want.Fees, want.Refunds, want.Adjustments},
		[]any{got.Records, got.Amount, got.Fees, got.Refunds, got.Adjustments}, "usage of %s", parent)
}

// bookTotal reads the total of a workbook's accounts.
func bookTotal(t *testing.T, b []byte) map[string]decimal.Decimal {
	t.Helper()
	f, err := excelize.OpenReader(bytes.NewReader(b))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	rows, err := f.GetRows("Accounts", excelize.Options{RawCellValue: true})
	require.NoError(t, err)
	names := map[string]string{"Messages": "records", "Amount": "amount", "Refunded": "refunds", "Late and corrections": "adjustments"}
	out := map[string]decimal.Decimal{}
	var header []string
	for _, row := range rows {
		switch {
		case len(row) > 3 && row[0] == "Account":
			header = row
		case len(header) > 0 && len(row) > 3 && row[0] == "Total":
			for i, v := range row {
				word, known := names[header[i]]
				if strings.HasPrefix(header[i], "Amount ") {
					word, known = "billable", true
				}
				if known {
					out[word] = decimal.RequireFromString(v)
				}
			}
			require.Len(t, out, 5)
			return out
		}
	}
	require.Fail(t, "no accounts' total in the workbook")
	return nil
}

func ofManifest(t *testing.T, m *finance.Manifest, parent string) words {
	t.Helper()
	i := slices.IndexFunc(m.Months, func(s finance.MonthSum) bool { return s.Parent == parent })
	require.GreaterOrEqual(t, i, 0)
	s := &m.Months[i]
	return words{
		"records": count(s.Records), "late_records": count(s.LateRecords), "amount": s.Amount, "fees": s.Fees, "refunds": s.Refunds, "net": s.Net,
		"late": s.Late, "corrections": s.Corrections, "adjustments": s.Adjustments, "billable": s.Billable,
	}
}

// column sums one of those lines that are meant.
func column(t *testing.T, lines []map[string]string, of func(map[string]string) bool, name string) decimal.Decimal {
	t.Helper()
	var sum decimal.Decimal
	for _, l := range lines {
		if of(l) {
			v, err := decimal.NewFromString(l[name])
			require.NoError(t, err, "%s of %v", name, l)
			sum = sum.Add(v)
		}
	}
	return sum
}

// same compares a figure as it is said with a sum.
func same(t *testing.T, want string, got decimal.Decimal, what string, args ...any) {
	t.Helper()
	require.Equal(t, decimal.RequireFromString(want).String(), got.String(), append([]any{what}, args...)...)
}
