package worker

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
	"github.com/meterd/meterd/metering/ledger/ledgertest"
	"github.com/meterd/meterd/worker/pipeline"
)

// sentLine is a line that the queue accepted.
type sentLine struct {
	task string
	raw  []byte
	rec  metering.Record
	bad  bool // no record
}

var simAccountIDs = []string{"acme-own", "globex-shop", "acme-shared", "acme"}

// poisoned is the beginning of ids that ClickHouse refuses for good.
const poisoned = "bad"

// fickle is that of ids whose records ClickHouse refuses with one unit only.
const fickle = "odd"

// sendTask enqueues lines out of few identities.
func (w *world) sendTask() {
	id := fmt.Sprintf("run.%d", len(w.sent)+1)
	w.sent = append(w.sent, id)
	var lines [][]byte
	for range 1 + w.rng.IntN(w.plan.lines) {
		raw := []byte(w.line())
		s := sentLine{task: id, raw: raw}
		s.bad = metering.DecodeRecord(raw, &s.rec) != nil
		w.lines = append(w.lines, s)
		lines = append(lines, raw)
		w.note("%s has %s", id, raw)
	}
	w.enqueue(id, wire.TypeIngest, w.codec.Encode(lines), 0)
}

func (w *world) line() string {
	n := w.rng.IntN(w.plan.ids)
	if w.plan.refunding {
		n = len(w.lines) % w.plan.ids // so that a message comes behind a refund that waits for it
	}
	if w.plan.bias == withoutJudgeEpoch {
		return w.outdatedLine()
	}
	if w.plan.bias == overtaking {
		return w.overtakingLine()
	}
	age := 10 * time.Minute
	if w.plan.cold && n%2 == 0 || w.plan.restamp && w.rng.IntN(2) == 0 {
		age = 30 * time.Hour
	}
	at := w.base.Add(-age).Format(time.RFC3339)
	if w.plan.closing && (n%2 == 0 || w.plan.long) {
		at = inClosing(n).Format(time.RFC3339)
	}
	if w.plan.older && n%3 == 0 {
		at = inClosing(n).AddDate(0, -1, -1).Format(time.RFC3339)
	}
	if w.plan.edge == edgeMonth {
		at = w.nearEdge(n).Format(time.RFC3339)
	}
	account := simAccountIDs[n%len(simAccountIDs)]
	more := ""
	if w.plan.large {
		more = `,"units":9`
	}
	if w.plan.other && w.rng.IntN(2) == 0 {
		more = `,"units":2`
	}
	switch k := w.rng.IntN(20); {
	case k == 0:
		return "nonsense " + strconv.Itoa(n)
	case k < 4 && w.plan.poison:
		return fmt.Sprintf(`{"id":"%s%d","account_id":%q,"channel":"sms","occurred_at":%q%s}`, poisoned, n, account, at, more)
	case w.plan.poison && w.plan.other:
		return fmt.Sprintf(`{"id":"%s%d","account_id":%q,"channel":"sms","occurred_at":%q%s}`, fickle, n, account, at, more)
	case k < 8 && w.plan.refunds, w.plan.refunding && len(w.sent)%2 == 0:
		return fmt.Sprintf(`{"id":"r%d-%d","account_id":%q,"kind":"refund","refers_to":"m%d","occurred_at":%q}`, n, k%2, account, n, at)
	case k < 11 && w.plan.refunds:
		status := []string{"failed", "delivered"}[w.rng.IntN(2)]
		return fmt.Sprintf(`{"id":"s%d%s","account_id":%q,"kind":"status","refers_to":"m%d","status":%q,"occurred_at":%q}`, n, status, account, n, status, at)
	case k < 14 && w.plan.refunds:
		more += `,"status":"failed"`
	}
	return fmt.Sprintf(`{"id":"m%d","account_id":%q,"channel":"sms","occurred_at":%q%s}`, n, account, at, more)
}

func (w *world) bad(format string, args ...any) {
	w.errs = append(w.errs, fmt.Sprintf(format, args...))
}

