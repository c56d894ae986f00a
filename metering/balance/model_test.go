package balance

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
)

// The model says in plain Go what the scripts do to a partition. Random
// operations are given to both; after each they must agree.

const manualFlags = metering.FlagManualOperator | metering.FlagManualParent

// rangeMax is how far a sum may go, as in lib.lua.
const rangeMax = 9.2e18

type modelAccount struct {
	id, parent    string
	mode          metering.Mode
	source        metering.Source
	limit, credit *metering.Micros
	balance       int64
	used          map[string]int64
	flags         metering.Flags
	changes       int64
	quiet         bool
	judged        string // month of the last judgement
	closed        string // parent: newest closed month
}

type modelTask struct {
	state   ReplyState
	seq     int64
	outcome string
	booked  []string
	items   []Item
	fresh   int64
	handed  bool // its duplicates went to a judge task
	judged  bool // ... that has counted them
}

type modelFact struct {
	Kind, ID string
	Flags    metering.Flags
	Change   int64
}

type model struct {
	*partition
	t       *testing.T
	catalog int64
	month   int
	seq     int64
	open    int64
	corr    int64
	forced  int64 // seq of the newest forced charge
	genseq  int64 // seq at which the dedup generation began, -1 before
	account map[string]*modelAccount
	order   []string
	seen    map[metering.Identity]bool // in the dedup sets
	rows    map[metering.Identity]bool // that the ledger would have
	tasks   map[string]*modelTask
	names   []string
	refs    map[string]modelRef
	facts   []modelFact
	counts  Counts // of the run
}

type modelRef struct {
	hash   uint64
	amount metering.Micros
	seq    int64
}

func newModel(t *testing.T, p *partition) *model {
	t.Helper()
	m := &model{
		partition: p, t: t, catalog: 1, month: 5, genseq: -1, account: map[string]*modelAccount{}, seen: map[metering.Identity]bool{},
		rows: map[metering.Identity]bool{}, tasks: map[string]*modelTask{}, refs: map[string]modelRef{},
	}
	limit := func(v metering.Micros) *metering.Micros { return &v }
	for _, a := range []*modelAccount{
		{id: "pre", mode: metering.Prepaid, source: metering.SourceWallet},
		{id: "pre-own", parent: "pre", mode: metering.Prepaid, source: metering.SourceAllocated},
		{id: "pre-all", parent: "pre", mode: metering.Prepaid, source: metering.SourceShared, limit: limit(500)},
		{id: "post", mode: metering.Postpaid, source: metering.SourceCredit, credit: limit(1000)},
		{id: "post-sub", parent: "post", mode: metering.Postpaid, source: metering.SourceCredit, limit: limit(700)},
	} {
		a.used = map[string]int64{}
		m.account[a.id] = a
		m.order = append(m.order, a.id)
	}
	return m
}

func (m *model) now() string { return monthName(m.month) }

func (m *model) parentOf(a *modelAccount) *modelAccount {
	if a.parent == "" {
		return a
	}
	return m.account[a.parent]
}

// purse of an account, nil for credit.
func (m *model) purse(a *modelAccount) *modelAccount {
	switch a.source {
	case metering.SourceAllocated:
		return a
	case metering.SourceShared, metering.SourceWallet:
		return m.parentOf(a)
	case metering.SourceCredit:
	}
	return nil
}

// evaluate is the state function.
func (m *model) evaluate(a *modelAccount, born bool, manual *metering.Flags) {
	was := a.flags
	f := was & manualFlags
	if manual != nil {
		f = *manual
	}
	used := a.used[m.now()]
	switch {
	case a.parent == "" && a.mode == metering.Prepaid && a.balance <= 0:
		f |= metering.FlagWallet
	case a.parent == "" && a.credit != nil && used >= int64(*a.credit):
		f |= metering.FlagCeiling
	}
	if a.parent != "" && a.source == metering.SourceAllocated && a.balance <= 0 {
		f |= metering.FlagBudget
	}
	if a.parent != "" && a.limit != nil && used >= int64(*a.limit) {
		f |= metering.FlagMonthly
	}
	a.flags, a.judged = f, m.now()
	if born {
		a.quiet = f != 0
		return
	}
	spoke := a.quiet
	a.quiet = false
	if f != was || spoke && f != 0 {
		a.changes++
		m.facts = append(m.facts, modelFact{"state", a.id, f, a.changes})
	}
}

