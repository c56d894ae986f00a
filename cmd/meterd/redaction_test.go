package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/reports/reportstest"
)

// The canaries: what a reseller sub-account must never meet. Figures are ones
// that no count, time or hash of the test makes by chance.
const (
	cnParent     = "zparent-7h1"
	cnParentName = "Zparent Holding"
	cnSibling    = "zsibling-9q"
	cnSibName    = "Zsibling Shop"
	cnPlan       = "zplan-gold"
	cnPrice      = "0.31337"
	cnTag        = "ztag-rate-42"
	cnTagKey     = "zkey"
	cnNote       = "znote-unpaid-invoice"
	cnRef        = "zref-topup"
	cnReason     = "zreason-goodwill"
	cnHook       = "zhook.example"
	cnSchedule   = "zschedule"
	cnError      = "zerr-no-credit"
	cnDeliver    = "zdeliver"
	cnSibMessage = "zmessage-of-sibling"
	cnOwn        = "red-shop"
	cnEnterprise = "red-firm"
)

const redactionAccounts = `
plans:
  - id: zplan-gold
    currency: JPY
    versions:
      - effective_from: 2026-01-01T00:00:00Z
        rules: [{channel: sms, unit: segment, price: "0.31337"}, {channel: voice, unit: second, price: "7654.321", increment: 60/60}]
parents:
  - id: zparent-7h1
    name: Zparent Holding
    module: reseller
    timezone: UTC
    plan: zplan-gold
    funding: {mode: prepaid}
    hooks: [{url: "https://zhook.example/x", secret_env: ZHOOK_SECRET, events: [alert]}]
    reports: [{name: zschedule, schedule: "0 6 1 * *", formats: [csv], audiences: [parent, red-shop, red-firm], deliver: ["file:/tmp/zdeliver"]}]
    sub_accounts:
      - {id: red-shop, name: Red Shop, channels: [sms, voice], monthly_limit: "8765432.10"}
      - {id: red-firm, name: Red Firm, channels: [sms], module: enterprise}
      - {id: zsibling-9q, name: Zsibling Shop, channels: [sms]}
`

// canaries of a reseller sub-account's output, in lower case.
func canaries() []string {
	return []string{
		cnParent, strings.ToLower(cnParentName), cnSibling, strings.ToLower(cnSibName), cnPlan, cnPrice, "31337", "7654", cnTag, cnTagKey, cnNote, cnRef,
		cnReason, cnHook, cnSchedule, cnError, cnDeliver, cnSibMessage, cnEnterprise, "8765432", "5551234", "jpy", "manual", "exhausted", "monthly_limit",
		"budget", "wallet", "no_price", "unit_mismatch", "conflict", "over_refund", "segment", "epoch", "amount", "currency", "price",
	}
}

// plant makes the accounts and their traffic, once.
func plant(t *testing.T) (month string) {
	t.Helper()
	theSystem.start(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "accounts.yaml")
	require.NoError(t, os.WriteFile(file, []byte(redactionAccounts), 0o600))
	do(t, "accounts", "apply", "-f", file)
	do(t, "wallet", "topup", cnParent, "5551234.5", "--ref", cnRef)
	do(t, "wallet", "adjust", cnParent, "1", "--ref", cnRef+"-2", "--reason", cnReason)
	now := time.Now().UTC().Add(-time.Second)
	var lines strings.Builder
	add := func(account, id, rest string) {
		fmt.Fprintf(&lines, `{"id":%q,"account_id":%q,"occurred_at":%q%s}`+"\n", id, account, now.Format(time.RFC3339Nano), rest)
	}
	tags := fmt.Sprintf(`,"tags":{%q:%q}`, cnTagKey, cnTag)
	add(cnOwn, "m1", `,"channel":"sms","units":3,"unit":"segment","status":"zerr_no_credit","error_code":"`+cnError+`","category":"marketing"`+tags)
	add(cnOwn, "m2", `,"channel":"voice","units":61,"unit":"second","status":"delivered"`)
	add(cnOwn, "m2", `,"channel":"voice","units":62,"unit":"second","status":"delivered"`) // a conflict
	add(cnOwn, "m3", `,"channel":"fax","status":"failed"`+tags)
	add(cnOwn, "m4", `,"channel":"sms","unit":"page"`)
	add(cnOwn, "m5", `,"channel":"sms","amount":"31337.5","currency":"JPY"`)
	add(cnOwn, "m6", `,"channel":"sms","amount":"31337.5","currency":"USD"`)
	add(cnOwn, "s1", `,"kind":"status","refers_to":"m1","status":"insufficient_balance","error_code":"`+cnError+`"`)
	add(cnOwn, "f1", `,"kind":"refund","refers_to":"m5"`)
	add(cnOwn, "f2", `,"kind":"refund","refers_to":"m2","amount":"987654321"`)
	add(cnEnterprise, "e1", `,"channel":"sms"`)
	add(cnSibling, cnSibMessage, `,"channel":"sms","units":5`+tags)
	add(cnParent, "p1", `,"channel":"sms","amount":"31337","currency":"JPY"`)
	usage := filepath.Join(dir, "usage.jsonl")
	require.NoError(t, os.WriteFile(usage, []byte(lines.String()), 0o600))
	var got struct{ Stored, Quarantined int }
	require.NoError(t, json.Unmarshal([]byte(do(t, "enqueue", usage, "--wait", "--json")), &got))
	require.Equal(t, 8, got.Stored)
	require.Equal(t, 5, got.Quarantined)
	do(t, "suspend", cnOwn, "--note", cnNote)
	do(t, "suspend", cnSibling, "--note", cnNote)
	return now.Format("2006-01")
}

