package balancetest

import "math/big"

func transfer(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	var from, to *account
	missing := []any{"accounts"}
	for i, a := range []**account{&from, &to} {
		if id := c.arg(5 + i); id != "" {
			if *a = c.account(id); *a == nil {
				missing = append(missing, id)
			}
		}
	}
	if len(missing) > 1 {
		return missing, nil
	}
	if held := read[hash](c.r, c.keys[1]); held["hash"] != "" {
		if held["hash"] != c.arg(3) {
			return []any{"conflict"}, nil
		}
		return []any{"again", held["seq"], held["booked"], held["at"], held["amount"], from.balance(), to.balance(), held["epoch"], held["base"], held["from_after"], held["to_after"]}, nil
	}
	month, end := c.current(11)
	if month == "" {
		return []any{"clock"}, nil
	}
	sum := c.arg(4)
	if c.arg(8) == "1" {
		sum = from.balance()
	}
	if c.arg(7) == "1" && from.number("bal") < integer(sum) {
		return []any{"short", from.balance()}, nil
	}
	fresh := c.arg(9) == "1"
	if !from.takes(neg(sum), c.arg(8) != "1") || !to.takes(sum, !fresh) {
		return []any{"overflow"}, nil
	}
	return c.move(from, to, sum, month, end)
}

func (a *account) balance() string {
	if a == nil {
		return ""
	}
	return orZero(a.hash["bal"])
}

// takes tells whether a change leaves the balance, and the base of alerts if it moves
// along, in the range.
func (a *account) takes(by string, moved bool) bool {
	if a == nil {
		return true
	}
	within := func(held string) bool { return !beyond(new(big.Int).Add(amount(held), amount(by))) }
	return within(a.balance()) && (!moved || a.hash["base"] == "" || within(a.hash["base"]))
}

// shift moves the balance, and the base of alerts along.
func (c *call) shift(a *account, by string, moved bool) error {
	if _, err := c.incr(a.id, "bal", by); err != nil {
		return err
	}
	if moved && a.hash["base"] != "" {
		if _, err := c.incr(a.id, "base", by); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) move(from, to *account, amount, month, end string) ([]any, error) {
	task := "transfer:" + c.arg(2)
	seq := c.take(task)
	c.r.keys[c.tag+":t:"+task] = hash{"k": "o", "s": seq, "c": "0", "at": str(c.now)}
	ref := hash{
		"hash": c.arg(3), "seq": seq, "booked": month, "at": str(c.now), "amount": amount, "epoch": c.meta["epoch"],
	}
	c.r.keys[c.keys[1]] = ref
	base := ""
	if from != nil {
		whole := c.arg(8) == "1"
		if err := c.shift(from, neg(amount), !whole); err != nil {
			return nil, err
		}
		if whole && from.hash["base"] != "" {
			from.hash["base"] = "0"
		}
	}
	if to != nil {
		fresh := c.arg(9) == "1"
		if err := c.shift(to, amount, !fresh); err != nil {
			return nil, err
		}
		if fresh {
			base = to.balance()
			ref["base"] = base
			to.hash["base"], to.hash["tn"] = base, str(to.number("tn")+1)
			if to.hash["as"] != "" {
				to.hash["as"] = ""
			}
		}
	}
	left, holds := from.balance(), to.balance()
	ref["from_after"], ref["to_after"] = left, holds
	c.r.xadd(c.tag+":outbox", "k", "transfer", "e", c.meta["epoch"], "row", c.arg(10), "seq", seq, "booked", month, "at", str(c.now), "amount", amount, "base", base,
		"from", c.arg(5), "to", c.arg(6), "from_after", left, "to_after", holds)
	for _, a := range []*account{from, to} {
		if a != nil {
			c.evaluate(a, month, end, why{cause: "transfer"})
		}
	}
	return []any{"ok", seq, month, str(c.now), amount, left, holds, c.meta["epoch"], base, left, holds}, nil
}
