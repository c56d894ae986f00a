package balance

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meterd/meterd/metering"
)

// settle ends an answer; its rows stand then, but for one that is reversed.
func (m *model) settle(r *rapid.T) {
	task, mt := m.pick(r, AnswerOpen)
	if mt == nil {
		return
	}
	var reversed []Reversal
	var undone *Item
	for i := range mt.items {
		if it := &mt.items[i]; mt.outcome[it.Line] == OutcomeNew && m.reversible(it, mt.booked[it.Group]) && rapid.IntRange(0, 5).Draw(r, "refused by the ledger") == 0 {
			reversed = append(reversed, Reversal{Line: it.Line, Account: it.Account, Parent: it.Parent, PurseAccount: it.PurseAccount, Booked: mt.booked[it.Group], Amount: it.Amount})
			undone = it
			break
		}
	}
	months := map[string]Months{"pre": m.months(m.month), "post": m.months(m.month)}
	_, err := m.Settle(m.t.Context(), 0, m.meta, task, mt.seq+1, nil, months)
	require.ErrorIs(r, err, ErrGone, "another attempt's seq")
	outcome, err := m.Settle(m.t.Context(), 0, m.meta, task, mt.seq, reversed, months)
	require.NoError(r, err)
	for i := range mt.items {
		if mt.outcome[mt.items[i].Line] == OutcomeNew && &mt.items[i] != undone {
			m.rows[mt.items[i].Identity] = true
		}
	}
	if undone != nil {
		b := []byte(mt.outcome)
		b[undone.Line] = OutcomeReversed
		mt.outcome = string(b)
		m.corr++
		m.move(undone, mt.booked[undone.Group], -int64(undone.Amount))
		m.evaluate(m.account[undone.Account], false, nil)
		if undone.PurseAccount != "" && undone.PurseAccount != undone.Account {
			m.evaluate(m.account[undone.PurseAccount], false, nil)
		}
		if undone.Account != undone.Parent {
			m.evaluate(m.account[undone.Parent], false, nil)
		}
	}
	require.Equal(r, mt.outcome, outcome)
	mt.state = AnswerSettled
	m.open -= mt.fresh
}

// reversible: settle.lua doesn't ask whether a sum stays in its range.
func (m *model) reversible(it *Item, booked string) bool {
	room := rangeMax - max(int64(it.Amount), -int64(it.Amount))
	small := func(n int64) bool { return n <= room && n >= -room }
	return small(m.account[it.Account].used[booked]) && small(m.account[it.Parent].used[booked]) && (it.PurseAccount == "" || small(m.account[it.PurseAccount].balance))
}

