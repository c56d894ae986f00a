package ledger

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
)

// pair is a real ledger and one of memory, which get the same.
type pair struct {
	t      *testing.T
	rng    *rand.Rand
	both   [2]*Ledger
	memory *ledgertest.Server
	salt   string // a round's own accounts
	serial int
	waits  []Waiting // that were inserted
}

func (p *pair) each(f func(l *Ledger) error) {
	p.t.Helper()
	for _, l := range p.both {
		require.NoError(p.t, f(l))
	}
}

// same wants the same answer of both.
func same[T any](p *pair, what string, f func(l *Ledger) (T, error)) {
	p.t.Helper()
	var got [2]T
	for i, l := range p.both {
		var err error
		got[i], err = f(l)
		require.NoError(p.t, err, what)
	}
	require.Equal(p.t, got[0], got[1], what)
}

func (p *pair) pick(n int) int { return p.rng.IntN(n) }

func (p *pair) account(n int) string { return fmt.Sprintf("acc%d'\\-%s", n, p.salt) }

func (p *pair) parent() string { return "parent-" + p.salt }

// parentOf an account: the second has another.
func (p *pair) parentOf(n int) string {
	if n%2 == 1 {
		return "other-" + p.salt
	}
	return p.parent()
}

func (p *pair) parents() []string { return []string{p.parent(), "nobody-" + p.salt, p.parentOf(1)} }

// row of a small set of identities. What decides is a function of identity and
// epoch: of rows that tie, ClickHouse may show any.
func (p *pair) row() Row {
	id, epoch, kind := p.pick(4), p.pick(3)+1, p.pick(5)
	at := noon.AddDate(0, -((id + epoch) % 2), 0)
	var r Row
	switch kind {
	case 0:
		r = status(fmt.Sprintf("s%d", id), fmt.Sprintf("m%d", id), []string{"failed", "delivered", "undelivered"}[epoch-1], at.Add(time.Duration(id)*time.Minute))
	case 1:
		r = refund(fmt.Sprintf("m%d", id), metering.Micros(1000*epoch+id), at)
	case 2: // to what the refund of its epoch gives back, where the message is of that epoch too
		r = sent(fmt.Sprintf("a%d", id), at)
		r.Record.Kind, r.Record.RefersTo = metering.KindAdjustment, fmt.Sprintf("m%d", id)
		r.Charge.Amount, r.Charge.Fee = metering.Micros(-6000*epoch), -10_000
	default:
		r = sent(fmt.Sprintf("m%d", id), at)
		r.Record.Status = []string{"failed", "sent", ""}[epoch-1]
		r.Charge.Amount = metering.Micros(7000*epoch + id)
	}
	r.Record.AccountID, r.ParentID = p.account(id%2), p.parentOf(id)
	r.Epoch, r.Seq, r.Hash = int64(epoch), int64(10*id+epoch), uint64(100*id+epoch)
	if r.Record.Kind == metering.KindAdjustment {
		r.Seq += int64(2*(id%2) - 1) // before its refund or behind it
	}
	r.Purse = []metering.Purse{metering.PurseCredit, metering.PurseWallet, metering.PurseBudget}[epoch-1]
	r.Booked = []string{"2026-10", "2026-11"}[id%2]
	return r
}

func (p *pair) now() time.Time {
	p.serial++
	return noon.Add(time.Duration(p.serial) * time.Second)
}

func (p *pair) records() {
	rows := make([]*Row, p.pick(5)+1)
	for i := range rows {
		r := p.row()
		rows[i] = &r
	}
	now := p.now()
	p.each(func(l *Ledger) error {
		require.NoError(p.t, l.noteStatuses(p.t.Context(), rows, now))
		_, err := l.insertRows(p.t.Context(), rows, now)
		return err
	})
}

func (p *pair) entries() {
	now := p.now()
	id, kind := p.pick(4), []metering.Kind{metering.KindUsage, metering.KindRefund, metering.KindAdjustment, ""}[p.pick(4)]
	e := Entry{
		ID: EntryID(p.account(id), "usage", fmt.Append(nil, p.salt, id)), Reason: metering.ReasonConflict, AccountID: p.account(id % 2), Kind: kind,
		RecordID: fmt.Sprintf("m%d", id), ContentHash: uint64(100*id + 2), Raw: []byte("raw'\\\n"), QuarantinedAt: now,
		State: []string{QuarantineOpen, QuarantineReplayed}[p.pick(2)], Again: p.pick(2) == 1,
	}
	p.each(func(l *Ledger) error { return l.openQuarantine(p.t.Context(), []Entry{e}, now) })
}

