package reports

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/reports/render"
)

// MessageLine is one message of a detail, for whoever may see money. What came
// back or was corrected for a message of another period has a line without the
// rest of that message. The lines' billable amounts sum to the statement's.
type MessageLine struct {
	MessageID    string            `parquet:"message_id"`
	OccurredAt   time.Time         `parquet:"occurred_at,timestamp(millisecond)"`
	Account      string            `parquet:"account,dict"`
	Channel      string            `parquet:"channel,dict"`
	Direction    string            `parquet:"direction,dict"`
	From         string            `parquet:"from,dict"`
	To           string            `parquet:"to"`
	Country      string            `parquet:"country,dict"`
	Network      string            `parquet:"network,dict"`
	Category     string            `parquet:"category,dict"`
	Campaign     string            `parquet:"campaign,dict"`
	Tags         string            `parquet:"tags,dict"` // all of them, as JSON
	Status       string            `parquet:"status,dict"`
	StatusTrace  string            `parquet:"status_trace"`
	ErrorCode    string            `parquet:"error_code,dict"`
	Unit         string            `parquet:"unit,dict"`
	Units        metering.Quantity `parquet:"units,decimal(6:18)"`
	UnitsCharged metering.Quantity `parquet:"units_charged,decimal(6:18)"`
	Plan         string            `parquet:"plan,dict"` // empty: it came rated
	PlanVersion  int64             `parquet:"plan_version"`
	Rule         int64             `parquet:"rule"`
	Price        int64             `parquet:"price,decimal(8:18)"` // of a unit; 0 where it came rated
	Amount       metering.Micros   `parquet:"amount,decimal(6:18)"`
	Fee          metering.Micros   `parquet:"fee_non_refundable,decimal(6:18)"` // of it
	Refunded     metering.Micros   `parquet:"refunded,decimal(6:18)"`
	Late         metering.Micros   `parquet:"late,decimal(6:18)"` // of a message or refund of a closed month: instead of amount, fee and refunded
	Correction   metering.Micros   `parquet:"correction,decimal(6:18)"`
	Billable     metering.Micros   `parquet:"amount_billable,decimal(6:18)"`
	Currency     string            `parquet:"currency,dict"`
	Period       string            `parquet:"period,dict"`        // the message's
	Booked       string            `parquet:"booked_period,dict"` // whose bill it is in
	// Of the re-ratings that corrected it, with commas; a parent's alone.
	CorrectionRef    string `parquet:"correction_ref,dict"`
	CorrectionReason string `parquet:"correction_reason,dict"`
}

func (*MessageLine) columns() []render.Column {
	text := func(names ...string) (list []render.Column) {
		for _, n := range names {
			list = append(list, render.Column{Name: n, Kind: render.Text})
		}
		return list
	}
	out := append(text("message_id"), render.Column{Name: "occurred_at", Kind: render.Time})
	out = append(out, text("account", "channel", "direction", "from", "to", "country", "network", "category", "campaign", "tags",
		"status", "status_trace", "error_code", "unit")...)
	for _, n := range []string{"units", "units_charged"} {
		out = append(out, render.Column{Name: n, Kind: render.Number})
	}
	out = append(out, text("plan")...)
	out = append(out, render.Column{Name: "plan_version", Kind: render.Count}, render.Column{Name: "rule", Kind: render.Count}, render.Column{Name: "price", Kind: render.Price})
	for _, n := range []string{"amount", "fee_non_refundable", "refunded", "late", "correction", "amount_billable"} {
		out = append(out, render.Column{Name: n, Kind: render.Money})
	}
	return append(out, text("currency", "period", "booked_period", "correction_ref", "correction_reason")...)
}

func (l *MessageLine) cells(to []string) []string {
	version, rule, price := "", "", ""
	if l.Plan != "" {
		version, rule, price = strconv.FormatInt(l.PlanVersion, 10), strconv.FormatInt(l.Rule, 10), priceText(l.Price)
	}
	money := func(m metering.Micros) string { return m.Format(l.Currency) }
	return append(to, l.MessageID, instant(l.OccurredAt), l.Account, l.Channel, l.Direction, l.From, l.To, l.Country, l.Network, l.Category,
		l.Campaign, l.Tags, l.Status, l.StatusTrace, l.ErrorCode, l.Unit, l.Units.String(), l.UnitsCharged.String(), l.Plan, version, rule, price,
		money(l.Amount), money(l.Fee), money(l.Refunded), money(l.Late), money(l.Correction), money(l.Billable), l.Currency, l.Period, l.Booked, l.CorrectionRef, l.CorrectionReason)
}