// entryOf is the id of an account's quarantine entry.
func entryOf(t *testing.T, account string) string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(do(t, "quarantine", "list", "--as", account, "--json")))
	var v struct{ ID string }
	require.NoError(t, dec.Decode(&v))
	require.NotEmpty(t, v.ID)
	return v.ID
}

// reading are the reading commands that a reader may be given, about itself.
func reading(reader, month, out string) [][]string {
	list := [][]string{
		{"accounts", "list"},
		{"accounts", "show", reader},
		{"wallet", "show", reader},
		{"wallet", "history", reader},
		{"gate", reader, "--channel", "sms"},
		{"gate", reader, "--channel", "fax"},
		{"usage"},
		{"usage", "--by", "day,hour,channel,direction,status"},
		{"usage", "--account", reader},
		{"quarantine", "list"},
		{"quarantine", "list", "--reason", "no_price"},
		{"report", "list"},
		{"report", "schedule"},
		{"report", "schedule", "--next", "2000"},
		{"report", "run", "--period", month, "--out", out},
		{"report", "run", "--period", month, "--audience", reader, "--redacted", "--out", out},
		{"report", "run", "--period", "2999-01", "--out", out},
		{"report", "run", "--period", "x", "--out", out},
	}
	for _, id := range []string{"m1", "m2", "m3", "m4", "m5", "m6", "s1", "f1", "e1", cnSibMessage[:8]} {
		list = append(list, []string{"record", "show", reader, id})
	}
	for _, by := range []string{"account", "month", "country", "network", "category", "tag:campaign", "x"} {
		list = append(list, []string{"usage", "--by", by})
	}
	return list
}

// askAs runs a command for a reader in both forms.
func askAs(t *testing.T, reader string, args []string) string {
	t.Helper()
	var all strings.Builder
	for _, form := range [][]string{nil, {"--json"}} {
		got := ask(t, append(append(slices.Clip(args), "--as", reader), form...)...)
		require.Contains(t, []int{0, exitInput}, got.code, "%v: %s", args, got.stderr)
		all.WriteString(got.out + got.stderr)
	}
	return all.String()
}

// digests have four digits of a canary by chance, once in some fifty runs.
var digests = regexp.MustCompile(`[0-9a-f]{64}`)

// lacks fails with what stands around a canary.
func lacks(t *testing.T, what, text string, canaries []string) {
	t.Helper()
	text = digests.ReplaceAllString(strings.ToLower(text), "")
	for _, c := range canaries {
		if i := strings.Index(text, c); i >= 0 {
			t.Errorf("%s: %q in …%s…", what, c, text[max(0, i-80):min(len(text), i+80)])
		}
	}
}

// filesIn are names and contents of a folder, as they can be read.
func filesIn(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, list)
	for _, f := range list {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		all.WriteString(f.Name() + "\n" + reportstest.Text(t, b) + "\n")
	}
	return all.String()
}

