package balance

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dchest/siphash"

	"github.com/meterd/meterd/metering"
)

// Months are the three around now of a parent: the one before, the current,
// the next. A script picks the one that Redis's clock is in.
type Months [3]metering.Period

// Item is one record to be charged.
type Item struct {
	Line         int // in the task's payload
	Identity     metering.Identity
	Account      string
	Parent       string
	PurseAccount string // account whose balance it takes from, empty: none
	Period       string // of its occurred_at
	Amount       metering.Micros
	OccurredAt   int64  // ms
	Changes      string // id of the account's message that a refund or correction changes, empty: none

	// Set by NewCall.
	Group int
	hash  uint64
}

// Call is one call of charge.lua.
type Call struct {
	Task  string
	Lines int    // of the payload
	Items []Item // sorted by dedup bucket
	Order []int  // what place an item had before it was sorted
	Rated []byte // kept with the answer, opaque here
	Rest  string // per line, outcome of those that aren't charged, "" where all are "."

	Found     []byte // per item: '1' found, '0' not, '-' not looked up; nil before a lookup
	LookedAt  int64  // Redis's time before the lookups, ms
	Force     bool   // charge although the identities stand in their sets
	JudgedSeq int64  // with Force: the seq that was judged by, AskSeq for none yet
	StoodAt   int64  // seq up to which the ledger told what messages stand at that items change
	AskedAt   int64  // Redis's time before the ledger was asked for that, ms

	groups  []group
	parents []string
	months  map[string]Months
	meta    *Meta
}

// AskSeq makes a forced charge that asks by what seq to judge: *AgainError says.
const AskSeq = -1

type group struct {
	account, parent, purse, period string
	down                           bool // its amounts are negative
	sum                            int64
}

// Answer of a charge: what the answer under the task's id says.
type Answer struct {
	State   AnswerState
	Seq     int64
	Outcome string   // per line, see the outcome bytes
	Booked  []string // per group; empty for a marker
	Rated   []byte   // only for an answer that was held before
}

// AnswerState says which of the answers it is.
type AnswerState int

// The states of a task's answer.
const (
	AnswerNew     AnswerState = iota // by this call
	AnswerOpen                       // an open answer of an earlier attempt
	AnswerSettled                    // settled before
	AnswerDone                       // finished before
)

// Outcome bytes.
const (
	OutcomeNew       = 'n'
	OutcomeDuplicate = 'd'
	OutcomeReversed  = 'x'
	OutcomeRefused   = 'q'
	OutcomeWaiting   = 'w'
	OutcomeCopy      = 'c' // of a line before it, to be judged
	OutcomeSame      = 's' // what it would change is so already
	OutcomeNone      = '.' // another slice's
)

// rangeMax is how far a sum may go, as in lib.lua.
const rangeMax = 9_200_000_000_000_000_000

// exactMax is the largest integer that a Lua number holds exactly.
const exactMax = 1 << 53

// NewCall groups the items and lays them out by bucket. Two items of one call
// must not have the same identity.
func NewCall(task string, lines int, items []Item, months map[string]Months, meta *Meta) *Call {
	c := &Call{Task: task, Lines: lines, Items: make([]Item, len(items)), Order: make([]int, len(items)), months: months, meta: meta}
	byBucket := make([]uint64, len(items)) // bucket, then place
	index := map[group]int{}
	var last group
	lastIndex := -1
	for i := range items {
		it := &items[i]
		it.hash = identityHash(meta, it.Identity)
		byBucket[i] = it.hash%uint64(meta.Buckets)<<32 | uint64(i)
		key := group{account: it.Account, parent: it.Parent, purse: it.PurseAccount, period: it.Period, down: it.Amount < 0}
		if key != last || lastIndex < 0 {
			g, ok := index[key]
			if !ok {
				g = c.begin(key, index)
			}
			last, lastIndex = key, g
		}
		if !c.groups[lastIndex].add(int64(it.Amount)) {
			lastIndex = c.begin(key, index)
			c.groups[lastIndex].sum = int64(it.Amount)
		}
		it.Group = lastIndex
	}
	slices.Sort(byBucket)
	for n, k := range byBucket {
		c.Order[n] = int(uint32(k))
		c.Items[n] = items[c.Order[n]]
	}
	return c
}

// begin a group, to which what comes next under the key is added.
func (c *Call) begin(key group, index map[group]int) int {
	index[key] = len(c.groups)
	c.groups = append(c.groups, key)
	return index[key]
}

// add an amount, unless the sum would leave the range: then it begins another group.
func (g *group) add(amount int64) bool {
	if g.down && g.sum < -rangeMax-amount || !g.down && g.sum > rangeMax-amount {
		return false
	}
	g.sum += amount
	return true
}

