package reports

import (
	"bytes"
	"encoding/csv"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/reports/reportstest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// unpacked has all that can be read out of a file: the parts of a workbook, the
// pages, outline and properties of a PDF.
func unpacked(t *testing.T, format string, b []byte) string {
	t.Helper()
	if format == FormatParquet {
		return parquetText(t, b)
	}
	return reportstest.Text(t, b)
}

// allRuns makes a request in every format and returns all text, with the names.
func allRuns(t *testing.T, w *world, q Request) string {
	t.Helper()
	q.Out, q.Formats, q.Period = t.TempDir(), FormatsOf(q.Kind), "2026-11"
	list, err := w.reporter().Run(t.Context(), q)
	require.NoError(t, err)
	var all strings.Builder
	for _, f := range list {
		b, err := os.ReadFile(f.Path)
		require.NoError(t, err)
		all.WriteString(filepath.Base(f.Path) + "\n" + f.Audience + "\n" + unpacked(t, f.Format, b))
	}
	return all.String()
}

// lacks fails with what stands around c in the text.
func lacks(t *testing.T, text, c string) {
	t.Helper()
	if i := strings.Index(text, c); i >= 0 {
		require.Failf(t, "found what must not be there", "%q in …%s…", c, text[max(0, i-60):min(len(text), i+60)])
	}
}

func TestNoCanaryReachesAReseller(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	text := allRuns(t, w, Request{Parent: canaryParent, Audience: "lone-shop"})
	require.Contains(t, text, "lone-shop-2026-11-activity.csv")
	require.Contains(t, text, "lone-shop-2026-11-activity.pdf")
	detail := allRuns(t, w, Request{Parent: canaryParent, Audience: "lone-shop", Kind: KindMessages})
	require.Contains(t, detail, "lone-shop-2026-11-messages-activity.parquet")
	require.Contains(t, detail, " > not_allowed 2026-11-")
	text += detail
	require.Contains(t, text, metering.StatusNotAllowed)
	require.Contains(t, text, "suspended")
	for _, c := range []string{
		canaryPlan, canarySibling, canaryParent, canaryTag, canaryNote, canaryRef, canaryIssuer, canaryPrice, canaryStatus, "no-credits", "31337", "31 337", "31\u202f337",
		"7654321", "JPY", "EUR", "USD", "¥", "budget", "wallet", "manual", "monthly_limit", "no_price", "segment", "12000000", "80000000",
	} {
		lacks(t, strings.ToLower(text), strings.ToLower(c))
	}
	// The parent's own shows that the canaries were there to be found.
	full := allRuns(t, w, Request{Parent: canaryParent}) + allRuns(t, w, Request{Parent: canaryParent, Kind: KindWallet})
	details := allRuns(t, w, Request{Parent: canaryParent, Kind: KindMessages})
	for _, c := range []string{canaryPlan, canarySibling, canaryTag, canaryPrice, canaryStatus, "31337", "JPY"} {
		require.GreaterOrEqual(t, strings.Count(details, c), 4, "%s in each format", c)
	}
	for _, c := range []string{canaryPlan, canarySibling, canaryParent, canaryNote, canaryRef, canaryIssuer, canaryPrice, "7654321.5", "JPY"} {
		require.Contains(t, full, c)
	}
	// No errors of its requests either.
	for _, q := range []Request{
		{Audience: "lone-shop", Period: "2026-11", Kind: KindWallet, Formats: []string{"csv"}}, {Audience: "lone-shop", Period: "x"}, {Audience: "lone-shop", Period: "2027-01"}, {Audience: "lone-shop", Period: "2026-11", Formats: []string{"x"}},
	} {
		_, err := w.reporter().Run(t.Context(), q)
		require.Error(t, err)
		require.NotContains(t, err.Error(), canaryParent)
	}
	// An enterprise sub-account that asks for the redacted form gets it; a franchise of an enterprise gets no other.
	for _, q := range []Request{{Parent: "acme", Audience: "acme-support", Redacted: true}, {Audience: "acme-franchise"}} {
		text := allRuns(t, w, q)
		q.Kind = KindMessages
		text += allRuns(t, w, q)
		for _, c := range []string{"EUR", "standard", "autumn", "campaign", "not_allowed_", "acme-marketing", "Acme Retail", canaryNote, canaryIssuer, "500.00"} {
			lacks(t, text, c)
		}
	}
}

func TestAnEnterpriseSeesNothingOfItsParentOrSiblings(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	for _, id := range []string{"acme-support", "acme-marketing"} {
		text := allRuns(t, w, Request{Parent: "acme", Audience: id}) + allRuns(t, w, Request{Parent: "acme", Audience: id, Kind: KindMessages})
		for _, c := range []string{"Acme Retail", "acme-franchise", "wallet", "162.211292", canaryNote, canaryRef, canaryIssuer, "operator"} {
			lacks(t, text, c)
		}
		for _, sibling := range []string{"acme-support", "acme-marketing"} {
			if sibling != id {
				lacks(t, text, sibling)
			}
		}
	}
}

func TestTheOverviewHasNoMoney(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	for _, parent := range []string{"globex", canaryParent, "acme"} {
		text := allRuns(t, w, Request{Parent: parent, Redacted: true}) + allRuns(t, w, Request{Parent: parent, Redacted: true, Kind: KindMessages})
		for _, c := range []string{
			canaryPlan, canaryTag, canaryNote, canaryRef, canaryIssuer, canaryPrice, canaryStatus, "31337", "7654321", "10000.00", "10 000", "250.00", "standard",
			" eur", "eur,", "usd", "jpy", "amount", "price", "balance", "budget", "wallet", "credit", "no_price", "_exhausted",
		} {
			lacks(t, strings.ToLower(text), strings.ToLower(c))
		}
		for _, id := range w.snap.Subs[parent] {
			require.Contains(t, text, id)
		}
	}
}

func TestHTMLAsksForNothing(t *testing.T) {
	t.Parallel()
	w, _ := seeded(t)
	w.apply(2, now, []*metering.Account{func() *metering.Account {
		a := *w.snap.Accounts["acme"]
		a.Name = `<script>alert("x")</script>`
		return &a
	}()}, nil)
	for _, q := range []Request{{Parent: "acme"}, {Parent: "globex", Redacted: true}, {Audience: "globex-shop"}, {Parent: "acme", Audience: "acme-support"}} {
		page := string(files(t, w, q)[FormatHTML])
		for _, c := range []string{"<script", "http:", "https:", "//", "src=", "url(", "@import", "<link", "<iframe", "<img", "ZgotmplZ", "javascript:"} {
			lacks(t, page, c)
		}
		for _, ref := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			require.True(t, strings.HasPrefix(ref[1], "#"), ref[1])
		}
		require.Equal(t, strings.Count(page, "<table>"), strings.Count(page, "<caption>"))
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.small()
	for _, c := range []struct {
		name string
		q    Request
	}{
		{"parent", Request{Parent: "acme"}},
		{"enterprise", Request{Parent: "acme", Audience: "acme-marketing"}},
		{"activity", Request{Audience: "acme-franchise"}},
		{"overview", Request{Parent: "acme", Redacted: true}},
	} {
		got := files(t, w, c.q)
		for _, format := range []string{FormatCSV, FormatJSON} {
			path := filepath.Join("testdata", c.name+"."+format)
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o750))
				require.NoError(t, os.WriteFile(path, got[format], 0o600))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			sameText(t, want, got[format])
		}
	}
}

func TestCSVIsSafeToOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := *w.snap.Accounts["acme-support"]
	a.Name = `=HYPERLINK("http://evil.example","click"), "quoted"`
	w.apply(2, now, []*metering.Account{&a}, nil)
	text := files(t, w, Request{Parent: "acme", Audience: "acme-support"})[FormatCSV]
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	require.NoError(t, err)
	found := false
	for _, l := range lines {
		for _, cell := range l {
			found = found || cell == "'"+a.Name
			require.NotRegexp(t, `^[=+@\t\r]`, cell)
		}
	}
	require.True(t, found)
	require.Contains(t, string(text), "\r\n")
}