func TestRedaction(t *testing.T) {
	t.Parallel()
	month := plant(t)

	t.Run("reseller", func(t *testing.T) {
		t.Parallel()
		out := filepath.Join(t.TempDir(), "out")
		for _, args := range reading(cnOwn, month, out) {
			said := askAs(t, cnOwn, args)
			// What it typed itself, and the folder that it named, comes back.
			said = strings.ReplaceAll(said, out, "")
			lacks(t, strings.Join(args, " "), said, without(canaries(), args))
		}
		text := filesIn(t, out)
		require.Contains(t, text, cnOwn)
		for _, ext := range []string{".csv", ".json", ".html", ".xlsx"} {
			require.Contains(t, text, ext)
		}
		lacks(t, "files", text, canaries())
	})

	t.Run("enterprise", func(t *testing.T) {
		t.Parallel()
		out := filepath.Join(t.TempDir(), "out")
		others := []string{
			cnParent, strings.ToLower(cnParentName), cnSibling, strings.ToLower(cnSibName), cnOwn, "red shop", "5551234", "5520", "31337.5", cnTag, cnNote, cnRef, cnReason, cnHook,
			cnSchedule, cnDeliver, "8765432", "wallet_exhausted", cnSibMessage,
		}
		for _, args := range reading(cnEnterprise, month, out) {
			lacks(t, strings.Join(args, " "), strings.ReplaceAll(askAs(t, cnEnterprise, args), out, ""), others)
		}
		text := filesIn(t, out)
		require.Contains(t, text, "0.31337", "its own price shows that there was something to hide")
		lacks(t, "files", text, others)
	})

	t.Run("canaries were there", func(t *testing.T) {
		t.Parallel()
		out := filepath.Join(t.TempDir(), "out")
		do(t, "report", "run", "--as", cnParent, "--period", month, "--out", out)
		text := filesIn(t, out)
		for _, args := range [][]string{
			{"accounts", "list"},
			{"wallet", "history", cnParent},
			{"quarantine", "list"},
			{"record", "show", cnOwn, "m1"},
			{"record", "show", cnSibling, cnSibMessage},
			{"report", "schedule"},
			{"usage", "--by", "account"},
		} {
			text += do(t, append(args, "--as", cnParent, "--json")...)
		}
		for _, c := range []string{cnParent, cnSibling, cnSibName, cnPlan, cnPrice, cnTag, cnNote, cnRef, cnReason, cnError, cnSchedule, cnDeliver, cnSibMessage, "8765432.1", "JPY"} {
			require.True(t, strings.Contains(text, c), c)
		}
	})

	t.Run("without money", func(t *testing.T) {
		t.Parallel()
		out := filepath.Join(t.TempDir(), "out")
		do(t, "report", "run", "--parent", cnParent, "--redacted", "--period", month, "--out", out)
		text := filesIn(t, out)
		require.Contains(t, text, cnSibling)
		lacks(t, "files", text, []string{cnPlan, cnPrice, "31337", "7654", "8765432", "5551234", "jpy", cnTag, cnNote, cnRef, cnReason, cnError, "exhausted", "segment", "amount", "price"})
	})

	t.Run("alike", func(t *testing.T) { t.Parallel(); testAlike(t, month) })
}

// without leaves out the canaries that the reader typed itself.
func without(list, args []string) []string {
	typed := strings.ToLower(strings.Join(args, " "))
	return slices.DeleteFunc(list, func(c string) bool { return strings.Contains(typed, c) })
}

