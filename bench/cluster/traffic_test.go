package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
)

// partitions of the projection: several on each node.
const partitions = 8

// Prices of a segment in micro-units, as the plan below has them.
const (
	priceIT    = 41_200
	priceOther = 75_000
)

// budget and wallet of the prepaid parent's, and what its sub-account "-late"
// may use in a month.
const (
	wallet = 100_000 * 1_000_000
	budget = 40 * 1_000_000
	limit  = 500_000
)

// book is one parent in each partition, with two sub-accounts that traffic is
// for; the first parent is prepaid and has a third.
type book struct {
	parents []string // by partition
	busy    []string // sub-accounts in the order in which traffic takes turns
}

func newBook() *book {
	b := &book{}
	for p := range partitions {
		name := ""
		for i := 0; name == "" || balance.PartitionOf(name, partitions) != p; i++ {
			name = fmt.Sprintf("parent-%d-%d", p, i)
		}
		b.parents = append(b.parents, name)
		b.busy = append(b.busy, name+"-a", name+"-b")
	}
	return b
}

// poor crosses its budget while slots move; late crosses its limit afterwards.
func (b *book) poor() string { return b.parents[0] + "-b" }
func (b *book) late() string { return b.parents[0] + "-late" }

// file is accounts.yaml.
func (b *book) file() string {
	var sb strings.Builder
	sb.WriteString(`
plans:
  - id: flat
    currency: EUR
    versions:
      - effective_from: 2020-01-01T00:00:00Z
        rules:
          - {channel: sms, country: IT, unit: segment, price: "0.0412"}
          - {channel: sms, unit: segment, price: "0.075"}
parents:
`)
	for i, p := range b.parents {
		mode, funding := "postpaid", ""
		if i == 0 {
			mode, funding = "prepaid", ", funding: {source: allocated}"
		}
		fmt.Fprintf(&sb, "  - id: %s\n    module: enterprise\n    timezone: Europe/Rome\n    plan: flat\n    funding: {mode: %s}\n    sub_accounts:\n", p, mode)
		fmt.Fprintf(&sb, "      - {id: %s-a, channels: [sms]}\n      - {id: %s-b, channels: [sms]%s}\n", p, p, funding)
		if i == 0 {
			fmt.Fprintf(&sb, "      - {id: %s, channels: [sms], funding: {source: shared, monthly_limit: \"0.5\"}}\n", b.late())
		}
	}
	return sb.String()
}

// sum is what must stand in the ledger for an account.
type sum struct {
	records int64
	amount  metering.Micros
}

// traffic makes lines, and adds up what must come of them, with no code of the
// rating's.
type traffic struct {
	book       *book
	at         time.Time
	serial     int
	sums       map[string]*sum
	lines      int64
	duplicates int64
	before     []string // lines that may come again
}

func newTraffic(t *testing.T, b *book) *traffic {
	t.Helper()
	w := &traffic{book: b, at: recent(t), sums: map[string]*sum{}}
	for _, p := range b.parents {
		w.sums[p] = &sum{}
	}
	for _, id := range append(b.busy, b.late()) {
		w.sums[id] = &sum{}
	}
	return w
}

// recent is a moment ago, but of this month of the parents: what an account may
// spend in a month is asked of the present one.
func recent(t *testing.T) time.Time {
	t.Helper()
	months, err := metering.NewCalendar([]metering.ZoneFrom{{Zone: "Europe/Rome"}})
	require.NoError(t, err)
	now := time.Now().UTC()
	at, month := now.Add(-10*time.Minute), months.Of(now)
	if !month.Contains(at) {
		at = month.Start
	}
	return at
}

// again is how often a line is one that came before.
const again = 10

// next line.
func (w *traffic) next() string {
	w.lines++
	if w.lines%again == 0 {
		w.duplicates++
		return w.before[(int(w.lines)*7919)%len(w.before)]
	}
	line := w.message(w.book.busy[w.serial%len(w.book.busy)])
	if len(w.before) < 5000 {
		w.before = append(w.before, line)
	} else {
		w.before[w.serial%len(w.before)] = line
	}
	return line
}

// message is a new one of an account: one to three segments, to Italy or not.
func (w *traffic) message(account string) string {
	w.serial++
	units, country, price := 1+w.serial%3, "IT", metering.Micros(priceIT)
	if w.serial%5 < 2 {
		country, price = "DE", priceOther
	}
	s := w.sums[account]
	s.records++
	s.amount += price * metering.Micros(units)
	at := w.at.Add(time.Duration(w.serial) * time.Millisecond / 100).Format(time.RFC3339Nano)
	return fmt.Sprintf(`{"id":"m%d","account_id":%q,"channel":"sms","country":%q,"units":"%d","unit":"segment","occurred_at":%q}`, w.serial, account, country, units, at)
}