// chores that run alone, one after the other, until nothing comes of them.
func (w *world) alone(name string) {
	if len(w.working()) == 0 {
		w.bad("no process works")
		return
	}
	p := w.working()[0]
	w.runChore(p, name)
	for range 5000 {
		w.sleep(time.Duration(1 + w.rng.IntN(1_000_000)))
		if open := w.open(); len(open) > 0 {
			w.letThrough(open[0], false)
		} else {
			w.sleep(20 * time.Millisecond) // it waits by itself
		}
		if p.chores == 0 {
			return
		}
	}
	w.bad("%s doesn't end", name)
}

// finale brings what is left to its end, then checks what must hold.
func (w *world) finale() {
	if w.plan.edge != "" {
		w.sleep(10 * time.Minute) // by every clock it has passed
	}
	if w.stranded {
		w.finishClosing()
	}
	for len(w.late) > 0 {
		w.sleep(time.Minute)
	}
	w.alone("ensure") // a Redis that was lost while nobody charged
	w.alone("relay")
	w.checkOpen()
	if w.plan.refunds {
		for n := range 3 { // one is of a message that a refund waits for; one was lost with Redis
			w.sleep(11 * time.Minute)
			w.alone("waiting refunds")
			w.alone("automatic refunds")
			if n == 0 && w.plan.dropRefunds {
				w.dropRefunds()
			}
			w.calm()
		}
	}
	if w.plan.closing {
		w.finishClosing()
	}
	w.finishRerates()
	w.alone("months")
	w.server.Merge("records")
	if w.wrong() {
		return
	}
	if w.excused == "" {
		w.checkProjection()
	}
	w.alone("reconcile")
	if w.plan.hooks {
		w.sleep(2 * metering.GiveUpAfter) // a relay that died may hold its lease by Redis's clock, which may have stepped back
		w.alone("relay")
		w.calm()
	}
	if w.plan.breaker {
		w.checkBreaker()
		w.alone("release")
		w.alone("relay")
		w.calm()
	}
	w.checkProjection() // nothing is left after one
	w.checkLines()
	w.checkRefunds()
	w.checkStandings(true)
	w.checkTransfers()
	w.checkCounts()
	w.checkStates()
	w.checkClosings()
	w.checkHooks()
	w.checkBooked()
}

// checkOpen: no answer is open but those whose task is gone, and these are
// given up.
func (w *world) checkOpen() {
	open := func() map[string]string {
		out, content := map[string]string{}, w.redis.Dump()
		for n := range w.partitions {
			z, _ := content[partitionKey(n, "open")].(map[string]string)
			maps.Copy(out, z)
		}
		return out
	}
	if len(open()) == 0 {
		return
	}
	if !w.lost && len(w.vanished) == 0 {
		w.bad("answers are open at the end: %v", open())
		return
	}
	w.sleep(2 * metering.GiveUpAfter) // Redis's clock may have stepped back
	w.alone("give up")
	if left := open(); len(left) > 0 {
		w.bad("answers are open after they were given up: %v", left)
	}
}

// partitionKey is a key of Redis in a partition.
func partitionKey(n int, name string) string { return fmt.Sprintf("{p%02d}:%s", n, name) }

// accountKey is where an account's balances are.
func (w *world) accountKey(id string) string {
	parent, _, _ := strings.Cut(id, "-")
	return partitionKey(balance.PartitionOf(parent, w.partitions), "a:"+id)
}

func micros6(d any) int64 {
	x, _ := d.(decimal.Decimal)
	return x.Shift(6).IntPart()
}

// sums of the ledger, worked out without its queries.
func (w *world) sums() map[string]map[string]int64 {
	return w.sumsOf(func(string) bool { return true })
}

// sumsOf what is booked in some months.
func (w *world) sumsOf(in func(booked string) bool) map[string]map[string]int64 {
	out := map[string]map[string]int64{}
	add := func(account, field string, n int64) {
		if out[account] == nil {
			out[account] = map[string]int64{}
		}
		out[account][field] += n
	}
	for _, r := range w.server.Rows("records") {
		account, parent := text(r, "account_id"), text(r, "parent_id")
		if !in(text(r, "booked")) {
			continue
		}
		net := micros6(r["amount"])
		if text(r, "kind") == "refund" {
			net = -net
		}
		add(account, "u:"+text(r, "booked"), net)
		if account != parent {
			add(parent, "u:"+text(r, "booked"), net)
		}
		switch text(r, "purse") {
		case "wallet":
			add(parent, "bal", -net)
		case "budget":
			add(account, "bal", -net)
		}
	}
	for _, r := range w.server.Rows("transfers") {
		if text(r, "account_id") != "" && in(text(r, "booked")) {
			add(text(r, "account_id"), "bal", micros6(r["amount"]))
		}
	}
	return out
}

