package main

import (
	"encoding/json"
	"strings"
	"time"
)

// refunds gives back 1.5 % of the messages. Five refunds come days before their
// message, two name a message that never comes, and two ask for too much.
func (g *generator) refunds() error {
	const early, never, over = 5, 2, 2
	wanted := len(g.sent)*15/1000 + over
	order := g.rng.Perm(len(g.sent))
	for _, i := range order {
		m := &g.sent[i]
		if wanted == 0 {
			break
		}
		if !refundable(m) {
			continue
		}
		wanted--
		at := m.at.Add(30*time.Minute + time.Duration(g.rng.IntN(80))*time.Minute)
		r := record{
			ID: uuid(g.rng), Kind: "refund", AccountID: m.record.AccountID, Channel: m.record.Channel,
			RefersTo: m.record.ID, OccurredAt: stamp(at, m.offset),
		}
		arrives := at
		switch {
		case wanted < over:
			r.Amount, r.Currency = "95.00", currencyOf(r.AccountID)
			g.count.OverRefunds++
		case g.count.Early < early:
			arrives = m.at.Add(-48 * time.Hour)
			g.count.Early++
			g.count.Refunds++
		default:
			if g.oneIn(4) {
				r.Amount, r.Currency = "0.0040", currencyOf(r.AccountID) // part of the price
			}
			g.count.Refunds++
		}
		m.outcome = "refunded"
		if err := g.add(&r, arrives); err != nil {
			return err
		}
	}
	for range never {
		at := newest().Add(-time.Duration(30+g.rng.IntN(600)) * time.Minute)
		r := record{
			ID: uuid(g.rng), Kind: "refund", AccountID: "globex-shop", Channel: "sms",
			RefersTo: messageID(g.rng, "sms", "SM"), OccurredAt: stamp(at, "Z"),
		}
		g.count.Waiting++
		if err := g.add(&r, at); err != nil {
			return err
		}
	}
	return nil
}

// refundable tells whether a refund of m is accepted: it cost something, there
// is time for it, and no plan refunds it by itself. The plan in USD refunds
// nothing by itself, so its failures are refunded here.
func refundable(m *sent) bool {
	r := &m.record
	if r.Direction == "inbound" || r.Category == "service" || r.Channel == "voice" || r.Channel == "email" {
		return false
	}
	if m.at.After(newest().Add(-2 * time.Hour)) {
		return false
	}
	failing := m.outcome == "failed" || m.outcome == "undelivered"
	return m.outcome != "refunded" && (!failing || currencyOf(r.AccountID) == "USD")
}

// currencyOf is the currency of an account's parent.
func currencyOf(account string) string {
	for _, p := range profiles() {
		if p.account == account {
			return p.currency
		}
	}
	panic("no profile for " + account)
}

// copies sends 1 % of messages once more to the byte, 0.2 % with another time
// or status, and five with other units, which is a conflict.
func (g *generator) copies() error {
	const conflicts = 5
	order := g.rng.Perm(len(g.sent))
	exact, restamped := len(g.sent)/100, len(g.sent)/500
	for _, i := range order {
		m := g.sent[i]
		if !m.at.Before(newest().Add(-10*time.Minute)) || m.outcome == "refunded" {
			continue
		}
		later := m.at.Add(time.Duration(5+g.rng.IntN(3_600)) * time.Second)
		r := m.record
		switch {
		case g.count.Copies < exact:
			g.count.Copies++
		case g.count.Restamped < restamped && (m.outcome == "delivered" || m.outcome == "sent"):
			r.OccurredAt = stamp(m.at.Add(time.Duration(1+g.rng.IntN(90))*time.Second), m.offset)
			r.Status = "delivered"
			g.count.Restamped++
		case g.count.Conflicts < conflicts && r.Unit == "segment" && m.outcome == "delivered":
			r.Units = json.RawMessage("9")
			g.count.Conflicts++
		default:
			if g.count.Restamped == restamped && g.count.Conflicts == conflicts {
				return nil
			}
			continue
		}
		if err := g.add(&r, later); err != nil {
			return err
		}
	}
	return nil
}

