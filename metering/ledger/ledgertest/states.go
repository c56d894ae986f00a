package ledgertest

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Queries of states, and of the breakers that hold them back.

// newestBreakers is each partition's newest change of its breaker.
func newestBreakers(s *Server) map[uint64]Row {
	newest := map[uint64]Row{}
	for _, r := range s.tables["breakers"] {
		if last, ok := newest[r.num("partition")]; !ok || r.time("changed_at").After(last.time("changed_at")) {
			newest[r.num("partition")] = r
		}
	}
	return newest
}

func breaker(s *Server, params map[string]string) [][]any {
	last, ok := newestBreakers(s)[integer(params, "partition")]
	if !ok {
		return nil
	}
	return [][]any{last.pick("open", "account_id", "actor", "note", "changed_at")}
}

func breakersOpen(s *Server, _ map[string]string) [][]any {
	var rows []Row
	for _, r := range newestBreakers(s) {
		if open, _ := r["open"].(bool); open {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(a.time("changed_at").Compare(b.time("changed_at")), cmp.Compare(a.num("partition"), b.num("partition")))
	})
	var out [][]any
	for _, r := range rows {
		out = append(out, r.pick("partition", "account_id", "changed_at"))
	}
	return out
}

func statesLatest(s *Server, params map[string]string) [][]any {
	newest, parents := map[string]Row{}, array(params["parents"])
	for _, r := range s.tables["states"] {
		id := r.str("account_id")
		if old, ok := newest[id]; slices.Contains(parents, r.str("parent_id")) && (!ok || r.num("epoch") >= old.num("epoch")) {
			newest[id] = r
		}
	}
	var out [][]any
	for _, r := range newest {
		out = append(out, r.pick("account_id", "flags", "epoch"))
	}
	return out
}

func suspendedSince(s *Server, params map[string]string) [][]any {
	parents, at := array(params["parents"]), time.UnixMilli(int64(integer(params, "at")))
	before, found := map[string]Row{}, map[string]bool{}
	for _, r := range s.tables["states"] {
		id := r.str("account_id")
		switch {
		case !slices.Contains(parents, r.str("parent_id")):
		case !r.time("occurred_at").Before(at):
			found[id] = found[id] || r.num("flags")&15 != 0
		case before[id] == nil || r.num("epoch") >= before[id].num("epoch"):
			before[id] = r
		}
	}
	for id, r := range before {
		found[id] = found[id] || r.num("flags")&15 != 0
	}
	var out [][]any
	for id, is := range found {
		if is {
			out = append(out, []any{id})
		}
	}
	return out
}

// toldSuspended: whose newest delivery to a receiver is a suspension.
func toldSuspended(s *Server, params map[string]string) [][]any {
	parents, own, newest := array(params["parents"]), map[string]bool{}, map[string]Row{}
	for _, r := range s.tables["catalog"] {
		if r.str("kind") == "account" && (slices.Contains(parents, r.str("id")) || slices.Contains(parents, r.str("parent_id"))) {
			own[r.str("id")] = true
		}
	}
	for _, r := range s.tables["deliveries"] {
		key := r.str("account_id") + "\x00" + r.str("destination")
		event := r.str("event") == "suspend" || r.str("event") == "resume"
		if old, ok := newest[key]; event && r.str("outcome") == "delivered" && own[r.str("account_id")] && (!ok || r.num("epoch") > old.num("epoch")) {
			newest[key] = r
		}
	}
	told := map[string]bool{}
	for _, r := range newest {
		if r.str("event") == "suspend" {
			told[r.str("account_id")] = true
		}
	}
	var out [][]any
	for _, id := range slices.Sorted(maps.Keys(told)) {
		out = append(out, []any{id})
	}
	return out
}
