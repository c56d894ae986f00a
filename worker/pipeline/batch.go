package pipeline

import (
	"context"
	"time"

	"github.com/meterd/meterd/internal/phone"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// attempt of a task at one partition: what the steps hand on (docs/protocol.md, The
// states of a task).
type attempt struct {
	t    *task
	snap *metering.Snapshot // that decides
	p    int

	meta   *balance.Meta   // of the projection that was charged, or has its answer
	answer *balance.Answer // nil: nothing is charged

	charged []candidate
	refused []refusal
	waiting []int // lines of refunds whose message hasn't come
	same    []int // lines whose correction changes nothing any more
	copies  []copied
	aside   []int // lines that leave as a task of their own, with the charge: see aside.go

	first  map[metering.Identity]int // line of an identity's first copy
	found  map[int]bool              // per line: a cold identity was looked up, and has a row
	looked int64                     // Redis's time before the lookups, ms
	epoch  int64                     // of the lookups
	ahead  bool                      // it was asked what may be cold

	asked time.Time // before the call that gave the answer: its rows are sent soon after, or not at all
}

// candidate is a line to be charged, if its identity is new.
type candidate struct {
	decision
	rec     *metering.Record
	row     *metering.Record // as it is stored: a refund's has its message's channel and country
	account *metering.Account
	amount  metering.Micros // that the projection moves by: below 0 for a refund
	period  string
}

// copied is a later line with the identity of an earlier one.
type copied struct {
	candidate

	first int
}

// classify decides every line by the snapshot: into batches by partition.
func (pl *Pipeline) classify(ctx context.Context, t *task, snap *metering.Snapshot) (map[int]*attempt, []int, error) {
	batches := map[int]*attempt{}
	at := func(p int) *attempt {
		try := batches[p]
		if try == nil {
			try = &attempt{t: t, snap: snap, p: p, first: make(map[metering.Identity]int, len(t.lines)/pl.store.Partitions())}
			batches[p] = try
		}
		return try
	}
	if t.corrections != nil {
		err := pl.classifyCorrections(ctx, t, snap, at)
		return batches, nil, err
	}
	now := pl.clock.Now()
	var refunds []int
	var inline []int
	for i := range t.lines {
		if t.bad[i] != nil && t.bad[i].Reason != metering.ReasonOverflow {
			at(0).refuse(i, t.bad[i])
			continue
		}
		r := &t.recs[i]
		a := snap.Accounts[r.AccountID]
		if t.bad[i] != nil { // too large: whatever else is wrong is said first
			ref := metering.Admit(a, r, now)
			if ref == nil {
				ref = t.bad[i]
			}
			at(0).refuse(i, ref)
			continue
		}
		p := 0
		if a != nil {
			p = pl.store.PartitionOf(a.Parent())
		}
		if r.Kind == metering.KindRefund {
			if t.inline {
				inline = append(inline, i)
			} else {
				refunds = append(refunds, i)
			}
			continue
		}
		try := at(p)
		c, ref := rate(snap, a, r, now)
		if ref != nil {
			try.refuse(i, ref)
			continue
		}
		c.line = i
		try.add(c)
	}
	if len(inline) > 0 {
		if err := pl.classifyRefunds(ctx, t, snap, inline, at); err != nil {
			return nil, nil, err
		}
	}
	return batches, refunds, nil
}

// rate makes a candidate of a usage or status record.
func rate(snap *metering.Snapshot, a *metering.Account, r *metering.Record, now time.Time) (candidate, *metering.Refusal) {
	c := candidate{rec: r, row: r, account: a}
	if r.Kind == metering.KindStatus {
		if ref := metering.Admit(a, r, now); ref != nil {
			return c, ref
		}
		c.purse = metering.PurseCredit
	} else {
		if snap.Prefixes { // it takes some 20 µs for digits without a plus
			r.International = phone.International(r.FarEnd())
		}
		charge, ref := metering.Rate(snap, a, r, now)
		if ref != nil {
			return c, ref
		}
		c.charge, c.amount = charge, charge.Amount
		c.purse, c.purseAccount = purseFor(a)
	}
	if ref := snap.TooOld(r); ref != nil {
		return c, ref
	}
	c.period = a.Calendar.Of(r.OccurredAt).Name
	return c, nil
}

// purseFor is the purse that the account's records draw on; credit has no owner.
func purseFor(a *metering.Account) (metering.Purse, string) {
	purse, owner := a.Purse()
	if purse == metering.PurseCredit {
		return purse, ""
	}
	return purse, owner
}

func (try *attempt) refuse(line int, r *metering.Refusal) {
	try.refused = append(try.refused, refusal{line: line, reason: r.Reason, detail: r.Detail})
}

// add takes a candidate, or notes that its identity was in the task before.
func (try *attempt) add(c candidate) {
	id := c.rec.Identity()
	if first, ok := try.first[id]; ok {
		try.copies = append(try.copies, copied{candidate: c, first: first})
		return
	}
	try.first[id] = c.line
	try.charged = append(try.charged, c)
}

// onlyCharges: no line has another outcome.
func (try *attempt) onlyCharges() bool {
	return len(try.refused)+len(try.waiting)+len(try.same)+len(try.copies) == 0
}

// unchargedOutcome is the outcome of the lines that aren't charged.
func (try *attempt) unchargedOutcome() string {
	if try.onlyCharges() {
		return ""
	}
	b := make([]byte, len(try.t.lines))
	for i := range b {
		b[i] = balance.OutcomeNone
	}
	for _, r := range try.refused {
		b[r.line] = balance.OutcomeRefused
	}
	for _, i := range try.waiting {
		b[i] = balance.OutcomeWaiting
	}
	for _, i := range try.same {
		b[i] = balance.OutcomeSame
	}
	for _, c := range try.copies {
		b[c.line] = balance.OutcomeCopy
	}
	return string(b)
}

// call lays the batch out for charge.lua.
func (pl *Pipeline) call(try *attempt) *balance.Call {
	items := make([]balance.Item, len(try.charged))
	months := map[string]balance.Months{}
	for i := range try.charged {
		c := &try.charged[i]
		parent := c.account.Parent()
		if _, ok := months[parent]; !ok {
			months[parent] = pl.snapshots.Months(c.account)
		}
		items[i] = balance.Item{
			Line: c.line, Identity: c.rec.Identity(), Account: c.account.ID, Parent: parent, PurseAccount: c.purseAccount,
			Period: c.period, Amount: c.amount, OccurredAt: c.rec.OccurredAt.UnixMilli(),
		}
		if c.rec.Kind == metering.KindRefund || c.rec.Kind == metering.KindAdjustment {
			items[i].Changes = c.rec.RefersTo
		}
	}
	call := balance.NewCall(try.t.id, len(try.t.lines), items, months, try.meta)
	decisions := make([]decision, 0, len(try.charged))
	for i := range call.Items {
		c := &try.charged[call.Order[i]]
		c.group = call.Items[i].Group
		decisions = append(decisions, c.decision)
	}
	call.Rated = (&rated{decisions: decisions, refused: try.refused, aside: try.aside}).encode()
	call.Rest = try.unchargedOutcome()
	call.StoodAt, call.AskedAt = try.t.stood[try.p].seq, try.t.stood[try.p].asked
	if try.found != nil && try.epoch == try.meta.Epoch {
		call.LookedAt = try.looked
		call.Found = make([]byte, len(call.Items))
		for i := range call.Items {
			call.Found[i] = '-'
			if has, ok := try.found[call.Items[i].Line]; ok {
				call.Found[i] = '0'
				if has {
					call.Found[i] = '1'
				}
			}
		}
	}
	return call
}

// rows that the answer calls new.
func (try *attempt) rows() []ledger.Row {
	rows := make([]ledger.Row, 0, len(try.charged))
	for i := range try.charged {
		c := &try.charged[i]
		if try.answer.Outcome[c.line] != balance.OutcomeNew {
			continue
		}
		booked := c.period
		if c.group < len(try.answer.Booked) && try.answer.Booked[c.group] != "" {
			booked = try.answer.Booked[c.group]
		}
		rows = append(rows, ledger.Row{
			Record: c.row, ParentID: c.account.Parent(), Charge: c.charge, Purse: c.purse, Currency: c.account.Currency,
			Hash: c.rec.ContentHash(), Period: c.period, Booked: booked, Epoch: try.meta.Epoch, Seq: try.answer.Seq,
			Hour: c.account.Calendar.Hour(c.rec.OccurredAt), Refundable: refundable(try.snap, &c.charge),
		})
	}
	return rows
}

// refundable tells whether what rated a message may refund it automatically. A newer
// snapshot than this may have.
func refundable(snap *metering.Snapshot, c *metering.Charge) bool {
	if c.Plan == "" {
		return false // it came rated
	}
	v := snap.Plans[c.Plan].Version(c.Version)
	return v == nil || len(v.RefundOn) > 0
}

// recall puts the decisions that the answer was saved with in the place of this
// attempt's: a retry never decides again. A refund that waited then waits, though its
// message has come: the answer has no charge for it.
func (try *attempt) recall() error {
	t, reply := try.t, try.answer
	r, err := decodeRated(reply.Rated)
	if err != nil {
		return err
	}
	mine := make(map[int]*candidate, len(try.charged))
	for i := range try.charged {
		mine[try.charged[i].line] = &try.charged[i]
	}
	for i := range try.copies { // charged if its first copy was refused
		mine[try.copies[i].line] = &try.copies[i].candidate
	}
	try.refused, try.aside, try.waiting = r.refused, r.aside, nil
	for line, outcome := range []byte(reply.Outcome) {
		if outcome == balance.OutcomeWaiting {
			try.waiting = append(try.waiting, line)
		}
	}
	try.charged = make([]candidate, 0, len(r.decisions))
	for _, d := range r.decisions {
		if d.line >= len(t.lines) || t.bad[d.line] != nil {
			return errAnswer
		}
		c := candidate{rec: &t.recs[d.line], row: &t.recs[d.line]}
		if m := mine[d.line]; m != nil {
			c = *m // with what a refund copied from its message
		}
		c.decision = d
		if c.account = try.snap.Accounts[c.rec.AccountID]; c.account == nil {
			return errAnswer
		}
		c.amount = d.charge.Amount
		if c.rec.Kind == metering.KindRefund {
			c.amount = -c.amount
		}
		c.period = c.account.Calendar.Of(c.rec.OccurredAt).Name
		try.charged = append(try.charged, c)
	}
	return nil
}
