package reports

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/reports/render"
)

// large is the statement of a parent with that many accounts, each with traffic on every
// day, in some countries and campaigns.
func large(tb testing.TB, accounts int) *ParentStatement {
	tb.Helper()
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	p := &ParentStatement{
		Kind: "statement", Layout: render.Layout, Account: "initech", Name: "Initech", Module: "enterprise",
		Heading: Heading{
			Timezone: "UTC", Currency: "EUR", Period: "2026-11", Start: start, End: start.AddDate(0, 1, 0), AsOf: start.AddDate(0, 1, 0).Add(time.Hour), Closed: true,
		},
		Funding: string(metering.Postpaid),
	}
	p.Totals.in(p.Currency)
	var usages []*Usage
	for i := range accounts {
		s := Section{
			Account: fmt.Sprintf("initech-%03d", i), Name: fmt.Sprintf("Initech Branch %d", i), Source: string(metering.SourceCredit),
			State: string(metering.StateActive), Usage: largeUsage(tb, i),
		}
		p.Totals.plus(&s.Totals)
		usages = append(usages, &s.Usage)
		p.Accounts = append(p.Accounts, s)
	}
	p.Cuts = cutsOf(usages, p.Currency)
	return p
}

func largeUsage(tb testing.TB, seed int) Usage {
	tb.Helper()

	u := Usage{}
	figures := func(n int) Figures {
		f := Figures{Records: uint64(n)}
		f.in("EUR")
		f.Amount.Sum, f.Fees.Sum = metering.Micros(n*41_237).Sum(), metering.Micros(n*1_000).Sum()
		f.Refunds.Sum = metering.Micros(n * 103).Sum()
		f.Net.Sum = f.Amount.Sum.Minus(f.Refunds.Sum)
		return f
	}
	const all = 3600
	n := all * (1 + seed%7)
	u.Totals.Figures, u.Totals.Booked = figures(n), uint64(n)
	u.Totals.Billable.Sum = u.Totals.Net.Sum
	for _, c := range []string{"email", "rcs", "sms", "voice", "whatsapp"} {
		u.ByChannel = append(u.ByChannel, ChannelLine{
			Channel: c, Direction: metering.Outbound, Unit: "message", Units: decimal.New(int64(n/5), 0), BilledUnits: decimal.New(int64(n/5), 0), Figures: figures(n / 5),
		})
	}
	for _, c := range []string{"AT", "BE", "CH", "DE", "ES", "FR", "GB", "IT", "NL", "US"} {
		u.ByCountry = append(u.ByCountry, CountryLine{Country: c, Figures: figures(n / 10)})
	}
	if seed%2 == 0 {
		for _, c := range []string{"", "autumn", "winter"} {
			u.ByCampaign = append(u.ByCampaign, CampaignLine{Campaign: c, BilledUnits: decimal.New(int64(n/3), 0), Figures: figures(n / 3)})
		}
	}
	for day := range 30 {
		name := fmt.Sprintf("2026-11-%02d", day+1)
		u.ByDay = append(u.ByDay, DayLine{Day: name, Figures: figures(n / 30)})
		for _, c := range []string{"email", "rcs", "sms", "voice", "whatsapp"} {
			for _, o := range []string{"delivered", "failed"} {
				u.Outcomes = append(u.Outcomes, ActivityLine{Day: name, Channel: c, Direction: metering.Outbound, Outcome: o, Messages: uint64(n / 300)})
			}
		}
	}
	for rule := range 5 {
		u.ByRate = append(u.ByRate, RateLine{
			Plan: "standard", Version: 1, Rule: rule + 1, Selects: "sms", Unit: "message", Price: "0.041237", BilledUnits: decimal.New(int64(n/5), 0), Figures: figures(n / 5),
		})
	}
	u.in("EUR")
	return u
}

// rendered is a statement in a format.
func rendered(tb testing.TB, format string, st Statement, detail bool) []byte {
	tb.Helper()
	var out bytes.Buffer
	require.NoError(tb, renderTo(&out, format, &Request{Detail: detail}, st))
	return out.Bytes()
}

