package balance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/metering"
)

// live is what push.lua takes of an account. A projection that stands is pushed
// only what is newer: a version with another field here has to rebuild it.
type live struct {
	ID     string `json:"id"`
	Parent string `json:"par"`
	Mode   string `json:"mode"`
	Source string `json:"src"`
	Limit  string `json:"lim"`
	Ceil   string `json:"ceil"`
	Alerts string `json:"alerts"`
	// Observe "1": a parent whose accounts are never suspended by themselves.
	Observe string `json:"obs"`
	// Channels: "*" all, else comma-separated.
	Channels string `json:"ch"`
	// Priced are the channels that the plan prices, as Channels.
	Priced  string `json:"pr"`
	Closed  string `json:"closed"`
	Catalog string `json:"cat"`
	// First catalog number of the account: a projection of a later one has had it.
	First string `json:"first"`
}

func liveOf(a *metering.Account) live {
	l := live{
		ID: a.ID, Parent: a.ParentID, Mode: string(a.Mode), Source: string(a.Source),
		Channels: "*", Priced: "*", Catalog: strconv.FormatInt(a.Catalog, 10),
		First: strconv.FormatInt(cmp.Or(a.First, a.Catalog), 10),
	}
	if a.MonthlyLimit != nil {
		l.Limit = strconv.FormatInt(int64(*a.MonthlyLimit), 10)
	}
	if a.CreditLimit != nil && a.IsParent() && a.Mode == metering.Postpaid {
		l.Ceil = strconv.FormatInt(int64(*a.CreditLimit), 10)
	}
	shares := make([]string, len(a.Alerts))
	for i, s := range a.Alerts {
		shares[i] = strconv.Itoa(s)
	}
	l.Alerts = strings.Join(shares, ",")
	if n := len(a.Channels); n > 0 && a.Channels[n-1].Channels != nil {
		l.Channels = strings.Join(a.Channels[n-1].Channels, ",")
	}
	if a.Priced != nil {
		l.Priced = strings.Join(a.Priced, ",")
	}
	if a.ClosedAt != nil {
		l.Closed = "1"
	}
	if a.Observe {
		l.Observe = "1"
	}
	return l
}

// pushMax bounds the accounts of one push: a script blocks Redis.
const pushMax = 200

// Push makes the accounts' live values stand in the partition, parents before
// their sub-accounts, and raises its catalog number (0: leaves it).
func (s *Store) Push(ctx context.Context, p int, meta *Meta, catalog int64, accounts []*metering.Account, now time.Time) error {
	for start := 0; start == 0 || start < len(accounts); start += pushMax {
		page := accounts[min(start, len(accounts)):min(start+pushMax, len(accounts))]
		list := make([]live, 0, len(page))
		args := []any{meta.Epoch, 0, nil, 0}
		parents := map[string]bool{}
		for _, a := range page {
			list = append(list, liveOf(a))
			if !parents[a.Parent()] {
				parents[a.Parent()] = true
				args = MonthsAround(a.Calendar, now).append(append(args, a.Parent()))
			}
		}
		doc, err := json.Marshal(list)
		if err != nil {
			return fmt.Errorf("push accounts: %w", err)
		}
		if start+pushMax >= len(accounts) {
			args[1] = catalog
		}
		args[2], args[3] = doc, len(parents)
		if _, err := s.run(ctx, "push", []string{keyMeta(p)}, args...); err != nil {
			return fmt.Errorf("push accounts: %w", err)
		}
	}
	return nil
}