func (p *pair) waiting() {
	now := p.now()
	id := p.pick(4)
	w := Waiting{AccountID: p.account(id % 2), RefersTo: fmt.Sprintf("m%d", id), ID: "r", Raw: []byte("{}"), Since: now, Version: uint64(now.UnixMicro())}
	switch {
	case len(p.waits) > 0 && p.pick(3) == 0: // some more than once
		w = p.waits[p.pick(len(p.waits))]
		w.Done, w.Version = true, uint64(now.UnixMicro())
	default:
		p.waits = append(p.waits, w)
	}
	p.each(func(l *Ledger) error { return l.InsertWaiting(p.t.Context(), []Waiting{w}) })
}

func (p *pair) transfers() {
	n, epoch := p.pick(3), p.pick(3)+1
	row := TransferRow{Booked: "2026-11", At: noon, Epoch: int64(epoch), Seq: int64(10*n + epoch), Base: metering.Micros(10*n + epoch), Transfer: metering.Transfer{
		Ref: fmt.Sprintf("ref%d-%s", n, p.salt), Kind: []metering.TransferKind{metering.TransferAllocate, metering.TransferReclaim, metering.TransferSweep}[n%3], ParentID: p.parentOf(n), AccountID: p.account(n % 2),
		Amount: metering.Micros(100 * (n + 1)), Currency: "EUR", Actor: "operator",
	}}
	p.each(func(l *Ledger) error { return l.InsertTransfers(p.t.Context(), []TransferRow{row}) })
}

func (p *pair) rerates() {
	n := p.pick(2)
	x := Rerate{Ref: fmt.Sprintf("ref%d-%s", n, p.salt), ParentID: p.parent(), Period: "2026-10", Plan: "dear", Reason: "x", Actor: "operator", At: p.now()}
	p.each(func(l *Ledger) error { return l.InsertRerate(p.t.Context(), &x) })
	run := RerateRun{ParentID: p.parentOf(n), Run: fmt.Sprintf("run%d-%s", p.pick(2), p.salt), Ref: x.Ref, BegunAt: x.At, Ended: p.pick(2) == 0}
	p.each(func(l *Ledger) error { return l.InsertRerateRun(p.t.Context(), &run) })
}

func (p *pair) states() {
	n, epoch := p.pick(2), p.pick(5)
	row := StateRow{AccountID: p.account(n), ParentID: p.parentOf(n), Epoch: int64(epoch), Flags: []metering.Flags{0, 3, 16, 9, 48}[epoch], At: noon.Add(time.Duration(epoch-2) * time.Millisecond)}
	p.each(func(l *Ledger) error { return l.InsertStates(p.t.Context(), []StateRow{row}) })
}

func (p *pair) alerts() {
	n, at := p.pick(2), noon.Add(time.Duration(p.pick(3)-1)*time.Millisecond)
	row := AlertRow{
		AccountID: p.account(n), ParentID: p.parentOf(n), Limit: []string{"wallet", "budget", "credit", "monthly_limit"}[p.pick(4)],
		Mark: []string{"2026-10", "2026-11"}[p.pick(2)], Share: p.pick(3) * 50, Epoch: int64(p.pick(3)), At: at,
	}
	p.each(func(l *Ledger) error { return l.InsertAlerts(p.t.Context(), []AlertRow{row}) })
}

func (p *pair) epochs() {
	n := p.pick(9)
	p.each(func(l *Ledger) error { return l.InsertEpoch(p.t.Context(), n%3, 2+n%2, int64(n), "test", noon) })
	p.serial++
	b := Breaker{Partition: p.pick(4), Open: p.pick(2) == 0, AccountID: p.account(0), At: noon.Add(time.Duration(p.serial) * time.Millisecond)} // no two at once
	p.each(func(l *Ledger) error { return l.InsertBreaker(p.t.Context(), &b) })
}

func (p *pair) merge() {
	p.memory.Merge([]string{"records", "quarantine", "waiting", "transfers", "statuses", "refund_looks", "refund_waits"}[p.pick(7)])
}