func text(r ledgertest.Row, column string) string {
	s, _ := r[column].(string)
	return s
}

// checkProjection: it equals the ledger, per account and period.
func (w *world) checkProjection() {
	want, content := w.sums(), w.redis.Dump()
	for _, id := range append(slices.Clone(simAccountIDs), "globex") {
		have, _ := content[w.accountKey(id)].(map[string]string)
		fields := map[string]bool{"bal": true}
		for f := range have {
			if strings.HasPrefix(f, "u:") {
				fields[f] = true
			}
		}
		for f := range want[id] {
			fields[f] = true
		}
		for _, f := range slices.Sorted(maps.Keys(fields)) {
			n, _ := strconv.ParseInt(have[f], 10, 64)
			if n != want[id][f] && !w.closed(id, f) {
				w.bad("projection of %s %s is %d, the ledger's %d", id, f, n, want[id][f])
			}
		}
	}
}

// checkLines: each accepted line is in the ledger once, or in quarantine.
func (w *world) checkLines() {
	rows := map[metering.Identity][]ledgertest.Row{}
	for _, r := range w.server.Rows("records") {
		id := metering.Identity{AccountID: text(r, "account_id"), Kind: metering.Kind(text(r, "kind")), ID: text(r, "id")}
		rows[id] = append(rows[id], r)
		if len(rows[id]) > 1 {
			w.bad("%v has two rows", id)
		}
	}
	quarantined := map[string]string{} // entry → reason
	contents := map[metering.Identity]map[uint64]bool{}
	refused := map[uint64]bool{} // contents: of restamped copies one may stand for all
	for _, q := range w.server.Rows("quarantine") {
		quarantined[text(q, "id")] = text(q, "reason")
		if hash, _ := q["content_hash"].(uint64); hash != 0 {
			refused[hash] = true
		}
	}
	waits := map[uint64]bool{} // by content, which has the identity in it
	for _, r := range w.server.Rows("waiting") {
		var rec metering.Record
		if text(r, "state") == "waiting" && metering.DecodeRecord([]byte(text(r, "raw")), &rec) == nil {
			waits[rec.ContentHash()] = true
		}
	}
	statuses := w.statuses()
	for i := range w.lines {
		s := &w.lines[i]
		if s.bad {
			account, kind, _ := pipeline.Salvage(s.raw)
			if quarantined[ledger.EntryID(account, kind, s.raw)] == "" && !w.vanished[s.task] {
				w.bad("a line that is no record isn't in quarantine")
			}
			continue
		}
		id := s.rec.Identity()
		if contents[id] == nil {
			contents[id] = map[uint64]bool{}
		}
		contents[id][s.rec.ContentHash()] = true
		reason := quarantined[ledger.EntryID(id.AccountID, id.Kind, s.raw)]
		row := rows[id]
		stands := len(row) > 0 && row[0]["content_hash"] == s.rec.ContentHash()
		switch {
		case w.vanished[s.task], w.unpromised[s.task]:
		case !stands && reason == "" && !refused[s.rec.ContentHash()] && !waits[s.rec.ContentHash()]:
			w.bad("%v of %s is neither in the ledger nor in quarantine", id, s.task)
		case stands && strings.HasPrefix(id.ID, poisoned):
			w.bad("%v was refused and stands", id)
		case stands && waits[s.rec.ContentHash()]:
			w.bad("%v stands and waits", id)
		case !stands && reason == string(metering.ReasonConflict) && len(row) == 0:
			w.bad("%v is a conflict with nothing", id)
		case stands && reason != "" && reason != string(metering.ReasonUnknownMessage):
			w.bad("%v stands and is in quarantine (%s)", id, reason)
		case stands && !w.statusGone() && !knows(statuses[text(row[0], "account_id")+" "+id.ID], &s.rec):
			w.bad("%v of %s came with a status, which doesn't count", id, s.task)
		}
	}
	for id, list := range rows {
		hash, _ := list[0]["content_hash"].(uint64)
		automatic := id.Kind == metering.KindRefund && strings.HasPrefix(text(list[0], "source_id"), "auto:")
		ofCopy := id.Kind == metering.KindStatus && strings.HasPrefix(id.ID, "copy:")
		if !contents[id][hash] && !automatic && !ofCopy && id.Kind != metering.KindAdjustment {
			w.bad("%v stands with a content that nobody sent", id)
		}
		w.checkAmount(id, list[0], rows)
	}
}