// pages of a PDF, by the root of their tree.
func pages(tb testing.TB, pdf []byte) int {
	tb.Helper()
	m := regexp.MustCompile(`/Type /Pages\s[^>]*/Count (\d+)`).FindSubmatch(pdf)
	require.NotNil(tb, m)
	n, err := strconv.Atoi(string(m[1]))
	require.NoError(tb, err)
	return n
}

func TestThePDFOfALargeParentIsShort(t *testing.T) {
	t.Parallel()
	const note = "The details of 200 accounts"
	p := large(t, 200)
	short := rendered(t, FormatPDF, p, false)
	require.LessOrEqual(t, pages(t, short), 12, "a row each, in the accounts' table")
	text := unpacked(t, FormatPDF, short)
	for _, s := range []string{note, "with all details", "By channel", "By destination country", "By campaign", "initech-199"} {
		require.Contains(t, text, s)
	}
	require.NotContains(t, text, "Delivery by day")

	p = large(t, render.OpenDetails+1)
	require.Contains(t, unpacked(t, FormatPDF, rendered(t, FormatPDF, p, true)), "Delivery by day")
	require.Less(t, 3*pages(t, rendered(t, FormatPDF, p, false)), pages(t, rendered(t, FormatPDF, p, true)))
	few := large(t, render.OpenDetails)
	require.Equal(t, rendered(t, FormatPDF, few, true), rendered(t, FormatPDF, few, false))
	require.Contains(t, unpacked(t, FormatPDF, rendered(t, FormatPDF, few, false)), "Delivery by day")
}

func TestThePageOfALargeParentFoldsItsAccounts(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	evaluate := func(js string) int {
		n, err := chromedp.Run(ctx, chromedp.Evaluate[int](js))
		require.NoError(t, err)
		return n
	}
	show := func(p *ParentStatement, anchor string) {
		path := filepath.Join(t.TempDir(), "page.html")
		require.NoError(t, os.WriteFile(path, rendered(t, FormatHTML, p, false), 0o600))
		require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(1200, 900), chromedp.Navigate("file://"+filepath.ToSlash(path)+anchor)))
	}
	const height, open, first = `document.documentElement.scrollHeight`, `document.querySelectorAll("section.fold>details[open]").length`,
		`document.querySelector('td a[href="#s9"]')`
	show(large(t, 60), "")
	require.Less(t, evaluate(height), 8_000)
	require.Zero(t, evaluate(open))
	require.Equal(t, 60, evaluate(`document.querySelectorAll("section.fold").length`))
	require.Equal(t, 60, evaluate(`[...document.querySelectorAll("td a")].filter(a => document.querySelector(a.getAttribute("href"))).length`))
	require.Equal(t, 1, evaluate(`+`+first+`.closest("details").open`), "the table that leads to them is open")

	evaluate(first + `.click(), 0`)
	require.Equal(t, 1, evaluate(open), "what a link leads to unfolds")
	require.Equal(t, 1, evaluate(`+document.querySelector("#s9").closest("details").open`))
	top := evaluate(`Math.round(document.querySelector("#s9").closest("section").getBoundingClientRect().top)`)
	require.GreaterOrEqual(t, top, 0, "its heading is seen")
	require.Less(t, top, 200)
	for _, width := range []int64{1200, 390} {
		picture(t, ctx, "large-parent", width, "light")
	}
	show(large(t, 60), "#s20")
	require.Equal(t, 1, evaluate(open), "so does what an address names")

	const seen = `[...document.querySelectorAll("section.fold svg")].filter(x => x.checkVisibility()).length`
	require.Equal(t, 1, evaluate(seen))
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	require.NoError(t, err)
	require.Equal(t, 60, evaluate(seen), "paper has them all")
	require.Equal(t, evaluate(`document.querySelector(".tall").scrollHeight`), evaluate(`document.querySelector(".tall").clientHeight`), "and all rows")
	_, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})
	require.NoError(t, err)

	show(large(t, render.OpenDetails), "")
	require.Zero(t, evaluate(`document.querySelectorAll("section.fold").length`))
	require.Equal(t, render.OpenDetails, evaluate(`[...document.querySelectorAll("section")].filter(s => s.innerText.includes("Delivery by day")).length`))
}

