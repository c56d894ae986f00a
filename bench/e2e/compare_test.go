package e2e_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
func compareUsage(tb testing.TB, c cli, o *oracle) {
	tb.Helper()
	seen := map[string]bool{}
	for _, p := range o.book.accounts {
		if p.parent != "" {
			continue
		}
		for _, l := range list[usageLine](tb, c, "usage", "--parent", p.id, "--by", "account,channel,day") {
			k := key(l.Account, l.Channel, l.Day)
			seen[k] = true
			want := o.use[k]
			if want == nil {
				tb.Errorf("usage of %s isn't known to the oracle: %+v", k, l)
				continue
			}
			same := l.Records == want.records && rat(l.Units).Cmp(want.units) == 0 && rat(l.Billed).Cmp(want.billed) == 0 &&
				micros(rat(l.Amount)) == want.amount && micros(rat(l.Refunds)) == want.refunds && micros(rat(l.Net)) == want.amount-want.refunds &&
				l.Currency == o.currency(o.book.account(l.Account))
			if !same {
				tb.Errorf("usage of %s is %+v, want records %d units %s billed %s amount %s refunds %s", k, l, want.records,
					want.units.FloatString(6), want.billed.FloatString(6), decimals(want.amount), decimals(want.refunds))
			}
		}
	}
	for k := range o.use {
		if !seen[k] {
			tb.Errorf("usage of %s is missing: want %+v", k, o.use[k])
		}
	}
}

// compareStatuses wants messages by account and latest status.
func compareStatuses(tb testing.TB, c cli, o *oracle) {
	tb.Helper()
	want := map[string]int64{}
	for k, row := range o.rows {
		if strings.Contains(k, "|usage|") {
			want[key(row.u.AccountID, row.status)]++
		}
	}
	got := map[string]int64{}
	for _, p := range o.book.accounts {
		if p.parent != "" {
			continue
		}
		for _, l := range list[usageLine](tb, c, "usage", "--parent", p.id, "--by", "account,status") {
			if l.Records > 0 {
				got[key(l.Account, l.Status)] += l.Records
			}
		}
	}
	assert.Equal(tb, want, got, "messages by account and latest status")
}

// compareAccounts wants every balance, every month's use and every state.
func compareAccounts(tb testing.TB, c cli, o *oracle) {
	tb.Helper()
	lines := list[accountLine](tb, c, "accounts", "list")
	require.Len(tb, lines, len(o.book.accounts))
	for _, l := range lines {
		a := o.book.account(l.ID)
		assert.Equal(tb, decimals(o.used[l.ID][l.Period]), decimals(micros(rat(l.Used))), "used of %s in %s", l.ID, l.Period)
		state, reasons := o.state(l.ID, l.Period)
		assert.Equal(tb, state, l.State, "state of %s", l.ID)
		assert.Equal(tb, reasons, l.Reasons, "reasons of %s", l.ID)
		switch {
		case a.parent == "" && a.mode == "prepaid":
			assert.Equal(tb, decimals(o.balance[l.ID]), decimals(micros(rat(l.Balance))), "wallet of %s", l.ID)
		case a.source == "allocated":
			assert.Equal(tb, decimals(o.balance[l.ID]), decimals(micros(rat(l.Budget))), "budget of %s", l.ID)
		default:
			assert.Empty(tb, l.Balance+l.Budget, "%s has no purse", l.ID)
		}
	}
}

// compareQuarantine wants every refused line, once, with its reason.
func compareQuarantine(tb testing.TB, c cli, o *oracle) {
	tb.Helper()
	got := map[string]string{}
	for _, e := range list[entryLine](tb, c, "quarantine", "list") {
		if _, twice := got[e.Raw]; twice {
			tb.Errorf("the same bytes make two entries: %s", e.Raw)
		}
		got[e.Raw] = e.Reason
	}
	for raw, reason := range o.refused {
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
func everything(tb testing.TB, c cli, b *book) string {
	tb.Helper()
	var out strings.Builder
	for _, p := range b.accounts {
		if p.parent == "" {
			lines := strings.Split(c.run(tb, "usage", "--parent", p.id, "--by", "account,channel,day", "--json"), "\n")
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