// testAlike: a sibling's, the parent's and an unknown id get the same bytes.
func testAlike(t *testing.T, month string) {
	t.Helper()
	entry := entryOf(t, cnParent)
	for _, reader := range []string{cnOwn, cnEnterprise} {
		sibling := cnSibling
		for _, form := range [][]string{
			{"accounts", "show", "ID"},
			{"accounts", "list", "--parent", "ID"},
			{"wallet", "show", "ID"},
			{"wallet", "history", "ID"},
			{"gate", "ID", "--channel", "sms"},
			{"record", "show", "ID", "m1"},
			{"record", "show", "ID", cnSibMessage},
			{"usage", "--account", "ID"},
			{"usage", "--account", "ID", "--by", "account"},
			{"report", "run", "--audience", "ID", "--period", month, "--out", "OUT"},
			{"report", "run", "--audience", "ID", "--period", month, "--redacted", "--out", "OUT"},
		} {
			for _, json := range []bool{false, true} {
				out := t.TempDir()
				var first answer
				for i, id := range []string{"no-such-account", sibling, cnParent} {
					if form[1] == "list" && id == cnParent {
						continue // --parent may be its parent's
					}
					var args []string
					for _, a := range form {
						switch a {
						case "ID":
							a = id
						case "OUT":
							a = out
						}
						args = append(args, a)
					}
					args = append(args, "--as", reader)
					if json {
						args = append(args, "--json")
					}
					got := ask(t, args...)
					require.Equal(t, exitInput, got.code, "%v: %s", args, got.out)
					got.out, got.stderr = strings.ReplaceAll(got.out, id, "ID"), strings.ReplaceAll(got.stderr, id, "ID")
					if i == 0 {
						first = got
						require.Empty(t, got.out)
						require.NotEmpty(t, got.stderr)
					}
					require.Equal(t, first, got, "%v", args)
				}
				left, err := os.ReadDir(out)
				require.NoError(t, err)
				require.Empty(t, left)
			}
		}
		// A message or an entry of another reads as one that isn't there.
		for _, c := range [][2][]string{
			{{"record", "show", reader, cnSibMessage}, {"record", "show", reader, "no-such-message"}},
			{{"quarantine", "show", entry}, {"quarantine", "show", "no-such-entry"}},
		} {
			if reader == cnOwn && c[0][0] == "quarantine" {
				continue // the entry is its own
			}
			a, b := ask(t, append(c[0], "--as", reader)...), ask(t, append(c[1], "--as", reader)...)
			last := len(c[0]) - 1
			a.stderr, b.stderr = strings.ReplaceAll(a.stderr, c[0][last], "ID"), strings.ReplaceAll(b.stderr, c[1][last], "ID")
			require.Equal(t, b, a)
			require.Equal(t, exitInput, a.code)
		}
		// --parent: only its own parent's, which it may leave out.
		for _, form := range [][]string{{"usage"}, {"report", "list"}, {"report", "schedule"}, {"report", "run", "--period", month, "--out", t.TempDir()}} {
			a := ask(t, append(form, "--as", reader, "--parent", sibling)...)
			b := ask(t, append(form, "--as", reader, "--parent", "nobody")...)
			require.Equal(t, b, a)
			require.Equal(t, exitInput, a.code)
			require.Empty(t, a.out)
		}
	}
	// A reader that isn't there learns no more.
	for _, form := range [][]string{{"accounts", "list"}, {"accounts", "show", cnOwn}, {"usage"}, {"quarantine", "list"}, {"report", "list"}, {"gate", cnOwn, "--channel", "sms"}} {
		got := ask(t, append(form, "--as", "nobody")...)
		require.Equal(t, exitInput, got.code)
		require.Empty(t, got.out)
		require.Contains(t, got.stderr, "unknown account")
	}
}

// economic are words that no field of a reseller's view may hold.
var economic = []string{
	"amount", "price", "rate", "fee", "cost", "money", "plan", "rule", "purse", "wallet", "budget", "balance", "limit", "credit", "available", "used", "share",
	"currency", "unit", "billed", "charge", "refund", "net", "reason", "detail", "raw", "epoch", "parent", "module", "period", "booked", "tag", "error", "note", "category", "network", "ref",
}

func TestResellerViewsHaveNoEconomicField(t *testing.T) {
	t.Parallel()
	for _, v := range []any{memberView{}, messageView{}, rejectedView{}, activityRow{}} {
		noEconomicField(t, reflect.TypeOf(v))
	}
}

func noEconomicField(t *testing.T, typ reflect.Type) {
	t.Helper()
	switch typ.Kind() { //nolint:exhaustive // the rest holds nothing
	case reflect.Pointer, reflect.Slice:
		noEconomicField(t, typ.Elem())
	case reflect.Map, reflect.Interface, reflect.Float32, reflect.Float64:
		t.Errorf("%s may hold anything", typ)
	case reflect.Struct:
		for f := range typ.Fields() {
			for _, word := range economic {
				if strings.Contains(strings.ToLower(f.Name+" "+f.Tag.Get("json")), word) {
					t.Errorf("%s.%s: economic (%s)", typ, f.Name, word)
				}
			}
			noEconomicField(t, f.Type)
		}
	}
}