func TestTheWorkbookOfALargeParentHasOneSheetOfAKind(t *testing.T) {
	t.Parallel()
	sheets := func(st Statement) *excelize.File {
		f, err := excelize.OpenReader(bytes.NewReader(rendered(t, FormatXLSX, st, false)))
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	require.Len(t, sheets(large(t, render.DetailSheets)).GetSheetList(), 3+render.DetailSheets)

	p := large(t, render.DetailSheets+1)
	f := sheets(p)
	require.Equal(t, []string{
		"Bill", "Overview", "Accounts", "Details", "By channel", "By destination country", "By campaign", "By day", "By price", "Delivery by day",
	}, f.GetSheetList())
	for sheet, net := range map[string]int{"By channel": 12, "By destination country": 8, "By campaign": 0, "By day": 8, "By price": 15} {
		rows, err := f.GetRows(sheet, excelize.Options{RawCellValue: true})
		require.NoError(t, err)
		require.Equal(t, []string{"Account", "Name"}, rows[0][:2])
		sum := decimal.Zero
		for _, row := range rows[1:] {
			require.Regexp(t, `^initech-\d+$`, row[0], "no totals among them")
			if net > 0 {
				sum = sum.Add(decimal.RequireFromString(row[net-1]))
			}
		}
		if net > 0 {
			require.Equal(t, p.Totals.Net.Sum.Decimal().String(), sum.String(), sheet)
		}
	}
	rows, err := f.GetRows("Details", excelize.Options{RawCellValue: true})
	require.NoError(t, err)
	require.Equal(t, []string{"Account", "Name", "State", "Draws on", "Messages", "Amount", "Refunded", "Amount billable"}, rows[0])
	require.Len(t, rows, 1+len(p.Accounts))
	require.Equal(t, p.Accounts[7].Totals.Billable.Sum.Decimal().String(), rows[8][7])
}

func TestAParentWithoutTraffic(t *testing.T) {
	t.Parallel()
	p := large(t, 0)
	p.Accounts = []Section{{Account: "initech", Name: "Initech"}}
	for _, format := range []string{FormatHTML, FormatXLSX, FormatPDF} {
		text := unpacked(t, format, rendered(t, format, p, false))
		require.GreaterOrEqual(t, strings.Count(text, "No messages in this period."), 2, format)
		lacks(t, text, "By channel")
	}
}

// An overview of as many accounts has no more to show than before, in fewer sheets.
func TestTheOverviewOfALargeParent(t *testing.T) {
	t.Parallel()
	p := large(t, render.DetailSheets+1)
	o := &ActivityOverview{Account: p.Account, Name: p.Name, Timezone: "UTC", Period: p.Period, AsOf: p.AsOf}
	for i := range p.Accounts {
		s := &p.Accounts[i]
		o.Accounts = append(o.Accounts, ActivitySection{Account: s.Account, Name: s.Name, Activity: s.Outcomes})
	}
	for _, format := range []string{FormatHTML, FormatXLSX, FormatPDF} {
		text := unpacked(t, format, rendered(t, format, o, false))
		require.Contains(t, text, "initech-050")
		for _, c := range []string{"EUR", "Amount", "Net", "charged", "Draws on"} {
			lacks(t, text, c)
		}
	}
	f, err := excelize.OpenReader(bytes.NewReader(rendered(t, FormatXLSX, o, false)))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	require.Equal(t, []string{"Overview", "Details", "Delivery by day"}, f.GetSheetList())
}

// BenchmarkLargeParent says how large the reports of 200 accounts are too.
func BenchmarkLargeParent(b *testing.B) {
	p := large(b, 200)
	for _, c := range []struct {
		name, format string
		detail       bool
	}{{"html", FormatHTML, false}, {"xlsx", FormatXLSX, false}, {"pdf", FormatPDF, false}, {"pdf-detail", FormatPDF, true}} {
		b.Run(c.name, func(b *testing.B) {
			var out []byte
			for b.Loop() {
				out = rendered(b, c.format, p, c.detail)
			}
			b.ReportMetric(float64(len(out))/1e6, "MB")
			if c.format == FormatPDF {
				b.ReportMetric(float64(pages(b, out)), "pages")
			}
		})
	}
}
