package ledgertest

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/dchest/siphash"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/internal/clock"
)

// query answers one of sql/queries.
type query func(s *Server, params map[string]string) [][]any

func queries() map[string]query {
	return map[string]query{
		"alert_marks": alertMarks,
		"bill_lines":  billLines, "breaker": breaker, "breakers_open": breakersOpen, "catalog": catalog, "catalog_number": catalogNumber, "catalog_under": catalogUnder, "closed_counts": closedCounts, "entries_known": entriesKnown,
		"closed_lines": closedLines, "closing_bases": closingBases, "closing_transfers": closingTransfers, "closings": closings, "epoch_older": epochOlder, "epoch_max": epochMax,
		"booked_twice": bookedTwice, "failing_due": failingDue, "lookup": lookup, "message_statuses": messageStatuses, "messages": messages, "months_open": monthsOpen, "now": now,
		"quarantine_open": quarantineOpen, "quarantine_since": quarantineSince, "quarantine_page": quarantinePage, "quarantine_resolved": quarantineResolved, "report_quarantined": quarantinedAt,
		"report_rejected": rejectedAt, "report_waiting": waitingAt, "seq_max": seqMax, "states_latest": statesLatest, "sums": sums, "suspended_since": suspendedSince, "sums_transfers": sumsTransfers, "rerates": rerates, "rerates_open": reratesOpen, "rerate_rows": rerateRows, "told_suspended": toldSuspended,
		"transfer_by_ref": transferByRef, "transfer_refs": transferRefs, "waiting_due": waitingDue,
	}
}

func (r Row) pick(columns ...string) []any {
	out := make([]any, len(columns))
	for i, c := range columns {
		out[i] = r[c]
	}
	return out
}

// with is the row with another value in a column.
func (r Row) with(column string, v any) Row {
	out := maps.Clone(r)
	out[column] = v
	return out
}

// array reads an Array(String) parameter.
func array(text string) []string {
	var out []string
	var b strings.Builder
	in := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case !in && c == '\'':
			in = true
		case in && c == '\'':
			in = false
			out = append(out, b.String())
			b.Reset()
		case in && c == '\\':
			i++
			escaped := text[i]
			if n := strings.IndexByte("nt0", escaped); n >= 0 {
				escaped = "\n\t\x00"[n]
			}
			b.WriteByte(escaped)
		case in:
			b.WriteByte(c)
		}
	}
	return out
}

func integer(params map[string]string, name string) uint64 {
	n, _ := strconv.ParseUint(params[name], 10, 64)
	return n
}

// newest is argMax by epoch, over the rows that match, by key. As in
// ClickHouse, it sees all rows, whatever partition they are in.
func (s *Server) newest(key func(Row) string) []Row {
	index := map[string]int{}
	var out []Row
	for _, r := range s.tables["records"] {
		k := key(r)
		if k == "" {
			continue
		}
		i, ok := index[k]
		switch {
		case !ok:
			index[k] = len(out)
			out = append(out, r)
		case r.num("epoch") >= out[i].num("epoch"):
			out[i] = r
		}
	}
	return out
}

func lookup(s *Server, params map[string]string) [][]any {
	accounts, hashes := array(params["accounts"]), strings.Split(strings.Trim(params["hashes"], "[]"), ",")
	var out [][]any
	for _, r := range s.newest(func(r Row) string {
		// As the column id_hash is made.
		hash := strconv.FormatUint(siphash.Hash(0, 0, []byte(r.str("account_id")+"\x00"+r.str("id"))), 10)
		if slices.Contains(accounts, r.str("account_id")) && slices.Contains(hashes, hash) {
			return r.str("account_id") + "\x00" + r.str("kind") + "\x00" + r.str("id")
		}
		return ""
	}) {
		out = append(out, r.pick("account_id", "kind", "id", "content_hash", "status", "occurred_at"))
	}
	return out
}