// PushSnapshot pushes a partition's accounts that changed after a catalog
// number (-1: all), parents first. A changed sub-account brings its parent
// along, and a parent its sub-accounts: states need both.
func (s *Store) PushSnapshot(ctx context.Context, p int, meta *Meta, snap *metering.Snapshot, since int64, now time.Time) error {
	var list []*metering.Account
	for _, parent := range snap.Parents {
		if s.PartitionOf(parent) != p {
			continue
		}
		at, a := len(list), snap.Accounts[parent]
		changed := max(a.Catalog, a.PlanCatalog) > since
		list = append(list, a)
		for _, id := range snap.Subs[parent] {
			// What holds for a parent may hold for its sub-accounts too.
			if sub := snap.Accounts[id]; max(sub.Catalog, sub.PlanCatalog, a.Catalog) > since {
				list = append(list, sub)
				changed = true
			}
		}
		if !changed {
			list = list[:at]
		}
	}
	return s.Push(ctx, p, meta, snap.Catalog, list, now)
}

// MonthsAround an instant: the month before, its own, the next.
func MonthsAround(c *metering.Calendar, now time.Time) Months {
	cur := c.Of(now)
	return Months{c.Of(cur.Start.Add(-time.Millisecond)), cur, c.Of(cur.End)}
}

// State is an account's live state.
type State struct {
	ID       string
	ParentID string
	Held     bool // the partition holds it
	Own      metering.Flags
	Parent   metering.Flags // the parent's own, all of them
	// OwnHeldBack and ParentHeldBack are reasons that hold without effect: the parent
	// only observes, or the breaker is open.
	OwnHeldBack, ParentHeldBack metering.Flags
	Source                      metering.Source
	Closed                      bool
	Channels                    string // "*" all, else comma-separated
	Priced                      string // channels that its plan prices, as Channels
	// Epoch rises with every change of the account's state.
	Epoch int64
	// At is when Epoch came about (ms), 0 where that isn't known, since a rebuild.
	At int64
	// FlagsUntil: monthly flags end then (ms), for the own and the parent's.
	OwnUntil, ParentUntil int64
	Balance               metering.Micros
	Used                  map[string]metering.Micros // by booked period
	SilentFromBirth       bool                       // suspended from birth, never told
	Judged                bool                       // false: flags don't say yet what holds, the projection has just been made
	ClosedThrough         string                     // parent: newest closed period

	counters counters // where State has read it
}

// Flags that hold at the instant now (ms): monthly ones end with their period.
func (st *State) Flags(now int64) (own, inherited metering.Flags) {
	return st.hold(st.Own, st.Parent, now)
}

// HeldBack are the flags that would hold, had they an effect.
func (st *State) HeldBack(now int64) metering.Flags {
	own, inherited := st.hold(st.OwnHeldBack, st.ParentHeldBack, now)
	return own | inherited
}

func (st *State) hold(own, parent metering.Flags, now int64) (metering.Flags, metering.Flags) {
	if st.OwnUntil > 0 && now >= st.OwnUntil {
		own &^= metering.FlagsMonthly
	}
	if st.ParentUntil > 0 && now >= st.ParentUntil {
		parent &^= metering.FlagsMonthly
	}
	if st.ParentID == "" {
		return own, 0
	}
	return own, parent.Inherited(st.Source)
}

// epochSpan separates projection epochs within an account's epoch.
const epochSpan = 1_000_000_000

// State reads one account. Held is false if no partition knows it: only where all
// have a projection. ErrEmpty, ErrAnew: there is none, or it isn't whole yet.
func (s *Store) State(ctx context.Context, id string) (*State, error) {
	// Which partition holds it isn't known without its parent: each is asked once,
	// later the one that held it.
	known, _ := s.homes.Load(id)
	if h, ok := known.(home); ok {
		if st, err := s.stateIn(ctx, id, h); err != nil || st.Held {
			return st, err
		}
	}
	var lacking error // a partition that might hold it
	for p := range s.partitions {
		st, err := s.stateIn(ctx, id, home{partition: p})
		if errors.Is(err, ErrEmpty) || errors.Is(err, ErrAnew) {
			lacking = err
			continue
		}
		if err != nil {
			return nil, err
		}
		if st.Held && s.PartitionOf(cmp.Or(st.ParentID, id)) == p { // else what was left there by another number of partitions
			s.homes.Store(id, home{p, st.ParentID})
			return st, nil
		}
	}
	if lacking != nil {
		return nil, lacking
	}
	return &State{ID: id}, nil
}

