package reports

import (
	"bytes"
	"encoding/csv"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/reports/render"
	"github.com/meterd/meterd/reports/reportstest"
)

func TestAWalletStatementAddsUp(t *testing.T) {
	t.Parallel()
	w, rows := seeded(t)
	for _, parent := range []string{"acme", canaryParent} {
		st, audience, err := w.reporter().Build(t.Context(), Request{Parent: parent, Period: "2026-11", Kind: KindWallet})
		require.NoError(t, err)
		require.Equal(t, AudienceParent, audience)
		s, ok := st.(*WalletStatement)
		require.True(t, ok)
		require.Len(t, s.Purses, 2)
		sums := w.sums(parent)
		var charged metering.Micros
		for _, p := range s.Purses {
			running := p.Opening.micros()
			var moved metering.Micros
			for _, l := range p.Lines {
				running += l.Amount.micros()
				require.Equal(t, running, l.Balance.micros())
				if l.At != nil {
					moved += l.Amount.micros()
				} else {
					charged -= l.Amount.micros()
				}
			}
			require.Equal(t, running, p.Closing.micros(), "opening and lines are the closing balance")
			require.Equal(t, moved, p.Moved.micros())
			require.Equal(t, p.Opening.micros()+p.Moved.micros()-p.Charged.micros(), p.Closing.micros())
			require.Equal(t, sums.Balance[p.Account], p.Closing.micros(), "the projection's way to the same balance")
		}
		var want metering.Micros
		for _, id := range append([]string{parent}, w.snap.Subs[parent]...) {
			want += expect(rows, id, "2026-11", time.UTC).purseNet
		}
		require.Equal(t, want, charged)
	}
}

// TestAParentThatPaysAfterwardsNow keeps what its purses held and moved while it
// paid ahead; one that never did has none.
func TestAParentThatPaysAfterwardsNow(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	of := func(parent string) *ParentStatement {
		st, _, err := w.reporter().Build(t.Context(), Request{Parent: parent, Period: "2026-11"})
		require.NoError(t, err)
		p, ok := st.(*ParentStatement)
		require.True(t, ok)
		return p
	}
	book := func() *WalletStatement {
		st, _, err := w.reporter().Build(t.Context(), Request{Parent: "acme", Period: "2026-11", Kind: KindWallet})
		require.NoError(t, err)
		s, ok := st.(*WalletStatement)
		require.True(t, ok)
		return s
	}
	before, books := of("acme"), book()
	require.NotNil(t, before.Wallet)
	list := accounts()
	for _, a := range list[:4] {
		a.Mode, a.Source = metering.Postpaid, metering.SourceCredit
	}
	list[0].CreditLimit = limit("99")
	w.apply(2, now, list, plans())
	after := of("acme")
	require.Equal(t, before.Wallet, after.Wallet)
	require.Equal(t, "postpaid", after.Funding)
	require.NotNil(t, after.Ceiling)
	for i := range before.Accounts {
		if before.Accounts[i].Budget != nil {
			require.Equal(t, before.Accounts[i].Budget, after.Accounts[i].Budget)
		}
	}
	require.Equal(t, books, book())
	page := after.document()
	require.True(t, slices.ContainsFunc(page.Sections, func(s render.Section) bool { return s.Title == "Wallet" }))
	require.Nil(t, of("globex").Wallet)
}

func TestAWalletStatementInEveryFormat(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	got := files(t, w, Request{Parent: "acme", Kind: KindWallet})
	lines, err := csv.NewReader(bytes.NewReader(got[FormatCSV])).ReadAll()
	require.NoError(t, err)
	running := map[string]metering.Micros{}
	for _, l := range lines[1:] {
		k := l[0] + " " + l[1]
		switch l[4] {
		case "opening":
			running[k] = micro(l[10])
		case "closing":
			require.Equal(t, running[k], micro(l[10]))
		default:
			running[k] += micro(l[9])
			require.Equal(t, running[k], micro(l[10]), "%v", l)
		}
	}
	require.Len(t, running, 2)
	text := reportstest.Text(t, got[FormatPDF])
	require.Contains(t, text, "Late and corrections of October 2026")
	require.Contains(t, string(got[FormatJSON]), `"kind": "adjustments"`)
}

func TestWhoHasNoWalletStatement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		q    Request
		want error
	}{
		{Request{Parent: "globex"}, ErrNoWallet},
		{Request{Parent: "acme", Audience: "acme-marketing"}, metering.ErrUnknownAccount},
		{Request{Audience: "globex-shop"}, metering.ErrUnknownAccount},
		{Request{Parent: "acme", Redacted: true}, ErrNoWallet},
		{Request{Parent: "acme", Period: "2026-11-02"}, ErrPeriod},
		{Request{Parent: "acme", Formats: []string{FormatParquet}}, ErrFormat},
		{Request{Parent: "acme", Kind: "purse"}, ErrKind},
		{Request{Parent: "acme", Kind: KindMessages, Formats: []string{FormatPDF}}, ErrFormat},
	} {
		q := c.q
		if q.Kind == "" {
			q.Kind = KindWallet
		}
		if q.Period == "" {
			q.Period = "2026-11"
		}
		if q.Formats == nil {
			q.Formats = []string{FormatCSV}
		}
		q.Out = t.TempDir()
		_, err := w.reporter().Run(t.Context(), q)
		require.ErrorIs(t, err, c.want, "%+v", q)
	}
}
