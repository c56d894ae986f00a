package balance

import (
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meterd/meterd/metering"
)

// amounts that are drawn: small ones, and some that no double holds.
func drawAmount(r *rapid.T) metering.Micros {
	return metering.Micros(rapid.OneOf(
		rapid.Int64Range(1, 400), rapid.Int64Range(-300, -1), rapid.Just(int64(0)),
		rapid.SampledFrom([]int64{1<<53 + 1, 1<<53 - 1, -(1<<53 + 1), 999_999_999_999_999_999, 710_000_000_000_000_003, -999_999_999_999_999_999, -710_000_000_000_000_003}),
	).Draw(r, "amount"))
}

func (m *model) drawItems(r *rapid.T) []Item {
	n, accounts, amount := rapid.IntRange(1, 5).Draw(r, "records"), m.order, drawAmount
	if rapid.IntRange(0, 3).Draw(r, "to an end") == 0 { // of the range
		n, accounts = 9, rapid.SampledFrom([][]string{{"pre", "pre-all"}, {"post", "post-sub"}, {"pre-own"}}).Draw(r, "parent")
		most := rapid.SampledFrom([]metering.Micros{metering.MicrosMax, -metering.MicrosMax}).Draw(r, "way")
		amount = func(*rapid.T) metering.Micros { return most }
	}
	taken := map[metering.Identity]bool{}
	var items []Item
	for range n {
		a := m.account[rapid.SampledFrom(accounts).Draw(r, "account")]
		it := m.item("id"+strconv.Itoa(rapid.IntRange(0, 30).Draw(r, "id")), a.id, amount(r), rapid.IntRange(0, 3).Draw(r, "cold") == 0)
		if taken[it.Identity] {
			continue
		}
		taken[it.Identity] = true
		it.Line, it.Parent, it.Period = len(items), m.parentOf(a).id, monthName(m.month-rapid.IntRange(0, 1).Draw(r, "months ago"))
		if p := m.purse(a); p != nil {
			it.PurseAccount = p.id
		}
		items = append(items, it)
	}
	return items
}

func (m *model) newCall(task string, items []Item) *Call {
	months := map[string]Months{"pre": m.months(m.month), "post": m.months(m.month)}
	items = slices.Clone(items)
	for i := range items { // some calls change messages, none that another has changed meanwhile
		if len(items)%2 == 0 {
			items[i].Changes = items[i].Identity.ID
		}
	}
	c := NewCall(task, len(items), items, months, m.meta)
	c.StoodAt, c.AskedAt = m.seq, time.Now().UnixMilli()
	c.Rated = []byte("rated " + task)
	return c
}

// ofPost is one item of post's own, in the present month.
func (m *model) ofPost(id string, amount metering.Micros) []Item {
	it := m.item(id, "post", amount, false)
	it.Parent, it.Period = "post", m.now()
	return []Item{it}
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
	ahead := m.edge(r, call)
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
		require.Equal(r, ahead, cold.Settled)
		call.LookedAt = cold.Now
		reply, err = m.Charge(m.t.Context(), 0, m.catalog, call)
	}
	m.apply(r, task, call, func(it *Item) bool {
		return m.seen[it.Identity] || it.OccurredAt < m.start.Add(-m.meta.Window).UnixMilli() && m.rows[it.Identity]
	}, reply, err)
}

// edge asks what may be cold before the charge, and returns what has to have settled
// before it is looked up.
func (m *model) edge(r *rapid.T, call *Call) int64 {
	settled := m.genseq - 1 // what came after stands in the sets
	if m.genseq < 0 {
		settled = m.seq
	}
	want := []int{}
	for i := range call.Items {
		if call.Items[i].OccurredAt < m.start.Add(-m.meta.Window).UnixMilli() {
			want = append(want, i)
		}
	}
	err := m.Edge(m.t.Context(), 0, call)
	if len(want) == 0 {
		require.NoError(r, err)
		return settled
	}
	var cold *ColdError
	require.ErrorAs(r, err, &cold)
	require.Equal(r, want, cold.Items)
	require.Equal(r, settled, cold.Settled)
	return settled
}