func (m *model) pick(r *rapid.T, state AnswerState) (string, *modelTask) {
	var names []string
	for _, name := range m.names {
		if m.tasks[name].state == state {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	task := rapid.SampledFrom(names).Draw(r, "task")
	return task, m.tasks[task]
}

// finish ends a task; one whose answer is open isn't finished.
func (m *model) finish(r *rapid.T) {
	if task, mt := m.pick(r, AnswerOpen); mt != nil {
		require.ErrorIs(r, m.Finish(m.t.Context(), 0, m.meta, task, &Finished{Seq: mt.seq}), ErrOpen)
	}
	task, mt := m.pick(r, AnswerSettled)
	if mt == nil {
		return
	}
	require.ErrorIs(r, m.Finish(m.t.Context(), 0, m.meta, task, &Finished{Seq: mt.seq + 1}), ErrGone)
	f := &Finished{
		Seq: mt.seq, Run: "run", Counts: Counts{Stored: 1, Quarantined: 4}, Judged: Counts{Duplicates: 2, Quarantined: 3},
		Reasons:    map[metering.Reason]int64{metering.ReasonNoPrice: 3, metering.ReasonConflict: 1},
		HandedOver: rapid.Bool().Draw(r, "handed over"),
	}
	if parent := rapid.SampledFrom(m.names).Draw(r, "parent"); parent != task && rapid.Bool().Draw(r, "judge task") {
		f.Parent = parent
	}
	require.NoError(r, m.Finish(m.t.Context(), 0, m.meta, task, f))
	mt.state = AnswerDone
	if pt := m.tasks[f.Parent]; pt != nil {
		if pt.state == AnswerDone && !pt.handed {
			return // it has counted them itself
		}
		pt.judged = pt.judged || pt.state == AnswerSettled
	}
	mt.handed = f.HandedOver
	m.counts.Stored++
	m.counts.Quarantined += 4
	m.reasons[metering.ReasonNoPrice] += 3
	m.reasons[metering.ReasonConflict]++
	if !f.HandedOver && !mt.judged {
		m.counts.Duplicates += 2
		m.counts.Quarantined += 3
		m.reasons[metering.ReasonConflict] += 3
	}
}

// giveUp ends an answer without a task: its charge stands.
func (m *model) giveUp(r *rapid.T) {
	task, mt := m.pick(r, AnswerOpen)
	if mt == nil {
		return
	}
	a := OpenAnswer{Task: task, Seq: mt.seq}
	require.ErrorIs(r, m.GiveUp(m.t.Context(), 0, m.meta, a, time.Hour), ErrGone, "too young")
	require.NoError(r, m.GiveUp(m.t.Context(), 0, m.meta, a, 0))
	m.open -= mt.fresh
	delete(m.tasks, task)
	m.tasks[task+" given up"] = &modelTask{state: AnswerNew} // the number of tasks stays
	m.names = slices.DeleteFunc(m.names, func(s string) bool { return s == task })
}

// transfer moves money, sometimes under a reference that was used.
func (m *model) transfer(r *rapid.T) {
	mv := &TransferCall{Ref: "ref" + strconv.Itoa(rapid.IntRange(0, 60).Draw(r, "ref")), Row: []byte("{}"), Months: m.months(m.month)}
	mv.Amount = metering.Micros(rapid.OneOf(rapid.Int64Range(1, 900), rapid.Just(int64(999_999_999_999_999_999))).Draw(r, "amount"))
	switch rapid.IntRange(0, 4).Draw(r, "kind") {
	case 0:
		mv.To, mv.ResetAlerts = "pre", true
	case 1:
		mv.From, mv.To, mv.RefuseNegative, mv.ResetAlerts = "pre", "pre-own", true, true
	case 2:
		mv.From, mv.To, mv.RefuseNegative = "pre-own", "pre", true
	case 3:
		mv.From, mv.To, mv.WholeBalance = "pre-own", "pre", true
	case 4:
		mv.From = "pre"
	}
	mv.Hash = uint64(mv.Amount) + uint64(len(mv.From))<<60 + uint64(len(mv.To))<<56
	moved, err := m.Transfer(m.t.Context(), 0, m.meta, mv)
	from, to := m.account[mv.From], m.account[mv.To]
	if held, ok := m.refs[mv.Ref]; ok {
		if held.hash != mv.Hash {
			require.ErrorIs(r, err, ErrReference)
			return
		}
		require.NoError(r, err)
		require.False(r, moved.Applied)
		require.Equal(r, held, modelRef{mv.Hash, moved.Amount, moved.Seq, moved.After})
		return
	}
	amount := int64(mv.Amount)
	if mv.WholeBalance {
		amount = from.balance
	}
	if mv.RefuseNegative && from.balance < amount {
		var short *ShortError
		require.ErrorAs(r, err, &short)
		return
	}
	far := 0.0
	reaches := func(a *modelAccount, by float64, moved bool) {
		if a != nil {
			far = max(far, math.Abs(float64(a.balance)+by))
		}
		if a != nil && moved && a.base != nil {
			far = max(far, math.Abs(float64(*a.base)+by))
		}
	}
	reaches(from, -float64(amount), !mv.WholeBalance)
	reaches(to, float64(amount), !mv.ResetAlerts)
	if far > rangeMax {
		require.ErrorIs(r, err, ErrRange)
		return
	}
	require.NoError(r, err)
	m.seq++
	moves := func(a *modelAccount, by int64, moved bool) {
		if a != nil {
			a.balance += by
		}
		if a != nil && moved && a.base != nil {
			*a.base += by
		}
	}
	moves(from, -amount, !mv.WholeBalance)
	if mv.WholeBalance && from.base != nil {
		from.base = new(int64) // swept
	}
	moves(to, amount, !mv.ResetAlerts)
	if mv.ResetAlerts {
		base := to.balance
		to.base = &base
	}
	after := map[string]metering.Micros{}
	for id, a := range map[string]*modelAccount{mv.From: from, mv.To: to} {
		if a != nil {
			after[id] = metering.Micros(a.balance)
		}
	}
	m.refs[mv.Ref] = modelRef{mv.Hash, metering.Micros(amount), m.seq, after}
	if from != nil {
		m.evaluate(from, false, nil)
	}
	if to != nil {
		m.evaluate(to, false, nil)
	}
	require.True(r, moved.Applied)
	require.Equal(r, after, moved.After)
	require.Equal(r, m.now(), moved.Booked)
	require.Equal(r, amount, int64(moved.Amount))
	require.NoError(r, m.Confirm(m.t.Context(), 0, 1, mv.Ref))
}

// limits changes one, as applying accounts does.
func (m *model) limits(r *rapid.T) {
	a := m.account[rapid.SampledFrom(m.order).Draw(r, "account")]
	var limit *metering.Micros
	if rapid.IntRange(0, 3).Draw(r, "none") > 0 {
		v := metering.Micros(rapid.Int64Range(0, 2000).Draw(r, "limit"))
		limit = &v
	}
	if a.parent != "" {
		a.limit = limit
	} else if a.mode == metering.Postpaid {
		a.credit = limit
	}
	if a.parent == "" {
		a.alerts = rapid.SliceOfNDistinct(rapid.IntRange(1, 120), 0, 3, rapid.ID).Draw(r, "alerts")
		slices.Sort(a.alerts)
	}
	m.catalog++
	ids := []string{m.parentOf(a).id}
	if a.parent != "" {
		ids = append(ids, a.id)
	}
	m.push(r, ids, true)
}

// byHand suspends and resumes.
func (m *model) byHand(r *rapid.T) {
	a := m.account[rapid.SampledFrom(m.order).Draw(r, "account")]
	flag := rapid.SampledFrom([]metering.Flags{metering.FlagManualOperator, metering.FlagManualParent}).Draw(r, "who")
	set := rapid.Bool().Draw(r, "set")
	done, err := m.SetManual(m.t.Context(), 0, m.meta, &ManualChange{Account: a.id, Flag: flag, Set: set, Actor: "operator", Note: "note", Months: m.months(m.month)})
	require.NoError(r, err)
	f := a.flags&manualFlags | flag
	if !set {
		f &^= flag
	}
	if f != a.flags&manualFlags {
		a.quiet = false
	}
	m.evaluate(a, a.flags != 0 && a.quiet, &f)
	require.Equal(r, a.flags, done.Own)
}

// heal adds what reconcile found.
func (m *model) heal(r *rapid.T) {
	a := m.account[rapid.SampledFrom(m.order).Draw(r, "account")]
	d := Drift{Account: a.id, Field: "u:" + m.now(), Delta: metering.Micros(rapid.Int64Range(-500, 500).Draw(r, "delta"))}
	if rapid.Bool().Draw(r, "balance") {
		d.Field = "bal"
	}
	err := m.Heal(m.t.Context(), 0, 1, m.corr+1, m.months(m.month), []Drift{d})
	require.ErrorIs(r, err, ErrMoved)
	require.NoError(r, m.Heal(m.t.Context(), 0, 1, m.corr, m.months(m.month), []Drift{d}))
	m.corr++
	if d.Field == "bal" {
		a.balance += int64(d.Delta)
	} else {
		a.used[m.now()] += int64(d.Delta)
	}
	m.evaluate(a, false, nil)
}

// roll begins the next month.
func (m *model) roll(r *rapid.T) {
	m.month++
	for range 2 { // the second time changes nothing
		for _, parent := range []string{"pre", "post"} {
			var ids []string
			for _, id := range m.order {
				if m.parentOf(m.account[id]).id == parent {
					ids = append(ids, id)
				}
			}
			rolled, err := m.Roll(m.t.Context(), 0, m.meta, m.months(m.month), ids)
			require.NoError(r, err)
			require.Equal(r, m.now(), rolled)
			for _, id := range ids {
				if a := m.account[id]; a.judged != m.now() {
					m.evaluate(a, a.quiet, nil)
				}
			}
		}
	}
}

// breaker opens, or a hand releases what it holds back. That it opens by itself
// depends on the minute, see TestTheBreakerCountsAccounts.
func (m *model) breaker(r *rapid.T) {
	ctx := m.t.Context()
	if !m.broken {
		require.NoError(r, m.rdb.HSet(ctx, keyMeta(0), "brk", "1").Err())
		m.broken = true
		return
	}
	m.release = true
	for _, parent := range []string{"pre", "post"} {
		var ids []string
		for _, id := range m.order {
			if m.parentOf(m.account[id]).id == parent {
				ids = append(ids, id)
			}
		}
		require.NoError(r, m.ReleaseHeld(ctx, 0, m.meta, m.months(m.month), ids))
		for _, id := range ids {
			if a := m.account[id]; a.held != 0 {
				m.evaluate(a, false, nil)
			}
		}
	}
	require.NoError(r, m.CloseBreaker(ctx, 0, m.meta))
	m.release, m.broken = false, false
	for _, a := range m.account {
		a.lifted = false
	}
}

// closeMonth ends the month before: what is late counts in the present one.
func (m *model) closeMonth(r *rapid.T) {
	parent := rapid.SampledFrom([]string{"pre", "post"}).Draw(r, "parent")
	seq, err := m.Close(m.t.Context(), 0, m.meta, parent, monthName(m.month-1))
	require.NoError(r, err)
	require.Equal(r, m.seq, seq)
	m.account[parent].closed = max(m.account[parent].closed, monthName(m.month-1))
}

// strangers are calls of another epoch: refused, nothing changes.
func (m *model) stranger(r *rapid.T) {
	other := *m.meta
	other.Epoch++
	ctx := m.t.Context()
	call := m.newCall("stranger", m.drawItems(r))
	call.meta = &other
	_, charge := m.Charge(ctx, 0, m.catalog, call)
	_, settle := m.Settle(ctx, 0, &other, "task0", 1, nil, nil)
	_, move := m.Transfer(ctx, 0, &other, &TransferCall{Ref: "stranger", To: "pre", Amount: 1, Months: m.months(m.month)})
	_, manual := m.SetManual(ctx, 0, &other, &ManualChange{Account: "pre", Flag: metering.FlagManualOperator, Set: true, Months: m.months(m.month)})
	_, roll := m.Roll(ctx, 0, &other, m.months(m.month), m.order)
	for i, err := range []error{
		charge, settle, move, manual, m.Finish(ctx, 0, &other, "task0", &Finished{Seq: 1}),
		roll, m.GiveUp(ctx, 0, &other, OpenAnswer{Task: "task0", Seq: 1}, 0),
		m.Heal(ctx, 0, other.Epoch, m.corr, m.months(m.month), nil), m.Confirm(ctx, 0, other.Epoch, "ref1"),
	} {
		require.Truef(r, errors.Is(err, ErrEpoch), "call %d: %v", i, err)
	}
}