// checkAmount: a charge can be worked out again.
func (w *world) checkAmount(id metering.Identity, r ledgertest.Row, rows map[metering.Identity][]ledgertest.Row) {
	amount, units := micros6(r["amount"]), micros6(r["billed_units"])
	switch id.Kind {
	case metering.KindUsage:
		if amount != units/100+1000 {
			w.bad("%v of %d units costs %d", id, units, amount)
		}
	case metering.KindRefund:
		m := rows[metering.Identity{AccountID: id.AccountID, Kind: metering.KindUsage, ID: id.ID}]
		if len(w.rated) > 0 {
			return // see checkStandings
		}
		if len(m) == 0 || amount != micros6(m[0]["amount"])-micros6(m[0]["fee"]) {
			w.bad("%v gives %d back", id, amount)
		}
	case metering.KindStatus, metering.KindAdjustment:
	}
}

// checkTransfers: what was promised stands, once, and every reference is even.
func (w *world) checkTransfers() {
	sum, seen := map[string]int64{}, map[string]int{}
	for _, r := range w.server.Rows("transfers") {
		sum[text(r, "ref")] += micros6(r["amount"])
		seen[text(r, "ref")]++
	}
	for ref, n := range sum {
		if n != 0 || seen[ref] != 2 {
			w.bad("transfer %s has %d lines, uneven by %d", ref, seen[ref], n)
		}
	}
	for _, t := range w.promised {
		if seen[t.Ref] == 0 {
			w.bad("transfer %s was promised and is gone", t.Ref)
		}
	}
}

// checkCounts: every line of the run has one outcome.
func (w *world) checkCounts() {
	if w.lost || len(w.vanished) > 0 || w.aged {
		return // counters may have been lost, and a done task counted again
	}
	content, counts := w.redis.Dump(), map[string]int64{}
	var sum int64
	for p := range w.partitions {
		c, _ := content[partitionKey(p, "run:run")].(map[string]string)
		for _, f := range []string{"stored", "duplicates", "quarantined", "waiting"} {
			n, _ := strconv.ParseInt(c[f], 10, 64)
			counts[f] += n
			sum += n
		}
	}
	if sum != int64(len(w.lines)) {
		w.bad("the run counts %v for %d lines", counts, len(w.lines))
	}
}

// checkStates: a flag holds if and only if its reason does.
func (w *world) checkStates() {
	content := w.redis.Dump()
	month := w.redisNow().UTC().Format("2006-01")
	for _, id := range append(slices.Clone(simAccountIDs), "globex") {
		a, _ := content[w.accountKey(id)].(map[string]string)
		bal, _ := strconv.ParseInt(a["bal"], 10, 64)
		used, _ := strconv.ParseInt(a["u:"+month], 10, 64)
		var want metering.Flags
		switch id {
		case "acme":
			if bal <= 0 {
				want = metering.FlagWallet
			}
		case "acme-own":
			if bal <= 0 {
				want = metering.FlagBudget
			}
		case "acme-shared":
			if used >= 50_000 {
				want = metering.FlagMonthly
			}
		case "globex":
			if used >= 80_000 {
				want = metering.FlagCeiling
			}
		}
		if f, _ := strconv.Atoi(a["f"]); metering.Flags(f) != want {
			w.bad("%s has flags %d, want %d", id, f, want)
		}
	}
}
