package reports

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
)

// TestWhyABillHasCorrections: the parent reads each re-rating's reference and reason, and
// what they come to is the bill's corrections; nobody else does.
func TestWhyABillHasCorrections(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	for _, parent := range []string{"acme", "globex"} {
		p := built[*ParentStatement](t, w, Request{Parent: parent, Period: "2026-11"})
		require.Len(t, p.Reratings, 1)
		x := p.Reratings[0]
		require.Equal(t, p.Totals.Corrections.String(), x.Corrections.String())
		require.Equal(t, Rerating{Ref: rerateOf(parent), Reason: canaryNote, Period: "2026-10", Accounts: 1, Messages: 1, Corrections: x.Corrections}, x)
	}
	require.Empty(t, built[*ParentStatement](t, w, Request{Parent: "acme", Period: "2026-11-01..2026-11-30"}).Reratings, "days are no bill")

	got, _ := detailOf(t, w, Request{Parent: "acme"})
	told := 0
	for _, l := range csvMaps(t, got["acme-2026-11-messages.csv"]) {
		require.Equal(t, micro(l["correction"]) != 0, l["correction_ref"] != "", l)
		if l["correction_ref"] != "" {
			told++
			require.Equal(t, []string{rerateOf("acme"), canaryNote}, []string{l["correction_ref"], l["correction_reason"]})
		}
	}
	require.Equal(t, 1, told)
	for name, b := range own(t, w) {
		require.NotContains(t, string(b), rerateOf("acme"), name)
		require.NotContains(t, string(b), canaryNote, name)
	}
}

// built is a statement of the kind that a request's audience reads.
func built[S Statement](t *testing.T, w *world, q Request) S {
	t.Helper()
	st, _, err := w.reporter().Build(t.Context(), q)
	require.NoError(t, err)
	s, ok := st.(S)
	require.True(t, ok)
	return s
}

// own are an enterprise sub-account's statement and messages, as text.
func own(t *testing.T, w *world) map[string][]byte {
	t.Helper()
	got, _ := detailOf(t, w, Request{Parent: "acme", Audience: "acme-marketing"})
	st := built[*EnterpriseStatement](t, w, Request{Parent: "acme", Audience: "acme-marketing", Period: "2026-11"})
	require.NotZero(t, st.Totals.Corrections.Sum.Sign(), "there is something to tell")
	b, err := json.Marshal(st)
	require.NoError(t, err)
	out := map[string][]byte{"statement": b}
	for name, b := range got {
		if !strings.HasSuffix(name, ".xlsx") && !strings.HasSuffix(name, ".parquet") {
			out[name] = b
		}
	}
	return out
}

// TestWhatMovedInAWallet: the sums of a purse are its movements', and each movement names
// the other side.
func TestWhatMovedInAWallet(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	w.transfer(metering.Transfer{
		Ref: "gift", Kind: metering.TransferAdjust, ParentID: "acme", AccountID: "acme", Amount: -1_250_000, Currency: "EUR", Actor: "operator",
		Reason: "typed wrong", Invoiced: true, At: now,
	}, "2026-11")
	p := built[*ParentStatement](t, w, Request{Parent: "acme", Period: "2026-11"}).Wallet
	require.Equal(t, []string{"80.00", "120.50", "-1.25", "-12.00", "107.25"},
		[]string{p.Opening.String(), p.PaidIn.String(), p.Adjusted.String(), p.Allocated.String(), p.Moved.String()})
	require.Equal(t, p.Opening.Sum.Plus(p.Moved.Sum).Minus(p.Charged.Sum), p.Closing.Sum)
	other := map[string]string{}
	for _, m := range p.Movements {
		require.Equal(t, "wallet", m.Purse)
		require.Equal(t, m.Ref == "gift", m.Invoiced)
		other[m.Kind] = m.Other
	}
	require.Equal(t, map[string]string{"topup": "", "allocate": "acme-marketing", "adjust": ""}, other)
}

// TestCSVForExcel: the mark stands in front of the same file, and of CSV only.
func TestCSVForExcel(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	for _, q := range []Request{{Parent: "acme"}, {Parent: "acme", Kind: KindMessages}, {Audience: "globex-shop"}} {
		q.Formats = []string{FormatCSV, FormatJSON}
		plain := files(t, w, q)
		q.BOM = true
		for format, b := range files(t, w, q) {
			want := plain[format]
			if format == FormatCSV {
				want = append([]byte("\xEF\xBB\xBF"), want...)
			}
			require.Equal(t, string(want), string(b), format)
		}
	}
}

// TestWalletAndBudgetsPayTheBill: what was drawn from all purses is what the bill comes to.
func TestWalletAndBudgetsPayTheBill(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	p := built[*ParentStatement](t, w, Request{Parent: "acme", Period: "2026-11"})
	table := p.purseTable()
	together := map[string]metering.Micros{}
	for _, r := range table.Rows {
		require.Equal(t, micro(r.Cells[1])+micro(r.Cells[2]), micro(r.Cells[3]), r.Cells)
		together[r.Cells[0]] = micro(r.Cells[3])
	}
	require.Equal(t, -p.Totals.Billable.micros(), together["Drawn"])
	require.Zero(t, together["Allocated, less what came back"])
	require.Equal(t, together["Opening balance"]+together["Paid in"]+together["Adjusted"]+together["Drawn"], together["Closing balance"])
	require.NotZero(t, micro(table.Rows[4].Cells[2]), "budgets paid a part")
}