// agree asks both everything that the protocol asks.
func (p *pair) agree() {
	ctx := p.t.Context()
	var ids []metering.Identity
	var keys []MessageKey
	for n := range 4 {
		a := p.account(n % 2)
		keys = append(keys, MessageKey{a, fmt.Sprintf("m%d", n)})
		ids = append(ids, metering.Identity{AccountID: a, Kind: "usage", ID: fmt.Sprintf("m%d", n)},
			metering.Identity{AccountID: a, Kind: "refund", ID: fmt.Sprintf("m%d", n)}, metering.Identity{AccountID: a, Kind: "status", ID: fmt.Sprintf("s%d", n)})
	}
	same(p, "lookup", func(l *Ledger) (map[metering.Identity]Stored, error) { return l.Lookup(ctx, ids) })
	same(p, "messages", func(l *Ledger) (map[MessageKey]Message, error) { return l.Messages(ctx, keys) })
	epoch, seq := int64(p.pick(5)), int64(p.pick(40))
	var of []SumsOf
	for i, parent := range p.parents() {
		of = append(of, SumsOf{Parent: parent, Base: &Base{Through: []string{"", "2026-09", "2026-10"}[(i+p.serial)%3]}, Seq: seq + int64(10*i)})
	}
	same(p, "sums", func(l *Ledger) (map[string]*Sums, error) { return l.Sums(ctx, epoch, of) })
	same(p, "seq", func(l *Ledger) (int64, error) { return l.MaxSeq(ctx, epoch) })
	same(p, "epoch", func(l *Ledger) (int64, error) { return l.MaxEpoch(ctx) })
	same(p, "flags", func(l *Ledger) (map[string]StateRow, error) { return l.LatestFlags(ctx, p.parents()) })
	same(p, "suspended since", func(l *Ledger) (map[string]bool, error) {
		return l.SuspendedSince(ctx, p.parents(), noon.Add(time.Duration(p.serial%4-1)*time.Millisecond))
	})
	same(p, "refs", func(l *Ledger) (map[string]Ref, error) {
		out := map[string]Ref{}
		return out, l.Refs(ctx, p.parents(), noon.AddDate(0, 0, p.serial%2), func(x *Ref) error { out[x.Ref] = *x; return nil })
	})
	same(p, "alert marks", func(l *Ledger) (map[string][]AlertMark, error) {
		marks, err := l.AlertMarks(ctx, p.parents())
		for _, list := range marks {
			slices.SortFunc(list, func(a, b AlertMark) int { return strings.Compare(a.Limit, b.Limit) })
		}
		return marks, err
	})
	same(p, "reference", func(l *Ledger) (*UsedRef, error) { return l.TransferByRef(ctx, "ref1-"+p.salt) })
	same(p, "quarantine", func(l *Ledger) ([]Entry, error) {
		var out []Entry
		q := QuarantineFilter{Accounts: []string{p.account(0), p.account(1)}, Redacted: p.serial%2 == 0}
		err := l.Quarantined(ctx, q, func(e *Entry) error { out = append(out, *e); return nil })
		return out, err
	})
	same(p, "waiting", func(l *Ledger) ([]string, error) {
		var out []string
		err := l.WaitingRefunds(ctx, noon.Add(3*time.Second), func(w *Waiting, come bool) error {
			if slices.Contains([]string{p.account(0), p.account(1)}, w.AccountID) {
				out = append(out, fmt.Sprint(w.AccountID, w.RefersTo, w.Since, come))
			}
			return nil
		})
		sort.Strings(out)
		return out, err
	})
	same(p, "rated", func(l *Ledger) ([]string, error) {
		var out []string
		q := RatedQuery{Parent: p.parent(), Period: []string{"", "2026-10"}[p.serial%2]}
		if p.serial%3 == 0 {
			q.Account = p.account(0)
		}
		err := l.RatedMessages(ctx, q, func(m *RatedMessage) error { out = append(out, fmt.Sprintf("%+v", *m)); return nil })
		sort.Strings(out) // an identity may have rows in two partitions
		return out, err
	})
	same(p, "booked twice", func(l *Ledger) ([]metering.Identity, error) {
		return l.BookedTwice(ctx, ParentMonth{ParentID: p.parent(), Period: "2026-10"}, []string{p.account(0), p.account(1)}, noon.AddDate(0, -(p.serial%3), 1))
	})
	same(p, "re-rating", func(l *Ledger) (string, error) {
		x, err := l.RerateByRef(ctx, "ref1-"+p.salt)
		return fmt.Sprintf("%+v", x), err
	})
	same(p, "re-rating now", func(l *Ledger) (map[string]bool, error) { return l.Rerating(ctx, p.parents()) })
	own := func(k MessageKey) bool { return slices.Contains([]string{p.account(0), p.account(1)}, k.AccountID) }
	same(p, "undecided", func(l *Ledger) (out []string, err error) {
		list, err := l.Undecided(ctx, &UndecidedQuery{
			At: noon.AddDate(0, 0, p.serial%2), Arrived: noon.Add(time.Duration(p.serial-3) * time.Second), Now: noon.AddDate(0, 0, p.serial%3), Limit: 1000,
		})
		for _, u := range list {
			if own(u.MessageKey) {
				out = append(out, fmt.Sprint(u))
			}
		}
		return out, err
	})
	same(p, "traces", func(l *Ledger) (map[MessageKey]*Traces, error) {
		list, err := l.Traces(ctx, keys)
		for _, t := range list {
			slices.SortFunc(t.Statuses, func(a, b metering.MessageStatus) int { return strings.Compare(a.ID, b.ID) })
		}
		return list, err
	})
}

