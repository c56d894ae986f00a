package reports

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/reports/render"
	"github.com/meterd/meterd/reports/reportstest"
)

// named gives some accounts names in other scripts.
func (w *world) named(list map[string]string) {
	w.tb.Helper()
	var changed []*metering.Account
	for _, id := range []string{"acme", "acme-marketing", "acme-support", "globex", "globex-shop"} {
		if name := list[id]; name != "" {
			a := *w.snap.Accounts[id]
			a.Name = name
			changed = append(changed, &a)
		}
	}
	w.apply(2, now, changed, nil)
}

// inPDF is how reportstest.Text finds a text in a page's drawing.
func inPDF(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		b.WriteString(strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`, "\x00", "").Replace(string([]byte{byte(u >> 8), byte(u)})))
	}
	return b.String()
}

func TestNamesStandBesideIDs(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	w.named(map[string]string{"acme": "חנות", "acme-marketing": "株式会社東京", "acme-support": "हिन्दी क्षत्रिय", "globex-shop": "متجر"})
	list := files(t, w, Request{Parent: "acme"})
	page := string(list[FormatHTML])
	for _, part := range []string{
		`<h1 dir="auto">חנות</h1>`, `<span dir="auto">株式会社東京</span> · acme-marketing</a>`, `<td dir="auto">हिन्दी क्षत्रिय</td>`,
		`<span dir="auto">株式会社東京</span><small> · acme-marketing</small>`, `<span dir="auto">` + render.Isolated("חנות") + ` — own traffic</span> · acme</a>`,
	} {
		require.Contains(t, page, part)
	}
	text := reportstest.Text(t, list[FormatPDF])
	for _, name := range []string{"株式会社東京", "हिन्दी क्षत्रिय", "תונח"} {
		require.Contains(t, text, inPDF(name), "run `deploy/setup.sh --tests` if its font is missing")
	}
	require.NotContains(t, text, inPDF("□"))
	require.NotContains(t, text, "letters that no font")
	require.True(t, bytes.Equal(list[FormatPDF], files(t, w, Request{Parent: "acme"})[FormatPDF]), "the same again")

	overview := string(files(t, w, Request{Parent: "globex", Redacted: true})[FormatHTML])
	require.Contains(t, overview, `<td dir="auto">متجر</td>`)
}

// eachKind is a statement of each kind.
func (w *world) eachKind(t *testing.T) (list []Statement) {
	t.Helper()
	for _, q := range []Request{
		{Parent: "acme"},
		{Parent: "acme", Audience: "acme-marketing"},
		{Parent: "acme", Kind: KindWallet},
		{Audience: "globex-shop"},
		{Parent: "globex", Redacted: true},
	} {
		q.Period = "2026-11"
		st, _, err := w.reporter().Build(t.Context(), q)
		require.NoError(t, err)
		list = append(list, st)
	}
	return list
}

// TestIDsStandForNamesWithoutFonts in a PDF, which says so; other formats have the names.
func TestIDsStandForNamesWithoutFonts(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	w.named(map[string]string{"acme-marketing": "株式会社東京", "globex-shop": "น้ำตก"})
	lacks := func(name string) bool { return strings.ContainsAny(name, "株น") }
	for _, st := range w.eachKind(t) {
		var before, without, after bytes.Buffer
		require.NoError(t, render.HTML(&before, st.document()))
		require.NoError(t, render.HTML(&without, printed(st, lacks)))
		require.NoError(t, render.HTML(&after, st.document()))
		require.Equal(t, before.String(), after.String(), "what comes next has its names")
		require.Regexp(t, "株|น้ำ", before.String())
		require.NotRegexp(t, "株|น้ำ", without.String())
		require.NotContains(t, before.String(), "deploy/setup.sh --fonts")
		require.Equal(t, 1, strings.Count(without.String(), "run deploy/setup.sh --fonts"))
	}
	st, _, err := w.reporter().Build(t.Context(), Request{Parent: "globex", Period: "2026-11"})
	require.NoError(t, err)
	require.NotNil(t, st)
	var all bytes.Buffer
	require.NoError(t, render.HTML(&all, printed(st, func(string) bool { return false })))
	require.NotContains(t, all.String(), "--fonts")
}

// TestEveryStatementTellsItsNames: one that is added must too.
func TestEveryStatementTellsItsNames(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	for _, st := range w.eachKind(t) {
		var page bytes.Buffer
		require.NoError(t, render.HTML(&page, printed(st, func(string) bool { return true })))
		for _, a := range accounts() {
			require.NotContains(t, page.String(), a.Name, "%T", st)
		}
	}
}

func TestLabel(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Łódź · shop", label("Łódź", "shop"))
	require.Equal(t, "shop", label("shop", "shop"))
	require.Equal(t, "shop", label("", "shop"))
	require.Equal(t, render.Isolated("חנות")+" · shop", label("חנות", "shop"))
}