// identityHash is the keyed hash that the dedup sets hold.
func identityHash(m *Meta, id metering.Identity) uint64 {
	buf := make([]byte, 0, 256)
	buf = append(buf, id.AccountID...)
	buf = append(buf, 0)
	buf = append(buf, id.Kind...)
	buf = append(buf, 0)
	buf = append(buf, id.ID...)
	return siphash.Hash(m.key0, m.key1, buf)
}

// Charge runs charge.lua. Besides the guard's errors: *MissingError,
// *ColdError, *OverflowError, *AgainError, ErrCatalog, ErrFull, ErrStale,
// ErrRestart, ErrChanged.
func (s *Store) Charge(ctx context.Context, p int, catalog int64, c *Call) (*Answer, error) {
	args, err := c.args(catalog)
	if err != nil {
		return nil, err
	}
	v, err := s.run(ctx, "charge", []string{keyMeta(p), keyTask(p, c.Task)}, args...)
	if err != nil {
		return nil, err
	}
	switch kind := str(v[0]); {
	case kind == "done":
		return &Answer{State: AnswerDone}, nil
	case kind == "mark" && len(v) == 3:
		return &Answer{State: AnswerSettled, Seq: num(v[1]), Outcome: str(v[2])}, nil
	case kind == "ok" && len(v) == 5:
		return &Answer{State: AnswerNew, Seq: num(v[1]), Outcome: str(v[2]), Booked: strings.Split(str(v[3]), ",")}, nil
	case kind == "open" && len(v) == 5:
		return &Answer{State: AnswerOpen, Seq: num(v[1]), Outcome: str(v[2]), Booked: strings.Split(str(v[3]), ","), Rated: []byte(str(v[4]))}, nil
	case kind == "cold" && len(v) > 3:
		e := &ColdError{Now: num(v[1]), Settled: num(v[2])}
		for _, i := range v[3:] {
			e.Items = append(e.Items, int(num(i))-1)
		}
		return nil, e
	default:
		return nil, fmt.Errorf("script charge: unknown answer %q", kind)
	}
}

// Edge tells which items of a call may be cold, before it is charged: those that
// occurred before the window, whether the sets know them or not. None, if the task has
// an answer. Besides the guard's errors: *ColdError.
func (s *Store) Edge(ctx context.Context, p int, c *Call) error {
	v, err := s.run(ctx, "edge", []string{keyMeta(p), keyTask(p, c.Task)}, c.meta.Epoch, c.Task, c.meta.generation())
	if err != nil || str(v[0]) != "edge" {
		return err
	}
	e := &ColdError{Now: num(v[1]), Settled: num(v[2])}
	for i := range c.Items {
		if c.Items[i].OccurredAt < num(v[3]) {
			e.Items = append(e.Items, i)
		}
	}
	if len(e.Items) == 0 {
		return nil
	}
	return e
}

// FindAnswer returns the answer that a task holds; if it holds none, nil and Redis's
// time, ms.
func (s *Store) FindAnswer(ctx context.Context, p int, task string) (*Answer, int64, error) {
	v, err := s.run(ctx, "peek", []string{keyMeta(p), keyTask(p, task)})
	if err != nil {
		return nil, 0, fmt.Errorf("read the task's answer: %w", err)
	}
	r := &Answer{}
	if len(v) >= 3 {
		r.Seq, r.Outcome = num(v[1]), str(v[2])
	}
	switch str(v[0]) {
	case "o":
		r.State, r.Booked, r.Rated = AnswerOpen, strings.Split(str(v[3]), ","), []byte(str(v[4]))
	case "m":
		r.State = AnswerSettled
	case "d":
		r.State = AnswerDone
	default:
		return nil, num(v[1]), nil
	}
	return r, 0, nil
}

