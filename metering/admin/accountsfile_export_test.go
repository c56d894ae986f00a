package admin

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meterd/meterd/metering"
)

// roundTrip exports a snapshot and wants the file to change nothing where it comes
// from, and to make the same accounts and plans where there are none.
func roundTrip(t *testing.T, cur *metering.Snapshot, parent string) {
	t.Helper()
	later := now.Add(40 * 24 * time.Hour)
	src, err := ExportAccounts(cur, parent, later)
	require.NoError(t, err)
	here, err := plan(string(src), cur, later)
	require.NoError(t, err, "%s", src)
	require.True(t, here.Empty(), "%s\n%+v", src, here)

	there, err := plan(string(src), nil, later)
	require.NoError(t, err, "%s", src)
	for _, p := range there.Plans {
		require.True(t, slices.EqualFunc(cur.Plans[p.ID].Versions, p.Versions, sameVersion), "%s\n%+v", src, p)
		require.Equal(t, cur.Plans[p.ID].Currency, p.Currency)
	}
	for _, made := range there.Accounts {
		was := *cur.Accounts[made.ID]
		// What has a history begins it anew: the last of each stands from the start.
		require.Equal(t, was.Zones[len(was.Zones)-1].Zone, made.Zones[0].Zone)
		require.Equal(t, was.Plans[len(was.Plans)-1].Plan, made.Plans[0].Plan)
		require.Equal(t, was.Channels[len(was.Channels)-1].Channels, made.Channels[0].Channels)
		was.Zones, was.Plans, was.Channels, was.CreatedAt = made.Zones, made.Plans, made.Channels, made.CreatedAt
		require.True(t, same(&was, made), "%s\n%+v\n%+v", src, was, made)
	}
}

func TestExportsMakeWhatThereIs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.good.yaml")
	require.NoError(t, err)
	sources := map[string]string{"base": base}
	for _, path := range append(files, "../../examples/accounts.yaml") {
		src, err := os.ReadFile(path)
		require.NoError(t, err)
		sources[path] = string(src)
	}
	for name, src := range sources {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			c, err := plan(src, nil, now)
			require.NoError(t, err)
			cur := apply(t, nil, c)
			roundTrip(t, cur, "")
			for _, parent := range cur.Parents {
				roundTrip(t, cur, parent)
			}
		})
	}
}

// TestExportsOfWhatHasChanged: the newest of what has a history is exported; what is
// closed isn't, but counted.
func TestExportsOfWhatHasChanged(t *testing.T) {
	t.Parallel()
	cur := applied(t, now)
	moved := strings.NewReplacer("timezone: Europe/Rome", "timezone: Asia/Tokyo", "channels: [sms, mms]", "channels: [sms]",
		"plan: eur2}", "plan: eur}").Replace(base)
	c, err := plan(moved, cur, now.Add(time.Hour))
	require.NoError(t, err)
	cur = apply(t, cur, c)
	closed := *cur.Accounts["s"]
	at := now.Add(2 * time.Hour)
	closed.ClosedAt = &at
	cur = apply(t, cur, &Changes{Accounts: []*metering.Account{&closed}})
	roundTrip(t, cur, "")
	src, err := ExportAccounts(cur, "p", now)
	require.NoError(t, err)
	require.Contains(t, string(src), "Sub-accounts that are closed aren't here: 1.")
	require.NotContains(t, string(src), "id: q\n", "another parent's")
	require.NotContains(t, string(src), "id: usd", "a plan of others")

	// A report to who is closed goes to the others, or to nobody.
	parent := *cur.Accounts["p"]
	for _, to := range [][]string{{"s"}, {"parent", "s"}} {
		parent.Reports = append(parent.Reports, metering.Schedule{
			Name: "to-" + strings.Join(to, "-"), Cron: "@daily", Period: "yesterday", Formats: []string{"csv"}, Audiences: to, Deliver: []string{"file:/srv/x"},
		})
	}
	cur = apply(t, cur, &Changes{Accounts: []*metering.Account{&parent}})
	src, err = ExportAccounts(cur, "p", now)
	require.NoError(t, err)
	require.Contains(t, string(src), "audiences: [parent]")
	require.NotContains(t, string(src), "name: to-s\n")
	_, err = plan(string(src), nil, now)
	require.NoError(t, err)
}

// TestExportsOfAZoneToCome: the file names it, and says what holds until then; applied
// first with that and then as it is, it makes the same months elsewhere.
func TestExportsOfAZoneToCome(t *testing.T) {
	t.Parallel()
	cur := applied(t, now)
	moved := strings.Replace(base, "timezone: Europe/Rome", "timezone: Asia/Tokyo", 1)
	c, err := plan(moved, cur, now)
	require.NoError(t, err)
	cur = apply(t, cur, c)
	zones := cur.Accounts["p"].Zones
	require.Len(t, zones, 2)
	src, err := ExportAccounts(cur, "", now)
	require.NoError(t, err)
	line := "timezone: Asia/Tokyo # from " + zones[1].From + " on, Europe/Rome until then\n"
	require.Contains(t, string(src), line)
	require.Contains(t, string(src), "# Time zones that don't hold yet: 1.")

	here, err := plan(string(src), cur, now)
	require.NoError(t, err, "%s", src)
	require.True(t, here.Empty(), "%+v", here)

	first, err := plan(strings.Replace(string(src), "Asia/Tokyo", "Europe/Rome", 1), nil, now)
	require.NoError(t, err)
	there := apply(t, nil, first)
	second, err := plan(string(src), there, now)
	require.NoError(t, err)
	require.Equal(t, zones, apply(t, there, second).Accounts["p"].Zones)

	// Once it holds there is nothing to say.
	src, err = ExportAccounts(cur, "", now.AddDate(0, 2, 0))
	require.NoError(t, err)
	require.NotContains(t, string(src), "until then")
	require.NotContains(t, string(src), "Time zones")
}

// TestExportsKeepAnyText: names may be what YAML takes for something else.
func TestExportsKeepAnyText(t *testing.T) {
	t.Parallel()
	odd := []string{"null", "~", "yes", "1.0", "0x1F", ".inf", "- a", "# b", "a: b", "a #b", "'", `"`, `\`, "{", "}", "[x]", "%", "@", "`", "!t", "&a", "*a", "|", ">", "?", ": ", " lead", "trail ", "…", "क", "名前", "2026-11-05", "<<", "=", "? a", "- ", "a: ", "Ja", "on", "NaN", "Müller & Söhne (Nord), Ltd."}
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.OneOf(
			rapid.SampledFrom(odd),
			rapid.StringOfN(rapid.RuneFrom([]rune("ab:#'\"\\-{}[],&*!|>%@`~? \u00e9\u0939\u540d\u200d")), 1, 20, 200),
		).Draw(r, "name")
		c, err := plan(strings.Replace(base, "- id: p\n", fmt.Sprintf("- id: p\n    name: %s\n", quoted(name)), 1), nil, now)
		if err != nil {
			r.Skip("not a name that can be applied: ", err)
		}
		cur := apply(t, nil, c)
		if cur.Accounts["p"].Name != name {
			r.Skip("the reader makes another name of it")
		}
		src, err := ExportAccounts(cur, "", now)
		require.NoError(r, err)
		here, err := plan(string(src), cur, now)
		require.NoError(r, err, "%s", src)
		require.True(r, here.Empty(), "%s", src)
	})
}

// quoted is a text in YAML's single quotes.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