// metering's own form of an account, at the model's catalog number.
func (m *model) doc(a *modelAccount) *metering.Account {
	return &metering.Account{
		ID: a.id, ParentID: a.parent, Mode: a.mode, Source: a.source, MonthlyLimit: a.limit, CreditLimit: a.credit, Catalog: m.catalog,
	}
}

// push calls push.lua with the made-up months.
func (m *model) push(r tb, ids []string, raise bool) {
	r.Helper()
	list := make([]live, 0, len(ids))
	args := []any{m.meta.Epoch, 0, nil, 0}
	if raise {
		args[1] = m.catalog
	}
	parents := map[string]bool{}
	for _, id := range ids {
		a := m.account[id]
		list = append(list, liveOf(m.doc(a)))
		if p := m.parentOf(a).id; !parents[p] {
			parents[p] = true
			args = m.months(m.month).append(append(args, p))
		}
	}
	args[2], args[3] = document(r, list), len(parents)
	_, err := m.run(m.t.Context(), "push", []string{keyMeta(0)}, args...)
	require.NoError(r, err)
	for _, id := range ids {
		a := m.account[id]
		first := a.judged == ""
		m.evaluate(a, first || a.quiet, nil)
	}
}

// agree compares everything.
func (m *model) agree(r tb) {
	r.Helper()
	ctx := m.t.Context()
	got, err := m.Read(ctx, 0, m.order)
	require.NoError(r, err)
	require.Equal(r, m.seq, got.Seq, "seq")
	require.Equal(r, m.corr, got.Corr, "correction number")
	for _, id := range m.order {
		a, st := m.account[id], got.States[id]
		require.NotNil(r, st, id)
		require.Equal(r, a.balance, int64(st.Balance), "balance of %s", id)
		used := map[string]int64{}
		for month, v := range st.Used {
			used[month] = int64(v)
		}
		maps.DeleteFunc(used, func(_ string, v int64) bool { return v == 0 })
		want := maps.Clone(a.used)
		maps.DeleteFunc(want, func(_ string, v int64) bool { return v == 0 })
		require.Equal(r, want, used, "use of %s", id)
		require.Equal(r, a.flags, st.Own, "flags of %s", id)
		require.Equal(r, a.quiet, st.Quiet, "quiet of %s", id)
		epoch := AccountEpoch(1, a.changes, 0)
		if a.parent != "" {
			epoch = AccountEpoch(1, a.changes, m.account[a.parent].changes)
		}
		require.Equal(r, epoch, st.Epoch, "epoch of %s", id)
	}
	openn, err := m.rdb.HGet(ctx, keyMeta(0), "openn").Int64()
	require.NoError(r, err)
	require.Equal(r, m.open, openn, "records of open answers")
	counts, err := m.RunCounts(ctx, "run")
	require.NoError(r, err)
	require.Equal(r, m.counts, counts, "run")
	facts, err := m.Facts(ctx, 0, 10_000)
	require.NoError(r, err)
	states := []modelFact{}
	for _, f := range facts {
		if f.Fields["k"] == "state" {
			flags, _ := strconv.Atoi(f.Fields["f"])
			change, _ := strconv.ParseInt(f.Fields["n"], 10, 64)
			states = append(states, modelFact{"state", f.Fields["id"], metering.Flags(flags), change})
		}
	}
	require.Equal(r, append([]modelFact{}, m.facts...), states, "facts")
}

// amounts that are drawn: small ones, and some that no double holds.
func drawAmount(r *rapid.T) metering.Micros {
	return metering.Micros(rapid.OneOf(
		rapid.Int64Range(1, 400), rapid.Int64Range(-300, -1), rapid.Just(int64(0)),
		rapid.SampledFrom([]int64{1<<53 + 1, 1<<53 - 1, -(1<<53 + 1), 999_999_999_999_999_999, 700_000_000_000_000_001}),
	).Draw(r, "amount"))
}

