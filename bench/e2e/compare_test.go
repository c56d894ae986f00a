package e2e_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/bench/internal/traffic"
	"github.com/meterd/meterd/internal/testengine"
)

// usageLine is a line of `meterd usage --json`.
type usageLine struct {
	Account  string `json:"account"`
	Channel  string `json:"channel"`
	Day      string `json:"day"`
	Status   string `json:"status"`
	Records  int64  `json:"records"`
	Units    string `json:"units"`
	Billed   string `json:"billed_units"`
	Amount   string `json:"amount"`
	Refunds  string `json:"refunds"`
	Net      string `json:"net"`
	Currency string `json:"currency"`
}

// accountLine is a line of `meterd accounts list --json`.
type accountLine struct {
	ID        string   `json:"id"`
	Parent    string   `json:"parent"`
	State     string   `json:"state"`
	Reasons   []string `json:"reasons"`
	Epoch     int64    `json:"epoch"`
	Period    string   `json:"period"`
	Used      string   `json:"used"`
	Balance   string   `json:"balance"`
	Budget    string   `json:"budget"`
	Available string   `json:"available"`
}

// entryLine is a line of `meterd quarantine list --json`.
type entryLine struct {
	ID       string `json:"id"`
	Reason   string `json:"reason"`
	RecordID string `json:"record_id"`
	Raw      string `json:"raw"`
}

// compareUsage wants every count and sum by account, channel and local day.
func compareUsage(tb testing.TB, c cli, o *traffic.Oracle) {
	tb.Helper()
	seen := map[string]bool{}
	for _, p := range o.Book.Accounts {
		if p.Parent != "" {
			continue
		}
		for _, l := range list[usageLine](tb, c, "usage", "--parent", p.ID, "--by", "account,channel,day") {
			k := traffic.Key(l.Account, l.Channel, l.Day)
			seen[k] = true
			want := o.Use[k]
			if want == nil {
				tb.Errorf("usage of %s isn't known to the oracle: %+v", k, l)
				continue
			}
			same := l.Records == want.Records && traffic.Rat(l.Units).Cmp(want.Units) == 0 && traffic.Rat(l.Billed).Cmp(want.Billed) == 0 &&
				traffic.Micros(traffic.Rat(l.Amount)) == want.Amount && traffic.Micros(traffic.Rat(l.Refunds)) == want.Refunds && traffic.Micros(traffic.Rat(l.Net)) == want.Amount-want.Refunds &&
				l.Currency == o.Currency(o.Book.Account(l.Account))
			if !same {
				tb.Errorf("usage of %s is %+v, want records %d units %s billed %s amount %s refunds %s", k, l, want.Records,
					want.Units.FloatString(6), want.Billed.FloatString(6), traffic.Decimals(want.Amount), traffic.Decimals(want.Refunds))
			}
		}
	}
	for k := range o.Use {
		if !seen[k] {
			tb.Errorf("usage of %s is missing: want %+v", k, o.Use[k])
		}
	}
}

// compareStatuses wants messages by account and latest status, a while after the
// last of them was acked: what a copy tells of its message follows behind it.
func compareStatuses(tb testing.TB, c cli, o *traffic.Oracle) {
	tb.Helper()
	want := map[string]int64{}
	for k, row := range o.Rows {
		if strings.Contains(k, "|usage|") {
			want[traffic.Key(row.U.AccountID, row.Status)]++
		}
	}
	var got map[string]int64
	_ = testengine.Until(10*time.Second, func() bool {
		got = map[string]int64{}
		for _, p := range o.Book.Accounts {
			if p.Parent != "" {
				continue
			}
			for _, l := range list[usageLine](tb, c, "usage", "--parent", p.ID, "--by", "account,status") {
				if l.Records > 0 {
					got[traffic.Key(l.Account, l.Status)] += l.Records
				}
			}
		}
		return maps.Equal(want, got)
	})
	assert.Equal(tb, want, got, "messages by account and latest status")
}

// compareAccounts wants every balance, every month's use and every state.
func compareAccounts(tb testing.TB, c cli, o *traffic.Oracle) {
	tb.Helper()
	lines := list[accountLine](tb, c, "accounts", "list")
	require.Len(tb, lines, len(o.Book.Accounts))
	for _, l := range lines {
		a := o.Book.Account(l.ID)
		assert.Equal(tb, traffic.Decimals(o.Used[l.ID][l.Period]), traffic.Decimals(traffic.Micros(traffic.Rat(l.Used))), "used of %s in %s", l.ID, l.Period)
		state, reasons := o.State(l.ID, l.Period)
		assert.Equal(tb, state, l.State, "state of %s", l.ID)
		assert.Equal(tb, reasons, l.Reasons, "reasons of %s", l.ID)
		switch {
		case a.Parent == "" && a.Mode == "prepaid":
			assert.Equal(tb, traffic.Decimals(o.Balance[l.ID]), traffic.Decimals(traffic.Micros(traffic.Rat(l.Balance))), "wallet of %s", l.ID)
		case a.Source == "allocated":
			assert.Equal(tb, traffic.Decimals(o.Balance[l.ID]), traffic.Decimals(traffic.Micros(traffic.Rat(l.Budget))), "budget of %s", l.ID)
		default:
			assert.Empty(tb, l.Balance+l.Budget, "%s has no purse", l.ID)
		}
	}
}

// compareQuarantine wants every refused line, once, with its reason.
func compareQuarantine(tb testing.TB, c cli, o *traffic.Oracle) {
	tb.Helper()
	got := map[string]string{}
	for _, e := range list[entryLine](tb, c, "quarantine", "list") {
		if _, twice := got[e.Raw]; twice {
			tb.Errorf("the same bytes make two entries: %s", e.Raw)
		}
		got[e.Raw] = e.Reason
	}
	for raw, reason := range o.Refused {
		if got[raw] != reason {
			tb.Errorf("quarantined as %q, want %q: %s", got[raw], reason, raw)
		}
		delete(got, raw)
	}
	for _, raw := range slices.Sorted(maps.Keys(got)) {
		tb.Errorf("quarantined as %q, want it charged: %s", got[raw], raw)
	}
}

// reconciled wants projection and ledger to be one.
func reconciled(tb testing.TB, c cli, accounts int) {
	tb.Helper()
	r := c.try(tb.Context(), tb, "reconcile", "--json")
	require.Zero(tb, r.code, "reconcile: %s%s", r.out, r.err)
	type drift struct{ Checked, Drifted, Healed int }
	assert.Equal(tb, drift{Checked: accounts}, decode[drift](tb, r.out))
}

// everything that a reader is told, as text, to be compared with itself later.
func everything(tb testing.TB, c cli, b *traffic.Book) string {
	tb.Helper()
	var out strings.Builder
	for _, p := range b.Accounts {
		if p.Parent == "" {
			lines := strings.Split(c.run(tb, "usage", "--parent", p.ID, "--by", "account,channel,day", "--json"), "\n")
			slices.Sort(lines)
			out.WriteString(strings.Join(lines, "\n"))
		}
	}
	out.WriteString(c.run(tb, "accounts", "list", "--json"))
	var entries []string // the list is by time, which a copy renews
	for _, e := range list[entryLine](tb, c, "quarantine", "list") {
		entries = append(entries, e.ID+" "+e.Reason)
	}
	slices.Sort(entries)
	return out.String() + strings.Join(entries, "\n")
}

// minute is the present one; a workload's times are counted back from it.
func minute() time.Time { return time.Now().UTC().Truncate(time.Minute) }
