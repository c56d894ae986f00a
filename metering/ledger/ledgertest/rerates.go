package ledgertest

import (
	"maps"
	"slices"
	"sort"

	"github.com/shopspring/decimal"
)

// rerates: a re-rating by its reference.
func rerates(s *Server, params map[string]string) [][]any {
	for _, r := range s.final("rerates") {
		if r.str("ref") == params["ref"] {
			return [][]any{r.pick("ref", "parent_id", "account_id", "period", "plan", "reason", "actor", "booked_at")}
		}
	}
	return nil
}

// reratesOpen: parents with a re-rating that hasn't ended.
func reratesOpen(s *Server, params map[string]string) [][]any {
	open := map[string]bool{}
	for _, r := range s.final("rerate_runs") {
		if r.num("ended") == 0 && slices.Contains(array(params["parents"]), r.str("parent_id")) {
			open[r.str("parent_id")] = true
		}
	}
	var out [][]any
	for _, id := range slices.Sorted(maps.Keys(open)) {
		out = append(out, []any{id})
	}
	return out
}

// rerateRows: a parent's messages that a plan rated, and what became of each.
// Of from only "any time" is known, of numbers only "any".
func rerateRows(s *Server, params map[string]string) [][]any {
	fits := func(r Row) bool {
		return r.str("parent_id") == params["parent"] && (params["account"] == "" || r.str("account_id") == params["account"])
	}
	refunded, corrected, fees := map[string]decimal.Decimal{}, map[string]decimal.Decimal{}, map[string]decimal.Decimal{}
	var messages []Row
	for _, r := range s.final("records") {
		if !fits(r) {
			continue
		}
		switch k := r.str("account_id") + "\x00"; r.str("kind") {
		case "refund":
			refunded[k+r.str("id")] = refunded[k+r.str("id")].Add(r.dec("amount"))
		case "adjustment":
			k += r.str("refers_to")
			corrected[k], fees[k] = corrected[k].Add(r.dec("amount")), fees[k].Add(r.dec("fee"))
		case "usage":
			if r.str("plan") != "" && (params["period"] == "" || r.str("period") == params["period"]) {
				messages = append(messages, r)
			}
		}
	}
	key := func(r Row) string { return r.str("account_id") + "\x00" + r.str("id") }
	sort.SliceStable(messages, func(i, j int) bool { return key(messages[i]) < key(messages[j]) })
	var out [][]any
	for _, r := range messages {
		row := r.pick("account_id", "id", "period", "occurred_at", "channel", "direction", "recipient", "sender", "country", "network",
			"category", "units", "unit", "amount", "fee", "purse")
		tags := map[string]string{}
		if own, ok := r["tags"].(map[string]string); ok && r.str("recipient") == "" && r.str("sender") == "" {
			tags = own
		}
		k := key(r)
		out = append(out, append(row, refunded[k], corrected[k], fees[k], r["currency"], tags, r["content_hash"]))
	}
	return out
}