func messages(s *Server, params map[string]string) [][]any {
	accounts, ids := array(params["accounts"]), array(params["ids"])
	wanted := map[string]bool{}
	for i := range accounts {
		wanted[accounts[i]+"\x00"+ids[i]] = true
	}
	key := func(r Row) string { return r.str("account_id") + "\x00" + r.str("id") }
	rows := s.newest(func(r Row) string {
		if k := r.str("kind"); (k == "usage" || k == "refund") && wanted[key(r)] {
			return k + key(r)
		}
		return ""
	})
	for _, r := range s.final("records") {
		if r.str("kind") == "adjustment" {
			rows = append(rows, r)
		}
	}
	become := becomeOf(rows)
	var out [][]any
	for _, r := range rows {
		if r.str("kind") != "usage" {
			continue
		}
		b := become[key(r)]
		row := r.with("amount", r.dec("amount").Add(b.corrected)).with("fee", r.dec("fee").Add(b.fees))
		out = append(out, append(row.pick("account_id", "id", "amount", "fee", "purse", "currency", "channel", "direction", "country", "network",
			"category", "tags", "plan", "plan_version", "rule", "epoch", "content_hash"), b.refunded, b.whole(r)))
	}
	return out
}

// upTo: rows of some parents, of older epochs, and of this one up to a seq.
func upTo(params map[string]string) func(Row) bool {
	parents, after, seqs := array(params["parents"]), array(params["after"]), strings.Split(strings.Trim(params["seqs"], "[]"), ",")
	epoch := integer(params, "epoch")
	return func(r Row) bool {
		i := slices.Index(parents, r.str("parent_id"))
		if i < 0 || r.str("booked") <= after[i] {
			return false
		}
		seq, _ := strconv.ParseUint(seqs[i], 10, 64)
		return r.num("epoch") < epoch || r.num("epoch") == epoch && r.num("seq") <= seq
	}
}

// group adds up decimals by key.
type group struct {
	keys []string
	sums map[string]decimal.Decimal
}

func (g *group) add(key string, d decimal.Decimal) {
	if g.sums == nil {
		g.sums = map[string]decimal.Decimal{}
	}
	if _, ok := g.sums[key]; !ok {
		g.keys = append(g.keys, key)
	}
	g.sums[key] = g.sums[key].Add(d)
}

func (g *group) rows() [][]any {
	var out [][]any
	for _, k := range g.keys {
		var row []any
		for part := range strings.SplitSeq(k, "\x00") {
			row = append(row, part)
		}
		out = append(out, append(row, g.sums[k]))
	}
	return out
}

func sums(s *Server, params map[string]string) [][]any {
	var g group
	upTo := upTo(params)
	for _, r := range s.final("records") {
		if !upTo(r) || r.str("kind") == "status" {
			continue
		}
		amount := r.dec("amount")
		if r.str("kind") == "refund" {
			amount = amount.Neg()
		}
		g.add(r.str("parent_id")+"\x00"+r.str("account_id")+"\x00"+r.str("purse")+"\x00"+r.str("booked"), amount)
	}
	return g.rows()
}

func sumsTransfers(s *Server, params map[string]string) [][]any {
	var g group
	upTo := upTo(params)
	for _, r := range s.final("transfers") {
		if upTo(r) && r.str("account_id") != "" {
			g.add(r.str("parent_id")+"\x00"+r.str("account_id"), r.dec("amount"))
		}
	}
	return g.rows()
}

func maxOf(rows []Row, column string, where func(Row) bool) uint64 {
	var n uint64
	for _, r := range rows {
		if where == nil || where(r) {
			n = max(n, r.num(column))
		}
	}
	return n
}

func seqMax(s *Server, params map[string]string) [][]any {
	of := func(r Row) bool { return r.num("epoch") == integer(params, "epoch") }
	return [][]any{{max(maxOf(s.tables["records"], "seq", of), maxOf(s.tables["transfers"], "seq", of))}}
}

func epochMax(s *Server, _ map[string]string) [][]any {
	return [][]any{{maxOf(s.tables["epochs"], "epoch", nil)}}
}

