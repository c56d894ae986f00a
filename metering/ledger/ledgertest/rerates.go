package ledgertest

import (
	"cmp"
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
	rows := s.final("records")
	become := becomeOf(rows)
	var messages []Row
	for _, r := range rows {
		if fits(r) && r.str("kind") == "usage" && r.str("plan") != "" && (params["period"] == "" || r.str("period") == params["period"]) {
			messages = append(messages, r)
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
		b := become[key(r)]
		out = append(out, append(row, b.refunded, b.corrected, b.fees, r["currency"], tags, r["content_hash"], b.whole(r)))
	}
	return out
}

// become is what refunds and corrections did to a message.
type become struct {
	refunded, corrected, fees decimal.Decimal
	refunds, corrections      []Row
}

// becomeOf messages, by account and id.
func becomeOf(rows []Row) map[string]become {
	out := map[string]become{}
	for _, r := range rows {
		switch k := r.str("account_id") + "\x00"; r.str("kind") {
		case "refund":
			b := out[k+r.str("id")]
			b.refunded, b.refunds = b.refunded.Add(r.dec("amount")), append(b.refunds, r)
			out[k+r.str("id")] = b
		case "adjustment":
			b := out[k+r.str("refers_to")]
			b.corrected, b.fees = b.corrected.Add(r.dec("amount")), b.fees.Add(r.dec("fee"))
			b.corrections = append(b.corrections, r)
			out[k+r.str("refers_to")] = b
		}
	}
	return out
}

// whole tells whether a message's refund gave back all that it came to by the
// corrections of before.
func (b become) whole(message Row) bool {
	later := func(x, y Row) int {
		return cmp.Or(cmp.Compare(x.num("epoch"), y.num("epoch")), cmp.Compare(x.num("seq"), y.num("seq")))
	}
	all := message.dec("amount").Sub(message.dec("fee"))
	for _, c := range b.corrections {
		if len(b.refunds) > 0 && later(c, slices.MaxFunc(b.refunds, later)) < 0 {
			all = all.Add(c.dec("amount")).Sub(c.dec("fee"))
		}
	}
	return len(b.refunds) > 0 && b.refunded.Equal(all)
}
