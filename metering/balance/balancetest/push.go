package balancetest

import (
	"cmp"
	"encoding/json"
	"fmt"
)

// pushed is an account in push.lua's ARGV 3.
type pushed struct {
	ID       string `json:"id"`
	Parent   string `json:"par"`
	Mode     string `json:"mode"`
	Source   string `json:"src"`
	Limit    string `json:"lim"`
	Ceil     string `json:"ceil"`
	Alerts   string `json:"alerts"`
	Observe  string `json:"obs"`
	Priced   string `json:"pr"`
	Channels string `json:"ch"`
	Closed   string `json:"closed"`
	Catalog  string `json:"cat"`
	First    string `json:"first"`
}

func push(c *call) ([]any, error) {
	if refusal := c.guard(c.arg(1)); refusal != nil {
		return refusal, nil
	}
	months := map[string][2]string{}
	at := 4
	for range c.num(4) {
		month, end := c.current(at + 2)
		if month == "" {
			return []any{"clock"}, nil
		}
		months[c.arg(at+1)] = [2]string{month, end}
		at += 10
	}
	var list []pushed
	if err := json.Unmarshal([]byte(c.arg(3)), &list); err != nil {
		return nil, fmt.Errorf("push: %w", err)
	}
	if lost := c.lost(list); lost != "" {
		c.meta["lost"], c.meta["replid"] = lost, ""
		return []any{"void"}, nil
	}
	fresh := map[string]bool{}
	for _, d := range list {
		h := read[hash](c.r, c.akey(d.ID))
		if h["cat"] != "" && integer(d.Catalog) < integer(h["cat"]) {
			continue
		}
		fresh[d.ID] = fresh[d.ID] || h["cat"] == ""
		h = made[hash](c.r, c.akey(d.ID))
		for _, f := range [][2]string{
			{"par", d.Parent},
			{"mode", d.Mode},
			{"src", d.Source},
			{"lim", d.Limit},
			{"ceil", d.Ceil},
			{"alerts", d.Alerts},
			{"obs", d.Observe},
			{"pr", d.Priced},
			{"ch", d.Channels},
			{"closed", d.Closed},
			{"cat", d.Catalog},
		} {
			h[f[0]] = f[1]
		}
	}
	for _, d := range list {
		a := c.account(d.ID)
		parent := a.hash["par"]
		if parent == "" {
			parent = a.id
		}
		c.evaluate(a, months[parent][0], months[parent][1], why{cause: "applied", born: fresh[d.ID] || a.hash["quiet"] == "1"})
	}
	if integer(c.arg(2)) > integer(c.meta["catalog"]) {
		c.meta["catalog"] = c.arg(2)
	}
	return []any{"ok"}, nil
}

// lost is an account that had been pushed and isn't held; "": none.
func (c *call) lost(list []pushed) string {
	listed := map[string]bool{}
	for _, d := range list {
		listed[d.ID] = true
		if d.Parent != "" && !listed[d.Parent] && c.account(d.Parent) == nil {
			return d.Parent
		}
		if c.account(d.ID) == nil && integer(cmp.Or(d.First, d.Catalog)) <= integer(c.meta["catalog"]) {
			return d.ID
		}
	}
	return ""
}