func epochOlder(s *Server, params map[string]string) [][]any {
	may := func(r Row) bool {
		return r.num("partition") == integer(params, "partition") || r.num("partitions") != integer(params, "partitions")
	}
	newest := maxOf(s.tables["epochs"], "epoch", may)
	other := slices.ContainsFunc(s.tables["epochs"], func(r Row) bool {
		return r.num("epoch") == newest && may(r) && r.num("partitions") != integer(params, "partitions")
	})
	return [][]any{{newest, other}}
}

func catalogNumber(s *Server, _ map[string]string) [][]any {
	return [][]any{{maxOf(s.tables["catalog"], "number", nil)}}
}

func entriesKnown(s *Server, params map[string]string) [][]any {
	ids, known := array(params["ids"]), map[string]bool{}
	var out [][]any
	for _, r := range s.tables["quarantine"] {
		if id := r.str("id"); slices.Contains(ids, id) && !known[id] {
			known[id] = true
			out = append(out, []any{id})
		}
	}
	return out
}

func quarantineSince(s *Server, params map[string]string) [][]any {
	ids := array(params["ids"])
	var out [][]any
	for _, r := range s.final("quarantine") {
		if state := r.str("state"); slices.Contains(ids, r.str("id")) && (state == "open" || state == "replayed") {
			out = append(out, r.pick("id", "quarantined_at"))
		}
	}
	return out
}

func catalogUnder(s *Server, params map[string]string) [][]any {
	var out [][]any
	for _, r := range s.tables["catalog"] {
		if r.num("number") == integer(params, "number") {
			out = append(out, r.pick("kind", "id", "parent_id", "doc"))
		}
	}
	return out
}

