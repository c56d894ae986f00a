package ledgertest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// failingDue: why messages have to be looked at by now.
func failingDue(s *Server, params map[string]string) [][]any {
	until := func(name string) time.Time {
		n, _ := strconv.ParseInt(params[name], 10, 64)
		return time.UnixMilli(n)
	}
	var list []Row
	for _, r := range s.final("refund_looks") {
		due := !r.time("due").After(until("now"))
		if r["again"] == uint64(0) {
			due = !r.time("due").After(until("at")) && !r.time("arrived").After(until("arrived"))
		}
		if n, _ := r["sign"].(int64); n > 0 && due {
			list = append(list, r)
		}
	}
	order := func(a, b Row) int {
		return cmp.Or(a.time("due").Compare(b.time("due")), strings.Compare(a.str("parent_id"), b.str("parent_id")), strings.Compare(a.str("account_id"), b.str("account_id")),
			strings.Compare(a.str("message_id"), b.str("message_id")), a.time("arrived").Compare(b.time("arrived")))
	}
	slices.SortStableFunc(list, order)
	turns := map[string]int{} // parent → how many
	turn := make([][]Row, 0, len(list))
	for _, r := range list {
		n := turns[r.str("parent_id")]
		if turns[r.str("parent_id")]++; n == len(turn) {
			turn = append(turn, nil)
		}
		turn[n] = append(turn[n], r)
	}
	var out [][]any
	for _, r := range slices.Concat(turn...) {
		if uint64(len(out)) < integer(params, "limit") {
			out = append(out, r.pick("parent_id", "account_id", "message_id", "again", "due", "arrived"))
		}
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
