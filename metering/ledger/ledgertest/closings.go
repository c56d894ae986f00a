package ledgertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/shopspring/decimal"
)

// line tells whether a row is one of a bill.
func line(r Row) bool { return r.str("kind") != "status" }

func micros(d decimal.Decimal) uint64 { return uint64(d.Shift(6).IntPart()) }

func billLines(s *Server, params map[string]string) [][]any {
	var rows []Row
	for _, r := range s.final("records") {
		if r.str("parent_id") == params["parent"] && r.str("booked") == params["booked"] && line(r) {
			rows = append(rows, r)
		}
	}
	sort.SliceStable(rows, func(i, j int) bool { return rows[i].identity() < rows[j].identity() })
	var out [][]any
	for _, r := range rows {
		out = append(out, append(r.pick("account_id", "kind", "id", "period", "purse", "currency"),
			micros(r.dec("amount")), micros(r.dec("fee")), r["plan"], r["plan_version"], r["rule"]))
	}
	return out
}

func (r Row) identity() string {
	return r.str("account_id") + "\x00" + r.str("kind") + "\x00" + r.str("id")
}

func monthsOpen(s *Server, params map[string]string) [][]any {
	closed, open := map[string]bool{}, map[string]bool{}
	for _, r := range s.tables["closings"] {
		if r.str("parent_id") == params["parent"] && r.str("state") == "closed" {
			closed[r.str("period")] = true
		}
	}
	for _, table := range []string{"records", "transfers"} {
		for _, r := range s.tables[table] {
			booked := r.str("booked")
			if r.str("parent_id") == params["parent"] && booked < params["before"] && line(r) && !closed[booked] {
				open[booked] = true
			}
		}
	}
	return texts(open)
}

// texts are the keys, in order, a row each.
func texts(set map[string]bool) [][]any {
	var names []string
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	var out [][]any
	for _, name := range names {
		out = append(out, []any{name})
	}
	return out
}

func closingBases(s *Server, params map[string]string) [][]any {
	parents, index := array(params["parents"]), map[string]int{}
	var out [][]any
	for _, r := range s.final("closings") {
		parent, period := r.str("parent_id"), r.str("period")
		if !slices.Contains(parents, parent) {
			continue
		}
		i, ok := index[parent]
		if !ok {
			i = len(out)
			index[parent] = i
			out = append(out, []any{parent, "", "", ""})
		}
		if through, _ := out[i][1].(string); r.str("state") == "closed" && period > through {
			out[i][1], out[i][2] = period, r.str("balances")
		}
		if newest, _ := out[i][3].(string); period > newest {
			out[i][3] = period
		}
	}
	return out
}

func closingTransfers(s *Server, params map[string]string) [][]any {
	var g group
	for _, r := range s.final("transfers") {
		if r.str("parent_id") == params["parent"] && r.str("account_id") != "" && r.str("booked") > params["after"] && r.str("booked") <= params["through"] {
			g.add(r.str("account_id"), r.dec("amount"))
		}
	}
	return g.rows()
}

// countsAt counts rows that stood in a state at an instant and are wanted (nil: all
// are), by columns.
func countsAt(s *Server, table, since, state string, params map[string]string, wanted func(Row) bool, by ...string) [][]any {
	accounts, at := array(params["accounts"]), integer(params, "as_of")
	counts, keys := map[string]uint64{}, map[string][]any{}
	for _, r := range s.final(table) {
		if !slices.Contains(accounts, r.str("account_id")) || r.time(since).UnixMilli() > int64(at) || r.str("state") != state && r.num("version") <= at*1000 ||
			wanted != nil && !wanted(r) {
			continue
		}
		key := fmt.Sprint(r.pick(by...)...)
		counts[key]++
		keys[key] = r.pick(by...)
	}
	var out [][]any
	for key, n := range counts {
		out = append(out, append(keys[key], n))
	}
	return out
}

func quarantinedAt(s *Server, params map[string]string) [][]any {
	return countsAt(s, "quarantine", "quarantined_at", "open", params, nil, "account_id", "reason")
}

func rejectedAt(s *Server, params map[string]string) [][]any {
	return countsAt(s, "quarantine", "quarantined_at", "open", params, told, "account_id")
}

// told tells whether a reader who sees no money is told of an entry.
func told(r Row) bool { return r.str("kind") != "refund" && r.str("kind") != "adjustment" }

func waitingAt(s *Server, params map[string]string) [][]any {
	return countsAt(s, "waiting", "since", "waiting", params, nil, "account_id")
}

func closedLines(s *Server, params map[string]string) [][]any {
	var out [][]any
	for _, r := range s.final("closed_lines") {
		if r.str("parent_id") == params["parent"] && r.str("period") == params["period"] && r.str("account_id") == params["account"] {
			out = append(out, r.pick("line"))
		}
	}
	return out
}