func (m *model) drawItems(r *rapid.T) []Item {
	n := rapid.IntRange(1, 5).Draw(r, "records")
	taken := map[metering.Identity]bool{}
	var items []Item
	for range n {
		a := m.account[rapid.SampledFrom(m.order).Draw(r, "account")]
		it := m.item("id"+strconv.Itoa(rapid.IntRange(0, 30).Draw(r, "id")), a.id, drawAmount(r), rapid.IntRange(0, 3).Draw(r, "cold") == 0)
		if taken[it.Identity] {
			continue
		}
		taken[it.Identity] = true
		it.Line, it.Parent, it.Period = len(items), m.parentOf(a).id, monthName(m.month-rapid.IntRange(0, 1).Draw(r, "months ago"))
		if p := m.purse(a); p != nil {
			it.Purse = p.id
		}
		items = append(items, it)
	}
	return items
}

func (m *model) newCall(task string, items []Item) *Call {
	months := map[string]Months{"pre": m.months(m.month), "post": m.months(m.month)}
	c := NewCall(task, len(items), slices.Clone(items), months, m.meta)
	c.Rated = []byte("rated " + task)
	return c
}

// charge gives a new task to both.
func (m *model) charge(r *rapid.T) {
	task := "task" + strconv.Itoa(len(m.tasks))
	items := m.drawItems(r)
	call := m.newCall(task, items)
	if rapid.IntRange(0, 9).Draw(r, "old snapshot") == 0 {
		_, err := m.Charge(m.t.Context(), 0, m.catalog-1, call)
		require.ErrorIs(r, err, ErrCatalog)
		return
	}
	reply, err := m.Charge(m.t.Context(), 0, m.catalog, call)
	var cold *ColdError
	if asked := m.cold(items); len(asked) > 0 {
		require.ErrorAs(r, err, &cold)
		lines := []int{}
		call.Found = []byte(strings.Repeat("-", len(items)))
		for _, i := range cold.Items {
			it := &call.Items[i]
			lines = append(lines, it.Line)
			call.Found[i] = '0'
			if m.rows[it.Identity] {
				call.Found[i] = '1'
			}
		}
		slices.Sort(lines)
		require.Equal(r, asked, lines, "cold records")
		call.LookedAt = cold.Now
		reply, err = m.Charge(m.t.Context(), 0, m.catalog, call)
	}
	m.apply(r, task, call, func(it *Item) bool {
		return m.seen[it.Identity] || it.OccurredAt < m.start.Add(-24*time.Hour).UnixMilli() && m.rows[it.Identity]
	}, reply, err)
}

// cold records that the sets don't know, by line.
func (m *model) cold(items []Item) []int {
	var out []int
	for i := range items {
		if !m.seen[items[i].Identity] && items[i].OccurredAt < m.start.Add(-24*time.Hour).UnixMilli() {
			out = append(out, items[i].Line)
		}
	}
	return out
}

// force charges identities that stand in their sets.
func (m *model) force(r *rapid.T) {
	task := "task" + strconv.Itoa(len(m.tasks))
	items := m.drawItems(r)
	call := m.newCall(task, items)
	call.Force, call.S = true, rapid.SampledFrom([]int64{m.seq, 0}).Draw(r, "S")
	reply, err := m.Charge(m.t.Context(), 0, m.catalog, call)
	for i := range items {
		if !m.seen[items[i].Identity] {
			require.ErrorIs(r, err, ErrRestart)
			return
		}
	}
	if max(m.forced, m.genseq) > call.S {
		require.ErrorIs(r, err, ErrAgain)
		return
	}
	if m.apply(r, task, call, func(*Item) bool { return false }, reply, err) {
		m.forced = m.seq
	}
}

