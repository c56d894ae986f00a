package balance

import (
	"encoding/json"
	"maps"
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

type modelAccount struct {
	id, parent    string
	mode          metering.Mode
	source        metering.Source
	limit, credit *metering.Micros
	balance       int64
	base          *int64 // of alerts about a purse: balance right after the last top-up or allocation, and what moved since
	used          map[string]int64
	flags         metering.Flags
	held          metering.Flags // without effect
	lifted        bool           // suspended when the breaker opened, and lifted since
	changes       int64
	quiet         bool
	judged        string // month of the last judgement
	closed        string // parent: newest closed month
	alerts        []int  // parent: shares to be told of
}

type modelTask struct {
	state   AnswerState
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
	reasons map[metering.Reason]int64
	broken  bool // the breaker is open
	release bool // what is held back takes effect
}

type modelRef struct {
	hash   uint64
	amount metering.Micros
	seq    int64
	after  map[string]metering.Micros // by purse
}

func newModel(t *testing.T, p *partition) *model {
	t.Helper()
	m := &model{
		reasons:   map[metering.Reason]int64{},
		partition: p, t: t, catalog: 1, month: 5, genseq: -1, account: map[string]*modelAccount{}, seen: map[metering.Identity]bool{},
		rows: map[metering.Identity]bool{}, tasks: map[string]*modelTask{}, refs: map[string]modelRef{},
	}
	limit := func(v metering.Micros) *metering.Micros { return &v }
	for _, a := range []*modelAccount{
		{id: "pre", mode: metering.Prepaid, source: metering.SourceWallet, alerts: []int{50, 80, 100}},
		{id: "pre-own", parent: "pre", mode: metering.Prepaid, source: metering.SourceAllocated},
		{id: "pre-all", parent: "pre", mode: metering.Prepaid, source: metering.SourceShared, limit: limit(500)},
		{id: "post", mode: metering.Postpaid, source: metering.SourceCredit, credit: limit(1000), alerts: []int{50, 80, 100}},
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
	silent := born && f&^(metering.FlagBudget|metering.FlagWallet) == 0
	held := metering.Flags(0)
	if m.broken && was.Automatic() == 0 && !born && !m.release && !a.lifted {
		held = f.Automatic()
		f &^= held
	}
	if m.broken && held == 0 && !a.quiet && was.Automatic() != 0 && f.Automatic() == 0 {
		a.lifted = true
	}
	back := held != a.held
	a.flags, a.held, a.judged = f, held, m.now()
	if silent && (was == 0 || f == was) {
		a.quiet = f != 0
		return
	}
	spoke := a.quiet
	a.quiet = false
	if f != was || back || spoke && f != 0 {
		a.changes++
		m.facts = append(m.facts, modelFact{"state", a.id, f, a.changes})
	}
}

// metering's own form of an account, at the model's catalog number.
func (m *model) doc(a *modelAccount) *metering.Account {
	return &metering.Account{
		ID: a.id, ParentID: a.parent, Mode: a.mode, Source: a.source, MonthlyLimit: a.limit, CreditLimit: a.credit, Catalog: m.catalog,
		Alerts: a.alerts,
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
	require.Equal(r, m.corr, got.Corrections, "correction number")
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
		require.Equal(r, a.held, st.OwnHeldBack, "flags of %s that are held back", id)
		require.Equal(r, a.quiet, st.SilentFromBirth, "quiet of %s", id)
		base, err := m.rdb.HMGet(ctx, keyAccount(0, id), "base").Result()
		require.NoError(r, err)
		if a.base != nil {
			require.Equal(r, *a.base, num(base[0]), "base of %s", id)
		}
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
	reasons, err := m.RunReasons(ctx, "run")
	require.NoError(r, err)
	require.Equal(r, m.reasons, reasons, "run")
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
	testengine.Bound(t, 5*time.Minute) // hundreds of random checks
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
			for _, f := range []string{"at", "born", "replid", "calm"} {
				delete(m, f) // the last one spares the scripts work, and changes nothing
			}
			// A sum that comes to nothing is written by one and not by the other.
			maps.DeleteFunc(m, func(f, v string) bool { return (f == "bal" || strings.HasPrefix(f, "u:")) && v == "0" })
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
		m.push(r, m.order, true)
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
			"close": op(m.closeMonth), "breaker": op(m.breaker), "stranger": op(m.stranger),
		})
	})
}

func document(r tb, v any) string {
	r.Helper()
	b, err := json.Marshal(v)
	require.NoError(r, err)
	return string(b)
}