func catalog(s *Server, _ map[string]string) [][]any {
	newest, first := map[string]Row{}, map[string]Row{}
	for _, r := range s.tables["catalog"] {
		k := r.str("kind") + "\x00" + r.str("id")
		if old, ok := first[k]; !ok || r.num("number") < old.num("number") {
			first[k] = r
		}
		if old, ok := newest[k]; !ok || r.num("number") >= old.num("number") {
			newest[k] = r
		}
	}
	var keys []string
	for k := range newest {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out [][]any
	for _, k := range keys {
		out = append(out, append(newest[k].pick("kind", "doc", "number"), first[k].pick("number")...))
	}
	return out
}

func closings(s *Server, params map[string]string) [][]any {
	rows := s.final("closings")
	sort.SliceStable(rows, func(i, j int) bool {
		return rows[i].str("parent_id")+"\x00"+rows[i].str("period") < rows[j].str("parent_id")+"\x00"+rows[j].str("period")
	})
	var out [][]any
	for _, r := range rows {
		if params["parent"] == "" || r.str("parent_id") == params["parent"] {
			out = append(out, []any{ // one that has begun lacks most
				r.str("parent_id"), r.str("period"), r.str("state"), r.num("records"), r.dec("amount"), r.dec("refunds"), r.dec("adjustments"),
				r.str("digest"), r.time("as_of"), r.time("starts_at"), r.time("ends_at"), r.num("lines"), r.num("catalog"), r.num("epoch"), r.num("seq"),
				r.str("balances"), r.str("frozen"),
			})
		}
	}
	return out
}

func now(*Server, map[string]string) [][]any {
	return [][]any{{clock.System().Now().UTC().Truncate(time.Millisecond)}}
}

func transferByRef(s *Server, params map[string]string) [][]any {
	var last Row
	for _, r := range s.tables["transfers"] {
		if r.str("ref") == params["ref"] && (last == nil || r.time("transferred_at").After(last.time("transferred_at"))) {
			last = r
		}
	}
	if last == nil {
		return nil
	}
	return [][]any{last.pick("parent_id", "content_hash", "transferred_at")}
}

func transferRefs(s *Server, params map[string]string) [][]any {
	newest, parents := map[string]Row{}, array(params["parents"])
	since, _ := strconv.ParseInt(params["since"], 10, 64)
	var refs []string
	for _, r := range s.final("transfers") {
		if !slices.Contains(parents, r.str("parent_id")) || r.time("transferred_at").UnixMilli() < since {
			continue
		}
		if _, ok := newest[r.str("ref")]; !ok {
			refs = append(refs, r.str("ref"))
		}
		if r.num("line") == 1 {
			newest[r.str("ref")] = r
		}
	}
	var out [][]any
	for _, ref := range refs {
		r := newest[ref]
		out = append(out, []any{ref, r["content_hash"], r["booked"], r["transferred_at"], r.dec("amount"), r["epoch"], r["seq"], r.dec("base")})
	}
	return out
}

func quarantineOpen(s *Server, params map[string]string) [][]any {
	accounts := array(params["accounts"])
	rows := s.final("quarantine")
	sort.SliceStable(rows, func(i, j int) bool {
		a, b := rows[i].time("quarantined_at"), rows[j].time("quarantined_at")
		return a.Before(b) || a.Equal(b) && rows[i].str("id") < rows[j].str("id")
	})
	var out [][]any
	for _, r := range rows {
		fits := func(param, column string) bool { return params[param] == "" || params[param] == r.str(column) }
		if fits("state", "state") && fits("reason", "reason") && fits("id", "id") && fits("record", "record_id") &&
			(len(accounts) == 0 || slices.Contains(accounts, r.str("account_id"))) && (params["redacted"] == "0" || told(r)) && uint64(len(out)) < integer(params, "limit") {
			out = append(out, r.pick("id", "reason", "account_id", "kind", "record_id", "content_hash", "detail", "raw",
				"quarantined_at", "state", "note", "version"))
		}
	}
	return out
}

func quarantinePage(s *Server, params map[string]string) [][]any {
	var ids []string
	for _, q := range s.tables["quarantine"] {
		if id := q.str("id"); id > params["after"] {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	ids = ids[:min(uint64(len(ids)), integer(params, "limit"))]
	if len(ids) == 0 {
		return [][]any{{"", uint64(0)}}
	}
	return [][]any{{ids[len(ids)-1], uint64(len(ids))}}
}

func quarantineResolved(s *Server, params map[string]string) [][]any {
	var out [][]any
	for _, q := range s.final("quarantine") {
		if id := q.str("id"); id <= params["after"] || id > params["last"] || q.str("state") != "open" || q.str("record_id") == "" || q.str("kind") == "" {
			continue
		}
		for _, r := range s.tables["records"] {
			if r.str("account_id") == q.str("account_id") && r.str("kind") == q.str("kind") && r.str("id") == q.str("record_id") &&
				r.num("content_hash") == q.num("content_hash") {
				out = append(out, q.pick("id"))
				break
			}
		}
	}
	return out
}

func waitingDue(s *Server, params map[string]string) [][]any {
	before, _ := strconv.ParseInt(params["before"], 10, 64)
	rows := slices.DeleteFunc(slices.Clone(s.final("refund_waits")), func(r Row) bool { n, _ := r["sign"].(int64); return n <= 0 })
	sort.SliceStable(rows, func(i, j int) bool { return rows[i].time("since").Before(rows[j].time("since")) })
	latest := map[string]time.Time{}
	key := func(r Row) string { return r.str("account_id") + "\x00" + r.str("refers_to") + "\x00" + r.str("id") }
	for _, w := range rows {
		latest[key(w)] = w.time("since")
	}
	var out [][]any
	for _, w := range rows {
		var come uint64
		for _, r := range s.tables["records"] {
			if r.str("kind") == "usage" && r.str("account_id") == w.str("account_id") && r.str("id") == w.str("refers_to") {
				come = 1
			}
		}
		if come == 1 || latest[key(w)].Before(time.UnixMilli(before)) {
			out = append(out, append(w.pick("account_id", "refers_to", "id", "raw", "run", "since"), come))
		}
	}
	return out
}
