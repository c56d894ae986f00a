package ledgertest

import (
	"slices"
	"sort"
	"strconv"
	"time"
)

// failingDue: why messages may have to be refunded.
func failingDue(s *Server, params map[string]string) [][]any {
	until := func(name string) time.Time {
		n, _ := strconv.ParseInt(params[name], 10, 64)
		return time.UnixMilli(n)
	}
	key := func(r Row) string { return r.str("account_id") + "\x00" + r.str("message_id") }
	list := s.final("undecided")
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if key(a) != key(b) {
			return key(a) < key(b)
		}
		if !a.time("at").Equal(b.time("at")) {
			return a.time("at").Before(b.time("at"))
		}
		return a.time("arrived").Before(b.time("arrived"))
	})
	var out [][]any
	for _, r := range list {
		if n, _ := r["sign"].(int64); n <= 0 || key(r) <= params["account"]+"\x00"+params["message"] ||
			r.time("at").After(until("at")) || r.time("arrived").After(until("arrived")) || uint64(len(out)) >= integer(params, "limit") {
			continue
		}
		out = append(out, r.pick("account_id", "message_id", "at", "arrived"))
	}
	return out
}

// messageStatuses: messages, their refunds and their statuses.
func messageStatuses(s *Server, params map[string]string) [][]any {
	accounts, ids := array(params["accounts"]), array(params["ids"])
	wanted := map[string]bool{}
	for i := range accounts {
		wanted[accounts[i]+"\x00"+ids[i]] = true
	}
	stored := map[string]time.Time{} // the last of an identity's rows
	key := func(r Row) string {
		if k := r.str("account_id") + "\x00" + r.str("id"); wanted[k] && (r.str("kind") == "usage" || r.str("kind") == "refund") {
			return r.str("kind") + "\x00" + k
		}
		return ""
	}
	for _, r := range s.tables["records"] {
		if at := r.time("stored_at"); at.After(stored[key(r)]) {
			stored[key(r)] = at
		}
	}
	var out [][]any
	for _, r := range s.newest(key) {
		out = append(out, []any{
			r["account_id"], r["id"], r["kind"], "", r["status"], r["occurred_at"], stored[key(r)], r["plan"], r["plan_version"],
		})
	}
	last := map[string]time.Time{}
	status := func(r Row) string { return r.str("account_id") + "\x00" + r.str("message_id") + "\x00" + r.str("id") }
	for _, r := range s.tables["statuses"] {
		if at := r.time("stored_at"); at.After(last[status(r)]) {
			last[status(r)] = at
		}
	}
	for _, r := range slices.Clone(s.final("statuses")) {
		if wanted[r.str("account_id")+"\x00"+r.str("message_id")] {
			out = append(out, []any{
				r["account_id"], r["message_id"], "status", r["id"], r["status"], r["occurred_at"], last[status(r)], "", uint64(0),
			})
		}
	}
	return out
}
