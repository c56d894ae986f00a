package reports

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
)

// What goes with a sub-account's report tells nothing of its parent, of siblings
// or of where reports go, and says the same whatever the account has used.
func TestEnvelopesOfSubAccounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Canaries are in capitals, what may be seen in small letters.
		canary := rapid.StringMatching(`[A-Z]{6,12}`)
		draw := func(what string) string { return canary.Draw(t, what) }
		parent := &metering.Account{ID: draw("parent"), Name: draw("its name"), Module: metering.Reseller, Currency: "JPY", Zones: []metering.ZoneFrom{{Zone: "UTC"}}, Issuer: &metering.Issuer{Name: draw("issuer")}}
		limit := metering.Micros(rapid.Int64Range(700_000_000_000, 799_999_999_999).Draw(t, "limit"))
		own := rapid.StringMatching(`[a-z]{3,10}`).Draw(t, "account")
		sub := &metering.Account{ID: own, ParentID: parent.ID, Name: own + " shop", Module: metering.Reseller, MonthlyLimit: &limit}
		if rapid.Bool().Draw(t, "enterprise") {
			sub.Module = metering.Enterprise
		}
		sibling := &metering.Account{ID: draw("sibling") + "-sibling", ParentID: parent.ID, Name: draw("its name"), Module: metering.Reseller}
		snap := metering.NewSnapshot(1, []*metering.Account{parent, sub, sibling}, nil)
		r := NewReporter(Deps{Snapshot: func() *metering.Snapshot { return snap }})
		place := "s3://" + draw("bucket") + "/" + parent.ID + "/" + sibling.ID
		run := &ledger.ReportRun{
			Run: "0123456789ab", ParentID: parent.ID, Name: draw("schedule"), Audience: own, Destinations: []string{place}, DueAt: time.Now(),
			Period: rapid.SampledFrom([]string{"2026-11", "2026-11-05", "2026-11-02..2026-11-08"}).Draw(t, "period"),
		}
		files := []File{{Path: "/tmp/" + parent.ID + "/" + own + "-activity.csv", Format: FormatCSV, Bytes: 12, SHA256: "ab"}}
		l, err := r.NewLetter(run, rapid.Bool().Draw(t, "closed"), []Enclosure{{Name: own + ".csv", Attached: true}, {Name: own + ".html", Places: []string{place}}})
		require.NoError(t, err)
		b, err := json.Marshal(NewNotice(run, files, ledger.RunDelivered, func(string) []string { return []string{place} }))
		require.NoError(t, err)
		require.Empty(t, l.Sender)
		words := l.Subject + l.Text + strings.ReplaceAll(l.HTML, "<!doctype html>", "") + string(b)
		for _, may := range []string{"Activity for", "Statement for", "Attached", "Too large", "UTF", "November"} {
			words = strings.ReplaceAll(words, may, "")
		}
		for _, c := range []string{parent.ID, parent.Name, sibling.ID, sibling.Name, run.Name, place, "JPY", "7" + limit.String()[1:4]} {
			require.NotContains(t, words, c)
		}
		require.NotRegexp(t, `[A-Z]{6}`, words)
		// Of its figures nothing: the only digits are those of the period, the run and the files' own.
		letter := l.Subject + l.Text
		for _, period := range []string{monthWord(run.Period), run.Period} {
			letter = strings.ReplaceAll(letter, period, "")
		}
		require.NotRegexp(t, `[0-9]`, letter)

		// A stranger's, a sibling's under another parent and a missing account answer alike.
		run.ParentID = draw("another parent")
		_, err = r.NewLetter(run, false, nil)
		require.ErrorIs(t, err, metering.ErrUnknownAccount)
		run.Audience = draw("nobody")
		_, err2 := r.NewLetter(run, false, nil)
		require.Equal(t, err, err2)
	})
}

