package pipeline

import (
	"context"
	"time"

	"github.com/meterd/meterd/internal/phone"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// partitionBatch is what of a task belongs to one partition.
type partitionBatch struct {
	p       int
	catalog int64 // of the snapshot that decided
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
func (pl *Pipeline) classify(ctx context.Context, t *task, snap *metering.Snapshot) (map[int]*partitionBatch, []int, error) {
	batches := map[int]*partitionBatch{}
	at := func(p int) *partitionBatch {
		s := batches[p]
		if s == nil {
			s = &partitionBatch{p: p, catalog: snap.Catalog, first: make(map[metering.Identity]int, len(t.lines)/pl.store.Partitions())}
			batches[p] = s
		}
		return s
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
		s := at(p)
		c, ref := rate(snap, a, r, now)
		if ref != nil {
			s.refuse(i, ref)
			continue
		}
		c.line = i
		s.add(c)
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

func (s *partitionBatch) refuse(line int, r *metering.Refusal) {
	s.refused = append(s.refused, refusal{line: line, reason: r.Reason, detail: r.Detail})
}

// add takes a candidate, or notes that its identity was in the task before.
func (s *partitionBatch) add(c candidate) {
	id := c.rec.Identity()
	if first, ok := s.first[id]; ok {
		s.copies = append(s.copies, copied{candidate: c, first: first})
		return
	}
	s.first[id] = c.line
	s.charged = append(s.charged, c)
}

// onlyCharges: no line has another outcome.
func (s *partitionBatch) onlyCharges() bool {
	return len(s.refused)+len(s.waiting)+len(s.same)+len(s.copies) == 0
}

// unchargedOutcome is the outcome of the lines that aren't charged.
func (s *partitionBatch) unchargedOutcome(lines int) string {
	if s.onlyCharges() {
		return ""
	}
	b := make([]byte, lines)
	for i := range b {
		b[i] = balance.OutcomeNone
	}
	for _, r := range s.refused {
		b[r.line] = balance.OutcomeRefused
	}
	for _, i := range s.waiting {
		b[i] = balance.OutcomeWaiting
	}
	for _, i := range s.same {
		b[i] = balance.OutcomeSame
	}
	for _, c := range s.copies {
		b[c.line] = balance.OutcomeCopy
	}
	return string(b)
}

// call lays the batch out for charge.lua.
func (pl *Pipeline) call(t *task, s *partitionBatch, meta *balance.Meta) *balance.Call {
	items := make([]balance.Item, len(s.charged))
	months := map[string]balance.Months{}
	for i := range s.charged {
		c := &s.charged[i]
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
	call := balance.NewCall(t.id, len(t.lines), items, months, meta)
	decisions := make([]decision, 0, len(s.charged))
	for i := range call.Items {
		c := &s.charged[call.Order[i]]
		c.group = call.Items[i].Group
		decisions = append(decisions, c.decision)
	}
	call.Rated = (&rated{decisions: decisions, refused: s.refused, aside: s.aside}).encode()
	call.Rest = s.unchargedOutcome(len(t.lines))
	call.StoodAt, call.AskedAt = t.stood[s.p].seq, t.stood[s.p].asked
	if s.found != nil && s.epoch == meta.Epoch {
		call.LookedAt = s.looked
		call.Found = make([]byte, len(call.Items))
		for i := range call.Items {
			call.Found[i] = '-'
			if has, ok := s.found[call.Items[i].Line]; ok {
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
func (s *partitionBatch) rows(snap *metering.Snapshot, reply *balance.Answer, meta *balance.Meta) []ledger.Row {
	rows := make([]ledger.Row, 0, len(s.charged))
	for i := range s.charged {
		c := &s.charged[i]
		if reply.Outcome[c.line] != balance.OutcomeNew {
			continue
		}
		booked := c.period
		if c.group < len(reply.Booked) && reply.Booked[c.group] != "" {
			booked = reply.Booked[c.group]
		}
		rows = append(rows, ledger.Row{
			Record: c.row, ParentID: c.account.Parent(), Charge: c.charge, Purse: c.purse, Currency: c.account.Currency,
			Hash: c.rec.ContentHash(), Period: c.period, Booked: booked, Epoch: meta.Epoch, Seq: reply.Seq,
			Hour: c.account.Calendar.Hour(c.rec.OccurredAt), Refundable: refundable(snap, &c.charge),
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

// recall puts the decisions that an answer was saved with in the place of this
// attempt's: a retry never decides again. A refund that waited then waits, though its
// message has come: the answer has no charge for it.
func (s *partitionBatch) recall(t *task, snap *metering.Snapshot, reply *balance.Answer) error {
	r, err := decodeRated(reply.Rated)
	if err != nil {
		return err
	}
	mine := make(map[int]*candidate, len(s.charged))
	for i := range s.charged {
		mine[s.charged[i].line] = &s.charged[i]
	}
	for i := range s.copies { // charged if its first copy was refused
		mine[s.copies[i].line] = &s.copies[i].candidate
	}
	s.refused, s.aside, s.waiting = r.refused, r.aside, nil
	for line, outcome := range []byte(reply.Outcome) {
		if outcome == balance.OutcomeWaiting {
			s.waiting = append(s.waiting, line)
		}
	}
	s.charged = make([]candidate, 0, len(r.decisions))
	for _, d := range r.decisions {
		if d.line >= len(t.lines) || t.bad[d.line] != nil {
			return errAnswer
		}
		c := candidate{rec: &t.recs[d.line], row: &t.recs[d.line]}
		if m := mine[d.line]; m != nil {
			c = *m // with what a refund copied from its message
		}
		c.decision = d
		if c.account = snap.Accounts[c.rec.AccountID]; c.account == nil {
			return errAnswer
		}
		c.amount = d.charge.Amount
		if c.rec.Kind == metering.KindRefund {
			c.amount = -c.amount
		}
		c.period = c.account.Calendar.Of(c.rec.OccurredAt).Name
		s.charged = append(s.charged, c)
	}
	return nil
}