// ActivityMessage is one message of a detail for a reader without sight of
// money: what was sent and how its delivery went.
type ActivityMessage struct {
	MessageID   string    `parquet:"message_id"`
	OccurredAt  time.Time `parquet:"occurred_at,timestamp(millisecond)"`
	Account     string    `parquet:"account,dict"`
	Channel     string    `parquet:"channel,dict"`
	Direction   string    `parquet:"direction,dict"`
	From        string    `parquet:"from,dict"`
	To          string    `parquet:"to"`
	Country     string    `parquet:"country,dict"`
	Status      string    `parquet:"status,dict"`
	StatusTrace string    `parquet:"status_trace"`
	ErrorCode   string    `parquet:"error_code,dict"`
	CallSeconds int64     `parquet:"call_seconds"` // voice: as reported
}

func (*ActivityMessage) columns() []render.Column {
	return []render.Column{
		{Name: "message_id", Kind: render.Text},
		{Name: "occurred_at", Kind: render.Time},
		{Name: "account", Kind: render.Text},
		{Name: "channel", Kind: render.Text},
		{Name: "direction", Kind: render.Text},
		{Name: "from", Kind: render.Text},
		{Name: "to", Kind: render.Text},
		{Name: "country", Kind: render.Text},
		{Name: "status", Kind: render.Text},
		{Name: "status_trace", Kind: render.Text},
		{Name: "error_code", Kind: render.Text},
		{Name: "call_seconds", Kind: render.Count},
	}
}

func (l *ActivityMessage) cells(to []string) []string {
	calls := ""
	if l.Channel == "voice" {
		calls = strconv.FormatInt(l.CallSeconds, 10)
	}
	return append(to, l.MessageID, instant(l.OccurredAt), l.Account, l.Channel, l.Direction, l.From, l.To, l.Country, l.Status, l.StatusTrace, l.ErrorCode, calls)
}

// traceMax is how many statuses of a message a detail tells; the newest are.
const traceMax = 50

// trace is the sequence of a message's statuses.
type trace struct {
	sent  time.Time
	steps []step
}

type step struct {
	at          time.Time
	rank        uint8
	id          string
	status, err string
}

// begin with a message's own status, its first.
func (t *trace) begin(r *ledger.ActivityRow) {
	t.sent, t.steps = r.At, t.steps[:0]
	if r.Status != "" {
		t.steps = append(t.steps, step{r.At, r.Rank, r.Message, r.Status, r.ErrorCode})
	}
}

// add a status; they come in their order. One dated long before its message is
// none of its.
func (t *trace) add(r *ledger.ActivityRow) {
	if r.At.Add(ledger.StatusSlack).Before(t.sent) {
		return
	}
	if len(t.steps) == traceMax {
		t.steps = slices.Delete(t.steps, 0, 1)
	}
	t.steps = append(t.steps, step{r.At, r.Rank, r.RowID, r.Status, r.ErrorCode})
}

// end tells the latest status, its error, and all of them with their times. word
// and code say how each is told.
func (t *trace) end(word, code func(string) string) (status, err, all string) {
	if len(t.steps) == 0 {
		return word(""), "", ""
	}
	slices.SortStableFunc(t.steps, func(a, b step) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.rank, b.rank), strings.Compare(a.id, b.id))
	})
	var b strings.Builder
	for i, s := range t.steps {
		if i > 0 {
			b.WriteString(" > ")
		}
		b.WriteString(word(s.status) + " " + instant(s.at))
	}
	last := t.steps[len(t.steps)-1]
	return word(last.status), code(last.err), b.String()
}

func asIs(s string) string { return s }

// detailQuery selects what a detail is made of.
func detailQuery(parent, account *metering.Account, s *reportPeriod) ledger.ActivityQuery {
	from, to := s.bounds()
	q := ledger.ActivityQuery{Parent: parent.ID, Booked: s.booked(), From: from, To: to}
	if !account.IsParent() {
		q.Accounts = []string{account.ID}
	}
	if s.closed {
		q.Epoch, q.Seq = s.fixed.Epoch, s.fixed.Seq
	}
	return q
}