// decide takes some of what is undecided from both, and puts some of it off.
func (p *pair) decide() {
	list, err := p.both[1].Undecided(p.t.Context(), &UndecidedQuery{At: noon.AddDate(1, 0, 0), Arrived: noon.AddDate(1, 0, 0), Now: noon.AddDate(1, 0, 0), Limit: 1000})
	require.NoError(p.t, err)
	some := list[:p.pick(len(list)+1)]
	again := slices.Clone(some[:p.pick(len(some)+1)])
	for i := range again {
		again[i].Look, again[i].Due = LookAgain+Look(p.pick(2)), noon.AddDate(0, 0, p.pick(3)+p.serial)
	}
	p.each(func(l *Ledger) error { return l.Looked(p.t.Context(), some, again) })
}

// resolve closes entries on both.
func (p *pair) resolve() {
	now := p.now()
	same(p, "resolved", func(l *Ledger) (int, error) {
		_, n, err := l.ResolveQuarantine(p.t.Context(), "", now)
		return n, err
	})
}

// TestMemoryAgreesWithClickHouse gives the same random inserts to a real
// ClickHouse and to the ledger of memory that the simulation uses.
func TestMemoryAgreesWithClickHouse(t *testing.T) {
	t.Parallel()
	testengine.Bound(t, 5*time.Minute) // hundreds of random checks
	clickhouse, memory := open(t), ledgertest.New()
	fake := NewWithServer(memory)
	accounts := []*metering.Account{{ID: "a", Mode: metering.Prepaid, Zones: []metering.ZoneFrom{{Zone: "Europe/Rome"}}}}
	for rounds := range 30 {
		p := &pair{t: t, rng: rand.New(rand.NewPCG(uint64(rounds), 0)), both: [2]*Ledger{clickhouse, fake}, memory: memory, salt: fmt.Sprint(rounds), serial: 1000 * rounds}
		accounts := slices.Clone(accounts)
		for n := range 2 {
			accounts = append(accounts, &metering.Account{ID: p.parentOf(n), Zones: accounts[0].Zones}, &metering.Account{ID: p.account(n), ParentID: p.parentOf(n)})
		}
		accounts[0].Name = p.salt
		p.each(func(l *Ledger) error { return l.SaveCatalog(t.Context(), int64(rounds+1), accounts, nil, noon) })
		same(p, "number", func(l *Ledger) (int64, error) { return l.CatalogNumber(t.Context()) })
		same(p, "taken", func(l *Ledger) (bool, error) {
			err := l.SaveCatalog(t.Context(), int64(rounds+1), accounts[:1+rounds%2], nil, noon)
			return errors.Is(err, ErrNumberTaken), nil
		})
		same(p, "snapshot", func(l *Ledger) (metering.Account, error) {
			s, err := l.Snapshot(t.Context())
			a := *s.Accounts["a"]
			a.Calendar = nil
			return a, err
		})
		ops := map[string]func(){
			"records": p.records, "entries": p.entries, "waiting": p.waiting, "transfers": p.transfers, "rerates": p.rerates, "states": p.states, "alerts": p.alerts,
			"epochs": p.epochs, "merge": p.merge, "resolve": p.resolve, "decide": p.decide,
		}
		names := slices.Sorted(maps.Keys(ops))
		for range 12 {
			ops[names[p.pick(len(names))]]()
		}
		p.agree()
		p.close()
	}
}