// apply does to the model what a charge does, and compares the reply.
func (m *model) apply(r *rapid.T, task string, call *Call, known func(*Item) bool, reply *Reply, err error) bool {
	if m.overflows(call) {
		var over *OverflowError
		require.ErrorAs(r, err, &over)
		return false
	}
	require.NoError(r, err)
	m.seq++
	if m.genseq < 0 {
		m.genseq = m.seq // the first of its generation
	}
	mt := &modelTask{state: Held, seq: m.seq, items: call.Items}
	outcome := []byte(strings.Repeat(".", call.Lines))
	touched := map[string]bool{}
	booked := make([]string, len(call.groups))
	for i, g := range call.groups {
		if booked[i] = g.period; g.period <= m.account[g.parent].closed {
			booked[i] = m.now()
		}
	}
	for i := range call.Items {
		it := &call.Items[i]
		if known(it) {
			outcome[it.Line] = OutcomeDuplicate
		} else {
			outcome[it.Line] = OutcomeNew
			mt.fresh++
			m.move(it, booked[it.Group], int64(it.Amount))
			for _, id := range []string{it.Account, it.Parent, it.Purse} {
				touched[id] = true
			}
		}
	}
	for i := range call.Items {
		m.seen[call.Items[i].Identity] = true
	}
	mt.outcome, mt.booked = string(outcome), booked
	m.open += mt.fresh
	accounts, _ := call.accounts()
	for _, id := range accounts {
		if touched[id] {
			m.evaluate(m.account[id], false, nil)
		}
	}
	m.tasks[task] = mt
	m.names = append(m.names, task)
	require.Equal(r, Charged, reply.State)
	require.Equal(r, mt.outcome, reply.Outcome)
	require.Equal(r, booked, reply.Booked)
	require.Equal(r, mt.seq, reply.Seq)
	return true
}

// move books an amount.
func (m *model) move(it *Item, booked string, amount int64) {
	m.account[it.Account].used[booked] += amount
	if it.Parent != it.Account {
		m.account[it.Parent].used[booked] += amount
	}
	if it.Purse != "" {
		m.account[it.Purse].balance -= amount
	}
}

// overflows: the sums of a call, duplicates among them, taken as they come.
func (m *model) overflows(c *Call) bool {
	load := map[string]float64{}
	over := false
	add := func(key string, have, sum int64) {
		if _, ok := load[key]; !ok {
			load[key] = math.Abs(float64(have))
		}
		load[key] += math.Abs(float64(sum))
		over = over || load[key] > rangeMax
	}
	for _, g := range c.groups {
		if g.over {
			return true
		}
		period := g.period
		if period <= m.account[g.parent].closed {
			period = m.now()
		}
		add(g.account+period, m.account[g.account].used[period], g.sum)
		if g.account != g.parent {
			add(g.parent+period, m.account[g.parent].used[period], g.sum)
		}
		if g.purse != "" {
			add(g.purse, m.account[g.purse].balance, g.sum)
		}
	}
	return over
}

// again sends a task that is known: nothing changes.
func (m *model) again(r *rapid.T) {
	if len(m.names) == 0 {
		return
	}
	task := rapid.SampledFrom(m.names).Draw(r, "task")
	mt := m.tasks[task]
	reply, err := m.Charge(m.t.Context(), 0, m.catalog, m.newCall(task, mt.items))
	require.NoError(r, err)
	want := &Reply{State: mt.state}
	switch mt.state {
	case Held:
		want.Seq, want.Outcome, want.Booked, want.Rated = mt.seq, mt.outcome, mt.booked, []byte("rated "+task)
	case Marked:
		want.Seq, want.Outcome = mt.seq, mt.outcome
	case Done, Charged:
	}
	require.Equal(r, want, reply)
}

