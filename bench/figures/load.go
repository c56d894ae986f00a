package figures

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
)

// load makes records of a mix of channels and countries, all of which are
// charged, spread over parents and their sub-accounts.
type load struct {
	rnd      *rand.Rand
	accounts []string
	until    time.Time     // the newest record
	span     time.Duration // how far they reach back
	line     []byte
	copies   float64 // share that are copies of one before
	late     float64 // share that occurred before the dedup window
	recent   [1000][]byte
}

// newLoad makes records of the last hour; the same for the same seed, but for
// the times.
func newLoad(seed uint64, accounts []string) *load {
	return &load{
		rnd: rand.New(rand.NewPCG(seed, 11)), accounts: accounts, until: time.Now().UTC().Add(-time.Second), span: time.Hour,
	}
}

// names of accounts and sub-accounts, sorted.
func parentName(p int) string { return fmt.Sprintf("parent-%05d", p) }
func subName(p, s int) string { return fmt.Sprintf("parent-%05d-sub-%04d", p, s) }

func subs(parents, each int) []string {
	out := make([]string, 0, parents*each)
	for p := range parents {
		for s := range each {
			out = append(out, subName(p, s))
		}
	}
	return out
}

const plan = `plans:
  - id: standard
    currency: EUR
    versions:
      - effective_from: 2020-01-01T00:00:00Z
        rules:
          - {channel: sms, unit: segment, price: "0.075"}
          - {channel: sms, country: IT, unit: segment, price: "0.0412"}
          - {channel: sms, country: DE, unit: segment, price: "0.0834", fee: "0.001"}
          - {channel: whatsapp, unit: message, price: "0.0691"}
          - {channel: voice, unit: second, price: "0.00041667", increment: 30/6}
          - {channel: email, unit: recipient, price: "0.00032"}
`

// accountsFile of parents with sub-accounts.
func accountsFile(parents, each int) string {
	var b strings.Builder
	b.WriteString(plan + "parents:\n")
	for p := range parents {
		_, _ = fmt.Fprintf(&b, "  - id: %s\n    module: enterprise\n    timezone: Europe/Rome\n    plan: standard\n    funding: {mode: postpaid}\n    sub_accounts:\n", parentName(p))
		for s := range each {
			_, _ = fmt.Fprintf(&b, "      - {id: %s, channels: [sms, whatsapp, voice, email]}\n", subName(p, s))
		}
	}
	return b.String()
}

const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"

// next is a line; it holds until the next call.
func (l *load) next() []byte {
	if l.copies == 0 && l.late == 0 {
		return l.fresh(l.until)
	}
	slot := &l.recent[l.rnd.IntN(len(l.recent))]
	switch x := l.rnd.Float64(); {
	case x < l.copies && len(*slot) > 0:
		return *slot
	case x >= l.copies && x < l.copies+l.late:
		return l.fresh(time.Now().UTC().Add(-48 * time.Hour))
	}
	*slot = append((*slot)[:0], l.fresh(time.Now().UTC().Add(-time.Second))...)
	return *slot
}

// fresh is a new record, of some time before until.
func (l *load) fresh(until time.Time) []byte {
	r := metering.Record{
		ID: l.id(), AccountID: l.accounts[l.rnd.IntN(len(l.accounts))],
		OccurredAt: until.Add(-time.Duration(l.rnd.Int64N(int64(l.span)))),
	}
	units := 1
	switch n := l.rnd.IntN(10); {
	case n < 6:
		r.Channel, r.Status, r.From, r.To, r.Unit = "sms", "sent", "+393471234567", l.number(), "segment"
		units = 1 + l.rnd.IntN(3)
	case n < 8:
		r.Channel, r.Status, r.Category, r.From, r.To, r.Unit = "whatsapp", "delivered", "marketing", "+390612345678", l.number(), "message"
		r.Tags = []metering.Tag{{Key: "campaign", Value: "autumn"}}
	case n < 9:
		r.Channel, r.From, r.To, r.Unit = "voice", "+390612345678", l.number(), "second"
		units = 1 + l.rnd.IntN(300)
	default:
		r.Channel, r.From, r.Unit = "email", "shop@mail.example", "recipient"
		r.To = "customer-" + strconv.Itoa(l.rnd.IntN(90_000)) + "@inbox.example"
	}
	r.Units = metering.Units(int64(units))
	l.line = metering.AppendRecord(l.line[:0], &r)
	return l.line
}

// id is 24 characters, 22 of them random.
func (l *load) id() string {
	b := append(make([]byte, 0, 24), "SM"...)
	for range 2 {
		for v, n := l.rnd.Uint64(), 0; n < 11; v, n = v/36, n+1 {
			b = append(b, alphabet[v%36])
		}
	}
	return string(b)
}

func (l *load) number() string {
	start := [...]string{"+39347", "+39333", "+4915", "+33612", "+34600"}[l.rnd.IntN(5)]
	return start + fmt.Sprintf("%07d", l.rnd.IntN(10_000_000))
}

// file writes n lines to a file.
func (l *load) file(name string, n int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	for range n {
		_, _ = w.Write(l.next())
		_ = w.WriteByte('\n')
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// lines are n lines in memory.
func (l *load) lines(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = append([]byte(nil), l.next()...)
	}
	return out
}
