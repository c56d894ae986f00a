package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/notify/notifytest"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/worker/workertest"
)

const mailAccounts = `
plans:
  - {id: mail-plan, currency: EUR, versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.777"}]}]}
parents:
  - id: ent
    module: enterprise
    timezone: UTC
    plan: mail-plan
    funding: {mode: prepaid}
    alerts: [50, 80, 100]
    alert_mail: [boss@ent.example]
    sub_accounts:
      - {id: ent-sub, channels: [sms], funding: {source: allocated}, alert_mail: [sub@ent.example]}
  - id: res
    module: reseller
    timezone: UTC
    plan: mail-plan
    funding: {mode: postpaid}
    alert_mail: [boss@res.example]
    sub_accounts:
      - {id: res-sub, channels: [sms], monthly_limit: "0.777"}
`

// TestAlertMail: each share once and in order, also where one task passes
// several, to those whom docs/domain.md, Funding, names; a server that refuses is tried again.
func TestAlertMail(t *testing.T) {
	t.Parallel()
	box, m := notifytest.NewPostbox(t)
	box.Refuse(true)
	h := newHarness(t)
	h.Apply(mailAccounts)
	h.work(Options{Mail: m})
	for _, tr := range []metering.Transfer{
		{Ref: "1", Kind: metering.TransferTopup, AccountID: "ent", Amount: 20_000_000, Actor: "operator"},
		{Ref: "2", Kind: metering.TransferAllocate, AccountID: "ent-sub", Amount: 1_554_000, Actor: "operator"},
	} {
		_, err := h.Admin.Transfer(t.Context(), tr)
		require.NoError(t, err)
	}
	var lines []string
	for i := range 2 {
		lines = append(lines, workertest.Message("ent-sub", fmt.Sprint(i), time.Second))
	}
	h.Batch().Task(append(lines, workertest.Message("res-sub", "r", time.Second))...).Wait()
	h.Eventually("a refused letter is noted", func() bool {
		var n uint64
		require.NoError(t, h.Engines.ClickHouse(t).QueryRow(t.Context(), "SELECT count() FROM deliveries WHERE destination = 'mail' AND outcome = 'failed'").Scan(&n))
		return n > 0
	})
	box.Refuse(false)
	want := []string{"ent-sub: 50 % of the budget used", "ent-sub: 80 % of the budget used", "ent-sub: 100 % of the budget used"}
	h.Eventually("all letters", func() bool {
		return len(box.Subjects("boss@ent.example")) >= 3 && len(box.Subjects("sub@ent.example")) >= 3 && len(box.Subjects("boss@res.example")) >= 3
	})
	assert.Equal(t, want, box.Subjects("boss@ent.example"), "in order")
	assert.Equal(t, want, box.Subjects("sub@ent.example"), "in order")
	assert.Len(t, box.Subjects("boss@res.example"), 3)
	var shares []int
	require.NoError(t, h.Ledger.Alerts(t.Context(), []string{"ent-sub"}, time.UnixMilli(0), time.Now().Add(time.Hour), func(a *ledger.AlertRow) error {
		assert.Equal(t, "budget", a.Limit)
		shares = append(shares, a.Share)
		return nil
	}))
	assert.ElementsMatch(t, []int{50, 80, 100}, shares, "reports know them")
	assert.Equal(t, 3, box.Receivers(), "nobody else")
	for _, letter := range box.Letters() {
		assert.NotContains(t, letter, "0.777")
		assert.NotContains(t, letter, "1.55")
	}
}

// TestAlertMailSaysWhatIsRefused, and what isn't, because the breaker holds it back
// or the parent only observes.
func TestAlertMailSaysWhatIsRefused(t *testing.T) {
	t.Parallel()
	box, m := notifytest.NewPostbox(t)
	h := newHarness(t)
	var file strings.Builder
	file.WriteString(`
plans:
  - {id: held-plan, currency: EUR, versions: [{effective_from: 2020-01-01T00:00:00Z, rules: [{channel: sms, unit: segment, price: "0.01"}]}]}
parents:
`)
	for _, enforcement := range []string{"enforce", "observe"} {
		fmt.Fprintf(&file, `
  - id: %[1]s
    module: enterprise
    timezone: UTC
    plan: held-plan
    enforcement: %[1]s
    funding: {mode: postpaid}
    alerts: [50, 100]
    alert_mail: [boss@held.example]
    sub_accounts:
      - {id: %[1]s-0, channels: [sms], monthly_limit: "0.02"}
      - {id: %[1]s-1, channels: [sms], monthly_limit: "0.02"}
`, enforcement)
	}
	h.Apply(file.String())
	h.work(Options{Mail: m, BreakerAccounts: 1})
	h.breakerAt(1)
	accounts := []string{"enforce-0", "enforce-1", "observe-0", "observe-1"}
	for i := range 2 {
		var lines []string
		for _, account := range accounts { // in one task: in one minute
			lines = append(lines, workertest.Message(account, fmt.Sprint(i), time.Second))
		}
		h.Batch().Task(lines...).Wait()
	}
	h.Eventually("all letters", func() bool { return len(box.Subjects("boss@held.example")) == 2*len(accounts) })
	for _, account := range accounts {
		effect, back := h.flags(account)
		require.Equal(t, metering.FlagMonthly, effect|back, account)
		for _, letter := range box.Letters() {
			if strings.Contains(letter, "("+account+")") {
				full := strings.Contains(letter, " 100 ")
				assert.Equal(t, full && effect != 0, strings.Contains(letter, "Further messages are refused"), letter)
				assert.Equal(t, full && back != 0, strings.Contains(letter, "suspensions are held back"), letter)
			}
		}
	}
	_, back := h.flags("enforce-0")
	_, other := h.flags("enforce-1")
	assert.NotEqual(t, back, other, "one is suspended, one held back")
}