func closedCounts(s *Server, params map[string]string) [][]any {
	counts := map[[2]string]uint64{}
	for _, r := range s.tables["records"] {
		if r.str("booked") <= params["through"] && line(r) {
			counts[[2]string{r.str("parent_id"), r.str("booked")}]++
		}
	}
	var out [][]any
	for key, n := range counts {
		out = append(out, []any{key[0], key[1], n})
	}
	return out
}

// statement writes what it reads: rows for a table.
type statement struct {
	table string
	rows  func(s *Server, params map[string]string) []Row
}

func statements() map[string]statement {
	return map[string]statement{
		"closing_finish": {"closings", closingFinish},
		"rebook":         {"records", rebook},
		"rebook_hours":   {"dirty_hours", rebookHours},
	}
}

// Exec implements ledger.Server.
func (s *Server) Exec(_ context.Context, name, _ string, params map[string]string) error {
	b, err := s.Statement(name, params)
	if err != nil {
		return err
	}
	b.Land(0)
	return nil
}

// Ping implements ledger.Server.
func (s *Server) Ping(context.Context) error { return nil }

// Close implements ledger.Server.
func (s *Server) Close() error { return nil }

// Statement is a block of one part, which is read when it lands.
func (s *Server) Statement(name string, params map[string]string) (*Block, error) {
	st, ok := statements()[name]
	if !ok {
		return nil, fmt.Errorf("ledgertest: no statement %q", name)
	}
	return &Block{s: s, table: st.table, parts: make([][]Row, 1), read: func() []Row { return st.rows(s, params) }}, nil
}

func milli(params map[string]string, name string) time.Time {
	n, _ := strconv.ParseInt(params[name], 10, 64)
	return time.UnixMilli(n).UTC()
}

func closingFinish(s *Server, params map[string]string) []Row {
	for _, r := range s.tables["closings"] {
		if r.str("parent_id") == params["parent"] && r.str("period") == params["period"] && r.str("state") == "closed" {
			return nil
		}
	}
	amount := func(name string) decimal.Decimal {
		d, _ := decimal.NewFromString(params[name])
		return d
	}
	return []Row{{
		"parent_id": params["parent"], "period": params["period"], "state": "closed", "records": integer(params, "records"),
		"amount": amount("amount"), "refunds": amount("refunds"), "adjustments": amount("adjustments"), "digest": params["digest"],
		"as_of": milli(params, "as_of"), "version": uint64(2), "starts_at": milli(params, "start"), "ends_at": milli(params, "end"),
		"lines": integer(params, "lines"), "catalog": integer(params, "catalog"), "epoch": integer(params, "epoch"), "seq": integer(params, "seq"),
		"balances": params["balances"], "frozen": params["frozen"],
	}}
}

// bookedTwice: identities that are booked in a month and in another too.
func bookedTwice(s *Server, params map[string]string) [][]any {
	in, accounts := map[string][]Row{}, array(params["accounts"])
	for _, r := range s.final("records") {
		if k := r.str("kind"); r.str("parent_id") == params["parent"] && slices.Contains(accounts, r.str("account_id")) && (k == "usage" || k == "refund") && !r.time("occurred_at").Before(milli(params, "from")) {
			in[r.identity()] = append(in[r.identity()], r)
		}
	}
	var out [][]any
	for _, k := range slices.Sorted(maps.Keys(in)) {
		is := func(r Row) bool { return r.str("booked") == params["booked"] }
		isnt := func(r Row) bool { return !is(r) }
		if slices.ContainsFunc(in[k], is) && slices.ContainsFunc(in[k], isnt) && uint64(len(out)) < integer(params, "limit") {
			out = append(out, in[k][0].pick("account_id", "kind", "id"))
		}
	}
	return out
}

// rebooked are the rows that a rebooking names.
func rebooked(rows []Row, params map[string]string, booked func(string) bool) []Row {
	accounts, kinds, ids := array(params["accounts"]), array(params["kinds"]), array(params["ids"])
	wanted := map[string]bool{}
	for i := range accounts {
		wanted[accounts[i]+"\x00"+kinds[i]+"\x00"+ids[i]] = true
	}
	var out []Row
	for _, r := range rows {
		if r.str("parent_id") == params["parent"] && booked(r.str("booked")) && wanted[r.identity()] {
			out = append(out, r)
		}
	}
	return out
}

func rebook(s *Server, params map[string]string) []Row {
	var out []Row
	for _, r := range rebooked(s.final("records"), params, func(m string) bool { return m == params["booked"] }) {
		r = r.with("booked", params["to"]).with("seq", uint64(0)).with("epoch", max(r.num("epoch"), integer(params, "epoch")))
		out = append(out, r)
	}
	return out
}

func rebookHours(s *Server, params map[string]string) []Row {
	var out []Row
	for _, r := range rebooked(s.tables["records"], params, func(m string) bool { return m >= params["booked"] }) {
		out = append(out, Row{"account_id": r["account_id"], "hour": r.time("occurred_at").Truncate(time.Hour), "marked_at": r["stored_at"]})
	}
	return out
}
