package ledgertest

import (
	"slices"
	"strconv"

	"github.com/shopspring/decimal"
)

func alertMarks(s *Server, params map[string]string) [][]any {
	parents := array(params["parents"])
	var out [][]any
	of := func(r Row, id string) bool {
		return r.str("account_id") == id && slices.Contains(parents, r.str("parent_id"))
	}
	later := func(r, t Row) bool {
		return r.num("epoch") > t.num("epoch") || r.num("epoch") == t.num("epoch") && r.num("seq") > t.num("seq")
	}
	topups, newest := map[string]int{}, map[string]Row{}
	for _, r := range s.final("transfers") {
		id, kind := r.str("account_id"), r.str("kind")
		if !slices.Contains(parents, r.str("parent_id")) || r.num("line") != 1 || kind != "topup" && kind != "allocate" {
			continue
		}
		topups[id]++
		old, ok := newest[id]
		if !ok || later(r, old) {
			newest[id] = r
		}
	}
	for id, t := range newest {
		share := uint64(0)
		for _, a := range s.tables["alerts"] {
			purse := a.str("limit_kind") == "wallet" || a.str("limit_kind") == "budget"
			if a.str("account_id") == id && purse && !a.time("raised_at").Before(t.time("transferred_at")) {
				share = max(share, a.num("share"))
			}
		}
		base, since := t.dec("base"), t
		for _, r := range s.final("transfers") { // the newest time that it was swept since
			if sweep := r.str("kind") == "sweep" || r.str("kind") == "close"; sweep && r.num("line") == 0 && of(r, id) && later(r, since) {
				base, since = decimal.Decimal{}, r
			}
		}
		for _, r := range s.final("transfers") {
			if of(r, id) && later(r, since) {
				base = base.Add(r.dec("amount"))
			}
		}
		out = append(out, []any{id, "purse", strconv.Itoa(topups[id]), share, base})
	}
	last := map[[2]string]Row{}
	for _, a := range s.tables["alerts"] {
		k := [2]string{a.str("account_id"), a.str("limit_kind")}
		if !slices.Contains(parents, a.str("parent_id")) || k[1] != "credit" && k[1] != "monthly_limit" {
			continue
		}
		old, ok := last[k]
		if !ok || a.str("mark") > old.str("mark") || a.str("mark") == old.str("mark") && a.num("share") > old.num("share") {
			last[k] = a
		}
	}
	for k, a := range last {
		out = append(out, []any{k[0], k[1], a.str("mark"), a.num("share"), decimal.Decimal{}})
	}
	return out
}