// messageLines calls f for each line of a detail, by account and message id. reasons are
// those of re-ratings by reference, for a reader who may know them.
func (r *Reporter) messageLines(ctx context.Context, q ledger.ActivityQuery, reasons map[string]string, f func(*MessageLine) error) error {
	var l MessageLine
	var t trace
	own, money := false, false // the message's own row, any row with an amount
	prices := priceList(r.deps.Snapshot().Plans)
	finish := func() error {
		if !money {
			return nil
		}
		if own {
			status, err, all := t.end(asIs, asIs)
			l.Status, l.StatusTrace = status, all
			if all != "" {
				l.ErrorCode = err
			}
		}
		l.Billable = l.Amount - l.Refunded + l.Late + l.Correction
		return f(&l)
	}
	err := r.deps.Ledger.MessageRows(ctx, q, func(d *ledger.DetailRow) error {
		if d.Message != l.MessageID || d.Account != l.Account {
			if err := finish(); err != nil {
				return err
			}
			l = MessageLine{MessageID: d.Message, Account: d.Account}
			own, money = false, false
		}
		if d.Part == ledger.PartStatus {
			t.add(&d.ActivityRow)
			return nil
		}
		if !money {
			l.describe(d, prices)
		}
		money = true
		late := q.Booked != "" && d.Period != d.Booked // days know of no bill
		switch d.Part {
		case ledger.PartMessage:
			own, l.Units, l.UnitsCharged, l.ErrorCode = true, d.Units, d.Billed, d.ErrorCode
			if late {
				l.Late += d.Amount
			} else {
				l.Amount, l.Fee = d.Amount, d.Fee
			}
			t.begin(&d.ActivityRow)
		case ledger.PartRefund:
			if late {
				l.Late -= d.Amount
			} else {
				l.Refunded += d.Amount
			}
		case ledger.PartCorrection:
			l.Correction += d.Amount
			l.because(d.Ref, reasons)
		case ledger.PartStatus:
		}
		return nil
	})
	if err != nil {
		return err
	}
	return finish()
}

// describe takes what every row of a message with an amount says of it.
func (l *MessageLine) describe(d *ledger.DetailRow, prices func(plan string, version, rule uint32) int64) {
	l.OccurredAt, l.Channel, l.Direction, l.From, l.To, l.Country = d.At.UTC(), d.Channel, d.Direction, d.From, d.To, d.Country
	l.Network, l.Category, l.Campaign, l.Tags, l.Unit, l.Currency = d.Network, d.Category, d.Campaign, d.Tags, d.Unit, d.Currency
	l.Period, l.Booked = d.Period, d.Booked
	if l.Plan = d.Plan; d.Plan != "" {
		l.PlanVersion, l.Rule, l.Price = int64(d.Version), int64(d.Rule), prices(d.Plan, d.Version, d.Rule)
	}
}

// because adds the re-rating of a correction.
func (l *MessageLine) because(ref string, reasons map[string]string) {
	reason, known := reasons[ref]
	if !known {
		return
	}
	l.CorrectionRef, l.CorrectionReason = joined(l.CorrectionRef, ref), joined(l.CorrectionReason, reason)
}

// joined adds to a list for people.
func joined(list, more string) string {
	if list == "" {
		return more
	}
	return list + ", " + more
}

// priceList gives the price of a unit by a rule, in hundred-millionths.
func priceList(plans map[string]*metering.Plan) func(plan string, version, rule uint32) int64 {
	return func(plan string, version, rule uint32) int64 {
		if r := plans[plan].Rule(int(version), int(rule)); r != nil {
			return r.Price
		}
		return 0
	}
}

// activityMessages calls f for each message of a detail without money.
func (r *Reporter) activityMessages(ctx context.Context, q ledger.ActivityQuery, f func(*ActivityMessage) error) error {
	var l ActivityMessage
	var t trace
	own := false
	finish := func() error {
		if !own {
			return nil
		}
		status, err, all := t.end(metering.PublicStatus, metering.PublicErrorCode)
		l.Status, l.StatusTrace = status, all
		if all != "" {
			l.ErrorCode = err
		}
		return f(&l)
	}
	err := r.deps.Ledger.MessageActivity(ctx, q, func(d *ledger.CallRow) error {
		if d.Message != l.MessageID || d.Account != l.Account {
			if err := finish(); err != nil {
				return err
			}
			l, own = ActivityMessage{MessageID: d.Message, Account: d.Account}, false
		}
		if d.Part == ledger.PartStatus {
			t.add(&d.ActivityRow)
			return nil
		}
		own = true
		l.OccurredAt, l.Channel, l.Direction, l.From, l.To, l.Country = d.At.UTC(), d.Channel, d.Direction, d.From, d.To, d.Country
		l.ErrorCode, l.CallSeconds = metering.PublicErrorCode(d.ErrorCode), d.CallSeconds
		t.begin(&d.ActivityRow)
		return nil
	})
	if err != nil {
		return err
	}
	return finish()
}