// settle ends an answer; its rows stand then, but for one that is reversed.
func (m *model) settle(r *rapid.T) {
	task, mt := m.pick(r, Held)
	if mt == nil {
		return
	}
	var reversed []Reversal
	var undone *Item
	for i := range mt.items {
		if it := &mt.items[i]; mt.outcome[it.Line] == OutcomeNew && rapid.IntRange(0, 5).Draw(r, "refused by the ledger") == 0 {
			reversed = append(reversed, Reversal{Line: it.Line, Account: it.Account, Parent: it.Parent, Purse: it.Purse, Booked: mt.booked[it.Group], Amount: it.Amount})
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
		if undone.Purse != "" && undone.Purse != undone.Account {
			m.evaluate(m.account[undone.Purse], false, nil)
		}
		if undone.Account != undone.Parent {
			m.evaluate(m.account[undone.Parent], false, nil)
		}
	}
	require.Equal(r, mt.outcome, outcome)
	mt.state = Marked
	m.open -= mt.fresh
}

func (m *model) pick(r *rapid.T, state ReplyState) (string, *modelTask) {
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
	if task, mt := m.pick(r, Held); mt != nil {
		require.ErrorIs(r, m.Finish(m.t.Context(), 0, m.meta, task, &Finished{Seq: mt.seq}), ErrOpen)
	}
	task, mt := m.pick(r, Marked)
	if mt == nil {
		return
	}
	require.ErrorIs(r, m.Finish(m.t.Context(), 0, m.meta, task, &Finished{Seq: mt.seq + 1}), ErrGone)
	f := &Finished{
		Seq: mt.seq, Run: "run", Counts: Counts{Stored: 1}, Judged: Counts{Duplicates: 2, Quarantined: 3},
		HandedOver: rapid.Bool().Draw(r, "handed over"),
	}
	if parent := rapid.SampledFrom(m.names).Draw(r, "parent"); parent != task && rapid.Bool().Draw(r, "judge task") {
		f.Parent = parent
	}
	require.NoError(r, m.Finish(m.t.Context(), 0, m.meta, task, f))
	mt.state = Done
	if pt := m.tasks[f.Parent]; pt != nil {
		if pt.state == Done && !pt.handed {
			return // it has counted them itself
		}
		pt.judged = pt.judged || pt.state == Marked
	}
	mt.handed = f.HandedOver
	m.counts.Stored++
	if !f.HandedOver && !mt.judged {
		m.counts.Duplicates += 2
		m.counts.Quarantined += 3
	}
}

// giveUp ends an answer without a task: its charge stands.
func (m *model) giveUp(r *rapid.T) {
	task, mt := m.pick(r, Held)
	if mt == nil {
		return
	}
	a := OpenAnswer{Task: task, Seq: mt.seq}
	require.ErrorIs(r, m.GiveUp(m.t.Context(), 0, m.meta, a, time.Hour), ErrGone, "too young")
	require.NoError(r, m.GiveUp(m.t.Context(), 0, m.meta, a, 0))
	m.open -= mt.fresh
	delete(m.tasks, task)
	m.tasks[task+" given up"] = &modelTask{state: Charged} // the number of tasks stays
	m.names = slices.DeleteFunc(m.names, func(s string) bool { return s == task })
}

// transfer moves money, sometimes under a reference that was used.
func (m *model) transfer(r *rapid.T) {
	mv := &Move{Ref: "ref" + strconv.Itoa(rapid.IntRange(0, 60).Draw(r, "ref")), Row: []byte("{}"), Months: m.months(m.month)}
	mv.Amount = metering.Micros(rapid.OneOf(rapid.Int64Range(1, 900), rapid.Just(int64(999_999_999_999_999_999))).Draw(r, "amount"))
	switch rapid.IntRange(0, 4).Draw(r, "kind") {
	case 0:
		mv.To, mv.Fresh = "pre", true
	case 1:
		mv.From, mv.To, mv.NonNeg, mv.Fresh = "pre", "pre-own", true, true
	case 2:
		mv.From, mv.To, mv.NonNeg = "pre-own", "pre", true
	case 3:
		mv.From, mv.To, mv.All = "pre-own", "pre", true
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
		require.Equal(r, held, modelRef{mv.Hash, moved.Amount, moved.Seq})
		return
	}
	amount := int64(mv.Amount)
	if mv.All {
		amount = from.balance
	}
	if mv.NonNeg && from.balance < amount {
		var short *ShortError
		require.ErrorAs(r, err, &short)
		return
	}
	far := 0.0
	if from != nil {
		far = math.Abs(float64(from.balance) - float64(amount))
	}
	if to != nil {
		far = max(far, math.Abs(float64(to.balance)+float64(amount)))
	}
	if far > rangeMax {
		require.ErrorIs(r, err, ErrRange)
		return
	}
	require.NoError(r, err)
	m.seq++
	m.refs[mv.Ref] = modelRef{mv.Hash, metering.Micros(amount), m.seq}
	if from != nil {
		from.balance -= amount
	}
	if to != nil {
		to.balance += amount
	}
	if from != nil {
		m.evaluate(from, false, nil)
	}
	if to != nil {
		m.evaluate(to, false, nil)
	}
	require.True(r, moved.Applied)
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
			require.NoError(r, m.Roll(m.t.Context(), 0, m.meta, m.months(m.month), ids))
			for _, id := range ids {
				if a := m.account[id]; a.judged != m.now() {
					m.evaluate(a, a.quiet, nil)
				}
			}
		}
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
	_, move := m.Transfer(ctx, 0, &other, &Move{Ref: "stranger", To: "pre", Amount: 1, Months: m.months(m.month)})
	_, manual := m.SetManual(ctx, 0, &other, &ManualChange{Account: "pre", Flag: metering.FlagManualOperator, Set: true, Months: m.months(m.month)})
	for i, err := range []error{
		charge, settle, move, manual, m.Finish(ctx, 0, &other, "task0", &Finished{Seq: 1}),
		m.Roll(ctx, 0, &other, m.months(m.month), m.order), m.GiveUp(ctx, 0, &other, OpenAnswer{Task: "task0", Seq: 1}, 0),
		m.Heal(ctx, 0, other.Epoch, m.corr, m.months(m.month), nil), m.Confirm(ctx, 0, other.Epoch, "ref1"),
	} {
		require.Truef(r, errors.Is(err, ErrEpoch), "call %d: %v", i, err)
	}
}