// close ends a month on both, moves some of its lines to another, and compares
// what both say of months.
func (p *pair) close() {
	ctx := p.t.Context()
	m := ParentMonth{p.parent(), "2026-10"}
	bills := func() (out []metering.Identity) {
		same(p, "bill", func(l *Ledger) (map[string]int, error) {
			out = nil
			lines := map[string]int{} // an identity may have rows in two partitions
			return lines, l.BillLines(ctx, m.ParentID, m.Period, func(x *metering.BillLine) error {
				lines[fmt.Sprintf("%+v", *x)]++
				out = append(out, metering.Identity{AccountID: x.AccountID, Kind: x.Kind, ID: x.ID})
				return nil
			})
		})
		return out
	}
	lines := bills()
	p.each(func(l *Ledger) error { return l.SaveClosedLines(ctx, m, p.account(0), []uint64{3, 1 << 63, 3}) })
	same(p, "lines", func(l *Ledger) (map[uint64]bool, error) { return l.ClosedLines(ctx, m, p.account(0)) })
	same(p, "transfers", func(l *Ledger) (map[string]metering.Sum, error) {
		return l.TransfersThrough(ctx, m.ParentID, "2026-10", "2026-11")
	})
	partition := p.pick(4)
	same(p, "older epoch", func(l *Ledger) (string, error) {
		epoch, renumbered, err := l.OlderEpoch(ctx, partition, 2+p.serial%2)
		return fmt.Sprint(epoch, renumbered), err
	})
	same(p, "breaker", func(l *Ledger) (*Breaker, error) { return l.Breaker(ctx, partition) })
	same(p, "open breakers", func(l *Ledger) ([]Breaker, error) { return l.OpenBreakers(ctx) })
	at := noon.Add(time.Duration(p.serial-5) * time.Second)
	ids := []string{p.account(0), p.account(1)}
	same(p, "quarantined", func(l *Ledger) (map[string]map[metering.Reason]uint64, error) { return l.QuarantinedAt(ctx, ids, at) })
	same(p, "rejected", func(l *Ledger) (map[string]uint64, error) { return l.RejectedAt(ctx, ids, at) })
	same(p, "waiting at", func(l *Ledger) (map[string]uint64, error) { return l.WaitingAt(ctx, ids, at) })
	open := func() {
		same(p, "open months", func(l *Ledger) ([]string, error) { return l.OpenMonths(ctx, m.ParentID, "2026-12") })
	}
	open()
	for _, digest := range []string{"first", "second"} {
		p.each(func(l *Ledger) error {
			return l.FinishClosing(ctx, &Closing{
				ParentID: m.ParentID, Period: m.Period, Start: noon, End: noon, AsOf: noon, Digest: digest, Lines: uint64(len(lines)),
				Amount: sum(-5), Seq: 7, Balances: map[string]metering.Micros{"it's": 3},
			})
		})
	}
	open()
	same(p, "bases", func(l *Ledger) (map[string]*Base, error) { return l.Bases(ctx, p.parents()) })
	same(p, "closings", func(l *Ledger) ([]Closing, error) { return l.Closings(ctx, m.ParentID) })
	some := lines[:p.pick(len(lines)+1)]
	p.each(func(l *Ledger) error { return l.Rebook(ctx, m, "2026-12", 3, some) })
	left := bills()
	for _, id := range some {
		require.NotContains(p.t, left, id)
	}
	same(p, "sums", func(l *Ledger) (map[string]*Sums, error) {
		return l.Sums(ctx, 3, []SumsOf{{Parent: m.ParentID, Base: &Base{}}})
	})
	same(p, "rows", func(l *Ledger) (bool, error) {
		n, err := l.RowsThrough(ctx, m.Period)
		return n[m] >= uint64(len(left)), err
	})
}

// TestWhatMemoryDoesntKnow is an error, of every method: none goes round the server.
func TestWhatMemoryDoesntKnow(t *testing.T) {
	t.Parallel()
	l, ctx, now := NewWithServer(ledgertest.New()), t.Context(), time.Now()
	require.NoError(t, l.Ping(ctx))
	_, err := l.Migrate(ctx)
	require.ErrorContains(t, err, "migrate")
	require.ErrorContains(t, l.RollHours(ctx, []AccountHour{{AccountID: "a", Hour: now.Truncate(time.Hour)}}, now), "rollup_build")
	require.ErrorContains(t, l.ForgetNumbers(ctx, now), "retention_numbers")
	require.ErrorContains(t, l.DropMonth(ctx, &StoredMonth{Month: 202607}), "retention")
	require.NoError(t, l.Close())
}