func TestEnvelopeOfAParent(t *testing.T) {
	t.Parallel()
	parent := &metering.Account{ID: "acme", Name: "Acme & <Söhne>", Module: metering.Enterprise, Currency: "EUR", Zones: []metering.ZoneFrom{{Zone: "UTC"}}}
	snap := metering.NewSnapshot(1, []*metering.Account{parent}, nil)
	r := NewReporter(Deps{Snapshot: func() *metering.Snapshot { return snap }})
	run := &ledger.ReportRun{Run: "r", ParentID: "acme", Name: "monthly", Audience: AudienceParent, Period: "2026-11"}
	l, err := r.NewLetter(run, true, []Enclosure{{Name: "a.csv", Attached: true}, {Name: "b.csv", Places: []string{"s3://reports/b.csv", "file:/srv/b.csv"}}, {Name: "c.csv"}})
	require.NoError(t, err)
	require.Equal(t, "Statement for November 2026, closed: Acme & <Söhne> (acme)", l.Subject)
	require.Equal(t, `Statement for November 2026, closed: Acme & <Söhne> (acme)

Attached:
- a.csv

Too large for mail:
- b.csv: s3://reports/b.csv, file:/srv/b.csv
- c.csv: ask whoever has this report sent to you
`, l.Text)
	require.Contains(t, l.HTML, "Acme &amp; &lt;Söhne&gt;")
	require.Contains(t, l.HTML, "<li dir=\"auto\">b.csv: s3://reports/b.csv, file:/srv/b.csv</li><li dir=\"auto\">c.csv: ask")
	for _, c := range []string{"http", "src=", "<script", "url("} {
		require.NotContains(t, l.HTML, c)
	}
}

func TestAudiencesAndPlaces(t *testing.T) {
	t.Parallel()
	d := RunDetail{Destinations: []Delivery{
		{To: "file:/srv", State: ledger.RunDelivered}, {To: "s3://reports/x", State: ledger.RunFailed}, {To: "mailto:a@x.example", State: ledger.RunDelivered},
	}}
	require.Equal(t, []string{"file:/srv/a.csv"}, d.Places("a.csv"))
	snap := metering.NewSnapshot(1, []*metering.Account{{ID: "p", Reports: []metering.Schedule{{Name: "x", Detail: true, Secrets: map[string]metering.SecretRef{"https://h": {Env: "E"}}}}}}, nil)
	run := &ledger.ReportRun{ParentID: "p", Name: "x"}
	s := ScheduleOf(snap, run)
	require.Equal(t, "E", s.Secrets["https://h"].Env)
	require.Zero(t, s.Secrets["https://other"])
	require.True(t, s.Detail)
	run.Owner = "gone"
	require.Zero(t, ScheduleOf(snap, run))
}

func TestLettersSayWhatTheyBring(t *testing.T) {
	t.Parallel()
	parent := &metering.Account{ID: "acme", Name: "Acme", Module: metering.Reseller, Currency: "EUR", Zones: []metering.ZoneFrom{{Zone: "UTC"}}}
	shop := &metering.Account{ID: "shop", ParentID: "acme", Name: "shop", Module: metering.Reseller}
	own := &metering.Account{ID: "own", ParentID: "acme", Name: "Own", Module: metering.Enterprise, OwnModule: metering.Enterprise}
	snap := metering.NewSnapshot(1, []*metering.Account{parent, shop, own}, nil)
	r := NewReporter(Deps{Snapshot: func() *metering.Snapshot { return snap }})
	for subject, run := range map[string]ledger.ReportRun{
		"Statement for November 2026, open: Acme (acme)":                                  {Audience: AudienceParent, Period: "2026-11"},
		"Activity of all accounts, without amounts, for November 2026, open: Acme (acme)": {Audience: AudienceParent, Period: "2026-11", Redacted: true},
		"Wallet for November 2026, open: Acme (acme)":                                     {Audience: AudienceParent, Period: "2026-11", Kind: KindWallet},
		"Messages for 2026-11-02 to 2026-11-08: Acme (acme)":                              {Audience: AudienceParent, Period: "2026-11-02..2026-11-08", Kind: KindMessages},
		"Activity for 2026-11-05: shop":                                                   {Audience: "shop", Period: "2026-11-05"},
		"Statement for November 2026, open: Own (own)":                                    {Audience: "own", Period: "2026-11"},
		"Activity for November 2026, open: Own (own)":                                     {Audience: "own", Period: "2026-11", Redacted: true},
	} {
		run.ParentID = "acme"
		l, err := r.NewLetter(&run, false, nil)
		require.NoError(t, err)
		require.Equal(t, subject, l.Subject)
	}
}