// home is where an account's state was found.
type home struct {
	partition int
	parent    string // "" where that isn't known, or it is one itself
}

// stateIn asks once where the parent is known, else twice; each answer is of one
// projection, and of a Redis that hasn't been restarted or failed over since it was made
// or adopted: what another one has may be of before a suspension, and nothing is charged
// in it (ErrAnew).
func (s *Store) stateIn(ctx context.Context, id string, h home) (*State, error) {
	for parent, asked := h.parent, false; ; asked = true {
		ids := []string{id}
		if parent != "" {
			ids = append(ids, parent)
		}
		pr, err := s.Read(ctx, h.partition, ids)
		if errors.Is(err, ErrReplid) || errors.Is(err, ErrLost) {
			return nil, ErrAnew
		}
		if err != nil {
			return nil, err
		}
		st := pr.States[id]
		switch {
		case st == nil:
			return &State{ID: id}, nil
		case st.ParentID != parent && !asked:
			parent = st.ParentID
			continue
		case !st.Judged || st.ParentID != "" && (pr.States[st.ParentID] == nil || !pr.States[st.ParentID].Judged):
			return nil, ErrAnew
		}
		return st, nil
	}
}

func stateOf(id string, v map[string]string) *State {
	n := func(f string) int64 { x, _ := strconv.ParseInt(v[f], 10, 64); return x }
	st := &State{
		ID: id, ParentID: v["par"], Held: true, Own: metering.Flags(n("f")), OwnHeldBack: metering.Flags(n("h")),
		Source: metering.Source(v["src"]), Closed: v["closed"] == "1", Channels: v["ch"], Priced: v["pr"], Epoch: n("n"), At: n("at"),
		OwnUntil: n("fe"), Balance: metering.Micros(n("bal")), SilentFromBirth: v["quiet"] == "1", Judged: v["fp"] != "", ClosedThrough: v["thr"],
		Used: map[string]metering.Micros{},
	}
	for f, x := range v {
		if period, ok := strings.CutPrefix(f, "u:"); ok {
			u, _ := strconv.ParseInt(x, 10, 64)
			st.Used[period] = metering.Micros(u)
		}
	}
	return st
}

// counters are what an account's epoch is made of.
type counters struct{ projection, own, parent int64 }

func (c counters) epoch() int64 { return AccountEpoch(c.projection, c.own, c.parent) }

// AccountEpoch of a fact: projection epoch, own counter, parent's counter.
func AccountEpoch(projection, own, parent int64) int64 { return projection*epochSpan + own + parent }

// Projection is what the partition holds of some accounts, at Seq.
type Projection struct {
	Epoch, Seq, Corrections int64
	States                  map[string]*State // only those held
}

// State of an account; nil: the partition doesn't hold it. ErrAnew: its flags don't say
// yet what holds.
func (pr *Projection) State(id string) (*State, error) {
	st := pr.States[id]
	if st != nil && !st.Judged {
		return nil, ErrAnew
	}
	return st, nil
}

// complete adds what a sub-account has of its parent, where both were read.
func (pr *Projection) complete() {
	own := make(map[string]int64, len(pr.States))
	for id, st := range pr.States {
		own[id] = st.Epoch
	}
	for id, st := range pr.States {
		st.counters = counters{projection: pr.Epoch, own: own[id], parent: own[st.ParentID]}
		st.Epoch = st.counters.epoch()
		if p := pr.States[st.ParentID]; p != nil {
			st.Parent, st.ParentUntil, st.ParentHeldBack = p.Own, p.OwnUntil, p.OwnHeldBack
			st.At = max(st.At, p.At)
		}
	}
}