// cold records that the sets don't know, by line.
func (m *model) cold(items []Item) []int {
	var out []int
	for i := range items {
		if !m.seen[items[i].Identity] && items[i].OccurredAt < m.start.Add(-m.meta.Window).UnixMilli() {
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
	call.Force, call.JudgedSeq = true, rapid.SampledFrom([]int64{m.seq, 0, AskSeq}).Draw(r, "S")
	reply, err := m.Charge(m.t.Context(), 0, m.catalog, call)
	for i := range items {
		if !m.seen[items[i].Identity] {
			require.ErrorIs(r, err, ErrRestart)
			return
		}
	}
	if max(m.forced, m.genseq) > call.JudgedSeq {
		var again *AgainError
		require.ErrorAs(r, err, &again)
		require.Equal(r, m.seq, again.Seq)
		return
	}
	if m.apply(r, task, call, func(*Item) bool { return false }, reply, err) {
		m.forced = m.seq
	}
}

// apply does to the model what a charge does, and compares the reply.
func (m *model) apply(r *rapid.T, task string, call *Call, known func(*Item) bool, reply *Answer, err error) bool {
	if groups := m.overflows(call, known); len(groups) > 0 {
		var over *OverflowError
		require.ErrorAs(r, err, &over)
		require.Equal(r, groups, over.Groups)
		return false
	}
	require.NoError(r, err)
	require.NoError(r, m.Edge(m.t.Context(), 0, call), "it has its answer")
	m.seq++
	if m.genseq < 0 {
		m.genseq = m.seq // the first of its generation
	}
	mt := &modelTask{state: AnswerOpen, seq: m.seq, items: call.Items}
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
			for _, id := range []string{it.Account, it.Parent, it.PurseAccount} {
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
	require.Equal(r, AnswerNew, reply.State)
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
	if it.PurseAccount != "" {
		m.account[it.PurseAccount].balance -= amount
	}
}

// overflows are the groups of a call whose new records take a sum out of its
// range, where all that goes the other way comes last.
func (m *model) overflows(c *Call, known func(*Item) bool) []int {
	sums := make([]big.Int, len(c.groups))
	for i := range c.Items {
		if it := &c.Items[i]; !known(it) {
			sums[it.Group].Add(&sums[it.Group], big.NewInt(int64(it.Amount)))
		}
	}
	var over []int
	sofar := map[string]*big.Int{}
	for i, g := range c.groups {
		period := g.period
		if period <= m.account[g.parent].closed {
			period = m.now()
		}
		by, less := &sums[i], new(big.Int).Neg(&sums[i])
		to := map[string]*big.Int{}
		add := func(key string, held int64, by *big.Int) {
			key += strconv.Itoa(by.Sign())
			if to[key] = sofar[key]; to[key] == nil {
				to[key] = big.NewInt(held)
			}
			to[key] = new(big.Int).Add(to[key], by)
		}
		add(g.account+period, m.account[g.account].used[period], by)
		if g.account != g.parent {
			add(g.parent+period, m.account[g.parent].used[period], by)
		}
		if g.purse != "" {
			add("purse "+g.purse, m.account[g.purse].balance, less)
		}
		out := false
		for _, n := range to {
			out = out || n.CmpAbs(big.NewInt(rangeMax)) > 0
		}
		if out {
			over = append(over, i)
			continue
		}
		maps.Copy(sofar, to)
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
	call := m.newCall(task, mt.items)
	call.Force, call.JudgedSeq = rapid.Bool().Draw(r, "by force"), m.seq // no id holds a second answer
	reply, err := m.Charge(m.t.Context(), 0, m.catalog, call)
	require.NoError(r, err)
	want := &Answer{State: mt.state}
	switch mt.state {
	case AnswerOpen:
		want.Seq, want.Outcome, want.Booked, want.Rated = mt.seq, mt.outcome, mt.booked, []byte("rated "+task)
	case AnswerSettled:
		want.Seq, want.Outcome = mt.seq, mt.outcome
	case AnswerDone, AnswerNew:
	}
	require.Equal(r, want, reply)
}