// TestScriptsAgreeWithModel runs random operations against a real Redis, and
// one of memory, and a model in Go.
func TestScriptsAgreeWithModel(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		t.Helper()
		checkModel(t, b.rdb, func(tb) {})
	})
}

// TestMemoryAgreesWithRedis gives the same random operations to a real Redis
// and to one of memory: they hold the same, key by key.
func TestMemoryAgreesWithRedis(t *testing.T) {
	t.Parallel()
	rdb := testengine.StartRedis(t).Redis(t)
	m := newMirror(rdb)
	checkModel(t, rdb, func(r tb) {
		r.Helper()
		require.Empty(r, m.errs)
		require.Equal(r, alike(dump(t, r, rdb)), alike(m.memory.Dump()))
	})
}

// alike leaves out instants and ids of their own, and empty keys.
func alike(content map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range content {
		switch v := v.(type) {
		case map[string]string:
			m := maps.Clone(v)
			for _, f := range []string{"at", "born", "replid"} {
				delete(m, f)
			}
			out[k] = m
			if len(m) == 0 {
				delete(out, k)
			}
		case []string:
			out[k] = slices.Sorted(slices.Values(v))
		case []redis.Z:
			m := map[string]string{}
			for _, z := range v {
				m[str(z.Member)] = strconv.FormatInt(int64(z.Score), 10)
			}
			out[k] = m
		case []map[string]string:
			list := []map[string]string{}
			for _, f := range v {
				f = maps.Clone(f)
				delete(f, "at")
				list = append(list, f)
			}
			out[k] = list
			if len(list) == 0 {
				delete(out, k)
			}
		default:
			out[k] = v
		}
	}
	return out
}

// checkModel runs random operations on a Redis and on the model; look is
// called after each.
func checkModel(t *testing.T, rdb *redis.Client, look func(r tb)) {
	t.Helper()
	rapid.Check(t, func(r *rapid.T) {
		m := newModel(t, fresh(t, r, rdb))
		m.push(r, m.order, false)
		m.agree(r)
		op := func(f func(*rapid.T)) func(*rapid.T) {
			return func(r *rapid.T) {
				f(r)
				m.agree(r)
				look(r)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"charge": op(m.charge), "charge more": op(m.charge), "force": op(m.force), "again": op(m.again),
			"settle": op(m.settle), "finish": op(m.finish), "give up": op(m.giveUp), "transfer": op(m.transfer),
			"limits": op(m.limits), "by hand": op(m.byHand), "heal": op(m.heal), "roll": op(m.roll),
			"close": op(m.closeMonth), "stranger": op(m.stranger),
		})
	})
}

func document(r tb, v any) string {
	r.Helper()
	b, err := json.Marshal(v)
	require.NoError(r, err)
	return string(b)
}