// Read reads the accounts' projection in one script. With a parent among them,
// its sub-accounts' states are complete.
func (s *Store) Read(ctx context.Context, p int, ids []string) (*Projection, error) {
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	v, err := s.run(ctx, "read", []string{keyMeta(p)}, args...)
	if err != nil {
		return nil, err
	}
	if err := s.fits(int(num(v[4]))); err != nil {
		return nil, err
	}
	pr := &Projection{Epoch: num(v[1]), Seq: num(v[2]), Corrections: num(v[3]), States: map[string]*State{}}
	for i, id := range ids {
		pairs, _ := v[5+i].([]any)
		m := make(map[string]string, len(pairs)/2)
		for k := 0; k+1 < len(pairs); k += 2 {
			m[str(pairs[k])] = str(pairs[k+1])
		}
		if _, ok := m["par"]; ok {
			pr.States[id] = stateOf(id, m)
		}
	}
	pr.complete()
	return pr, nil
}

// absentMax bounds the accounts that are asked for at once.
const absentMax = 1000

// Absent are those of a partition's accounts that it doesn't hold.
func (s *Store) Absent(ctx context.Context, p int, ids []string) (absent []string, err error) {
	for page := range slices.Chunk(ids, absentMax) {
		held := make([]*redis.IntCmd, len(page))
		if _, err := s.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, id := range page {
				held[i] = pipe.Exists(ctx, keyAccount(p, id))
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("look for accounts: %w", err)
		}
		for i, id := range page {
			if held[i].Val() == 0 {
				absent = append(absent, id)
			}
		}
	}
	return absent, nil
}

// LostAccounts are a partition's accounts that were pushed to the projection of meta and
// that it holds no more. What was applied later is on its way.
func (s *Store) LostAccounts(ctx context.Context, p int, meta *Meta, snap *metering.Snapshot) ([]string, error) {
	var had []string
	for _, parent := range snap.Parents {
		if s.PartitionOf(parent) != p {
			continue
		}
		for _, id := range snap.Family(parent) {
			if snap.Accounts[id].First <= meta.Catalog {
				had = append(had, id)
			}
		}
	}
	return s.Absent(ctx, p, had)
}

// Drift is what a field of the projection lacks against the ledger.
type Drift struct {
	Account string
	Field   string          // "bal" or "u:<period>"
	Have    metering.Micros // what the projection held
	Delta   metering.Micros // what it lacked
}

// Heal adds the drifts of one parent's accounts, unless the epoch or the
// correction number has moved since the snapshot (ErrEpoch, ErrMoved).
func (s *Store) Heal(ctx context.Context, p int, epoch, corr int64, months Months, drifts []Drift) error {
	args := months.append([]any{epoch, corr})
	for _, d := range drifts {
		args = append(args, d.Account, d.Field, int64(d.Delta))
	}
	_, err := s.run(ctx, "heal", []string{keyMeta(p)}, args...)
	return err
}

// Roll judges the accounts of one parent anew for its current month, by Redis's
// clock, and returns which that was; of several pages the earliest.
func (s *Store) Roll(ctx context.Context, p int, meta *Meta, months Months, accounts []string) (month string, err error) {
	for start := 0; start < len(accounts); start += pushMax {
		args := months.append([]any{meta.Epoch})
		for _, id := range accounts[start:min(start+pushMax, len(accounts))] {
			args = append(args, id)
		}
		v, err := s.run(ctx, "roll", []string{keyMeta(p)}, args...)
		if err != nil {
			return "", fmt.Errorf("roll the month: %w", err)
		}
		if m := str(v[1]); month == "" || m < month {
			month = m
		}
	}
	return month, nil
}

// Close makes the parent's months up to period take no more records. It
// returns the seq at which that came to be.
func (s *Store) Close(ctx context.Context, p int, meta *Meta, parent, period string) (int64, error) {
	v, err := s.run(ctx, "close", []string{keyMeta(p)}, meta.Epoch, parent, period)
	if err != nil {
		return 0, fmt.Errorf("close the month: %w", err)
	}
	return num(v[1]), nil
}