// args lays the call out as charge.lua's header says.
func (c *Call) args(catalog int64) ([]any, error) {
	accounts, accountIndex := c.accounts()
	parentIndex := make(map[string]int, len(c.parents))
	args := make([]any, 26, 50+len(accounts)+len(c.Items)*3)
	for _, id := range accounts {
		args = append(args, id)
	}
	sets := map[Months]int{}
	parents := make([]byte, 0, 8*len(c.parents))
	for i, id := range c.parents {
		parentIndex[id] = i + 1
		months, ok := c.months[id]
		if !ok {
			return nil, fmt.Errorf("charge %s: no months for a parent", c.Task)
		}
		if sets[months] == 0 {
			args = months.append(args)
			sets[months] = len(sets) + 1
		}
		parents = binary.LittleEndian.AppendUint32(parents, uint32(accountIndex[id]))
		parents = binary.LittleEndian.AppendUint32(parents, uint32(sets[months]))
	}
	periods := map[string]int{}
	groups := make([]byte, 0, 24*len(c.groups))
	var large strings.Builder
	for i, g := range c.groups {
		if periods[g.period] == 0 {
			args = append(args, g.period)
			periods[g.period] = len(periods) + 1
		}
		for _, n := range []int{accountIndex[g.account], parentIndex[g.parent], accountIndex[g.purse], periods[g.period]} {
			groups = binary.LittleEndian.AppendUint32(groups, uint32(n))
		}
		groups = binary.LittleEndian.AppendUint64(groups, math.Float64bits(double(exact(&large, i, g.sum))))
	}
	args, runs := c.appendRuns(args)
	packed, big, oldest := c.pack()
	mode := ""
	switch {
	case c.Force:
		mode = "force"
	case c.Found != nil:
		mode = "found"
	}
	copy(args, []any{
		c.meta.Epoch, catalog, c.Task, mode, c.JudgedSeq, c.LookedAt, len(accounts), len(c.parents), len(c.groups),
		runs, c.Lines, packed, c.Rated, c.Found, big, oldest, c.meta.generation(), c.outcome(),
		groups, large.String(), len(periods), parents, len(sets), c.StoodAt, c.changes(), c.AskedAt,
	})
	return args, nil
}

// changes is ARGV 25.
func (c *Call) changes() []byte {
	var out []byte
	for i := range c.Items {
		it := &c.Items[i]
		if it.Changes == "" {
			return nil // a call has records that change messages, or others
		}
		hash := identityHash(c.meta, metering.Identity{AccountID: it.Account, Kind: metering.KindUsage, ID: it.Changes})
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, int64(hash), 10)
	}
	return out
}

// outcome per line if no record is a duplicate.
func (c *Call) outcome() []byte {
	out := []byte(c.Rest)
	if c.Rest == "" {
		out = bytes.Repeat([]byte{OutcomeNone}, c.Lines)
	}
	for i := range c.Items {
		out[c.Items[i].Line] = OutcomeNew
	}
	return out
}

// accounts that the call touches, with the parents among them, in the order in
// which states are judged.
func (c *Call) accounts() ([]string, map[string]int) {
	var list []string
	index := map[string]int{"": 0}
	add := func(id string) {
		if _, ok := index[id]; !ok {
			list = append(list, id)
			index[id] = len(list)
		}
	}
	seen := map[string]bool{}
	c.parents = c.parents[:0]
	for _, g := range c.groups {
		add(g.account)
		add(g.purse)
		add(g.parent)
		if !seen[g.parent] {
			seen[g.parent] = true
			c.parents = append(c.parents, g.parent)
		}
	}
	return list, index
}

// append adds name, start and end of each month.
func (m Months) append(args []any) []any {
	for _, p := range m {
		args = append(args, p.Name, p.Start.UnixMilli(), p.End.UnixMilli())
	}
	return args
}

// runMax bounds how many hashes one set is asked for at once: Lua's stack.
const runMax = 4000

func (c *Call) appendRuns(args []any) ([]any, int) {
	runs, buckets := 0, uint64(c.meta.Buckets)
	for i := 0; i < len(c.Items); {
		b := c.Items[i].hash % buckets
		j := i + 1
		for j < len(c.Items) && j-i < runMax && c.Items[j].hash%buckets == b {
			j++
		}
		args = append(args, b, j-i)
		for _, it := range c.Items[i:j] {
			args = append(args, int64(it.hash))
		}
		runs++
		i = j
	}
	return args, runs
}

// pack is ARGV 12, with the amounts that a double can't hold and the oldest
// occurred_at.
func (c *Call) pack() (packed []byte, big string, oldest int64) {
	packed = make([]byte, 0, 24*len(c.Items))
	oldest = math.MaxInt64
	var large strings.Builder
	for i, it := range c.Items {
		packed = binary.LittleEndian.AppendUint32(packed, uint32(it.Line))
		packed = binary.LittleEndian.AppendUint32(packed, uint32(it.Group))
		packed = binary.LittleEndian.AppendUint64(packed, math.Float64bits(double(exact(&large, i, int64(it.Amount)))))
		packed = binary.LittleEndian.AppendUint64(packed, math.Float64bits(double(it.OccurredAt)))
		oldest = min(oldest, it.OccurredAt)
	}
	return packed, large.String(), oldest
}

// exact is an amount that a double holds, or 0 for one that is named in a list.
func exact(list *strings.Builder, i int, amount int64) int64 {
	if amount <= exactMax && amount >= -exactMax {
		return amount
	}
	if list.Len() > 0 {
		list.WriteByte(',')
	}
	list.WriteString(strconv.Itoa(i+1) + "=" + strconv.FormatInt(amount, 10))
	return 0
}