// refused sends what is well formed and still can't be charged.
func (g *generator) refused() error {
	sms := func(account, to string) record {
		return record{
			ID: messageID(g.rng, "sms", ""), AccountID: account, Channel: "sms", Status: "sent",
			To: number(g.rng, to), Units: json.RawMessage("1"), Unit: "segment",
		}
	}
	var records []record
	for _, account := range []string{"acme-outlet", "acme_marketing", "globex-pharmacy", "initech", "himal-air"} {
		records = append(records, sms(account, "IT"))
		g.count.Unknown++
	}
	for _, pair := range [][2]string{
		{"acme-support", "whatsapp"},
		{"acme-support", "email"},
		{"globex-shop", "mms"},
		{"globex-clinic", "voice"},
		{"saffron-pay", "whatsapp"},
		{"himal-trek", "email"},
	} {
		r := sms(pair[0], "IN")
		r.Channel, r.Units, r.Unit = pair[1], nil, ""
		records = append(records, r)
		g.count.NotEnabled++
	}
	for range 5 {
		r := sms("acme-loyalty", "DE") // no plan has a price for RCS there
		r.Channel, r.Units, r.Unit = "rcs", nil, ""
		records = append(records, r)
		g.count.NoPrice++
	}
	for _, account := range []string{"acme-marketing", "globex-shop", "saffron-pay", "himal-bank"} {
		r := sms(account, "FR")
		r.Unit = "message"
		records = append(records, r)
		g.count.UnitMismatch++
	}
	for _, account := range []string{"acme-support", "globex-clinic", "saffron-store", "himal-trek"} {
		r := sms(account, "GB")
		r.Amount, r.Currency = "0.0350", "GBP"
		records = append(records, r)
		g.count.Currency++
	}
	for i := range records {
		at := g.when(false)
		records[i].OccurredAt = stamp(at, "Z")
		if err := g.add(&records[i], at); err != nil {
			return err
		}
	}
	return nil
}

// broken adds the lines that are no usage records at all.
func (g *generator) broken() error {
	for _, text := range []string{
		`{"id":"brk-truncated","account_id":"acme-marketing","channel":"sms","to":"+39320`,
		`["brk-array","acme-support","sms",1]`,
		`ERROR upstream timed out after 30000 ms`,
		`{"id":"brk-no-time","account_id":"globex-shop","channel":"sms","units":1,"unit":"segment"}`,
		`{"id":"brk-no-zone","account_id":"globex-shop","channel":"sms","units":1,"unit":"segment","occurred_at":"2026-11-18T09:30:00"}`,
		`{"id":"brk-not-a-time","account_id":"himal","channel":"sms","units":1,"unit":"segment","occurred_at":"yesterday"}`,
		`{"id":"brk-negative","account_id":"saffron-store","channel":"sms","units":-2,"unit":"segment","occurred_at":"2026-11-18T09:30:00Z"}`,
		`{"id":"brk-words","account_id":"saffron-pay","channel":"sms","units":"three","unit":"segment","occurred_at":"2026-11-18T09:30:01Z"}`,
		`{"id":1729,"account_id":"acme-support","channel":"sms","units":1,"unit":"segment","occurred_at":"2026-11-18T09:30:02Z"}`,
		`{"id":"","account_id":"globex-clinic","channel":"email","units":1,"unit":"recipient","occurred_at":"2026-11-18T09:30:03Z"}`,
		`{"id":"brk-kind","kind":"charge","account_id":"himal-bank","channel":"sms","units":1,"unit":"segment","occurred_at":"2026-11-18T09:30:04Z"}`,
		`{"id":"brk-tags","account_id":"acme-loyalty","channel":"sms","units":1,"unit":"segment","occurred_at":"2026-11-18T09:30:05Z","tags":["a","b"]}`,
		strings.ReplaceAll(`{"id":"brk-bytes","account_id":"himal-trek","channel":"sms","from":"Caf@","units":1,"unit":"segment","occurred_at":"2026-11-18T09:30:06Z"}`, "@", "\xe9"),
	} {
		g.count.Junk++
		g.lines = append(g.lines, line{[]byte(text), g.when(false)})
	}
	return nil
}
