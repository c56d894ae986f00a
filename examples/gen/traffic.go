package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// span is how far back the traffic reaches from its newest record. The newest is
// fixed; the demo moves all times to its own present.
const span = 19 * 24 * time.Hour

// newest is the time of the last record of the file.
func newest() time.Time { return time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC) }

// sent is a message with what the mishaps need to know of it.
type sent struct {
	record  record
	at      time.Time
	offset  string
	outcome string // its latest status
}

// generator makes traffic out of one stream of random numbers.
type generator struct {
	rng      *rand.Rand
	networks map[string][]string
	lines    []line
	sent     []sent
	count    count
}

// newGenerator returns a generator that is the same for the same seed.
func newGenerator(seed uint64, networks map[string][]string) *generator {
	return &generator{rng: rand.New(rand.NewPCG(seed, 0x6d6574657264)), networks: networks} //nolint:gosec // made-up traffic, repeatable
}

// traffic makes messages and all that comes with them, in order of arrival.
func (g *generator) traffic(messages int) ([]line, count, error) {
	for _, p := range profiles() {
		for i := range messages * p.perMille / 1000 {
			if err := g.message(&p, i*100 < messages*p.perMille/1000*p.burst); err != nil {
				return nil, count{}, err
			}
		}
	}
	for _, step := range []func() error{g.last, g.refunds, g.copies, g.refused, g.broken} {
		if err := step(); err != nil {
			return nil, count{}, err
		}
	}
	slices.SortStableFunc(g.lines, func(a, b line) int { return a.arrives.Compare(b.arrives) })
	g.count.Lines = len(g.lines)
	return g.lines, g.count, nil
}

// add appends a record that arrives after it occurred, late by some seconds.
func (g *generator) add(r *record, at time.Time) error {
	text, err := encode(r)
	if err != nil {
		return err
	}
	g.lines = append(g.lines, line{text, at.Add(time.Duration(g.rng.IntN(4_000)) * time.Millisecond)})
	return nil
}

// oneIn is true once in n times.
func (g *generator) oneIn(n int) bool { return g.rng.IntN(n) == 0 }

// pick takes one of the choices by its weight.
func (g *generator) pick(choices []share) string {
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	n := g.rng.IntN(total)
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			return c.what
		}
	}
	panic("weights don't add up")
}

// when makes up a time, by day more often than by night.
func (g *generator) when(burst bool) time.Time {
	if burst {
		return newest().Add(-time.Duration(g.rng.Int64N(int64(burstFor)))).Truncate(time.Millisecond)
	}
	for {
		t := newest().Add(-time.Duration(g.rng.Int64N(int64(span)))).Truncate(time.Millisecond)
		if h := t.Hour(); (h >= 5 && h < 20) || g.oneIn(4) {
			return t
		}
	}
}

// message sends one, with its statuses.
func (g *generator) message(p *profile, burst bool) error {
	channel := g.pick(p.channels)
	m := sent{at: g.when(burst), offset: p.offset}
	country := g.pick(p.to)
	if channel == "rcs" {
		country = g.pick(p.rcs)
	}
	m.record = record{
		ID: messageID(g.rng, channel, p.prefix), AccountID: p.account, Channel: channel,
		OccurredAt: stamp(m.at, p.offset), From: p.sender, To: number(g.rng, country),
	}
	g.describe(&m, p, country)
	g.measure(&m.record)
	g.label(&m.record, p)
	if channel != "voice" && channel != "email" && m.record.Direction == "" && g.oneIn(50) {
		// The channel rated it itself.
		m.record.Amount, m.record.Currency = ownPrice(p.currency), p.currency
		m.record.Units, m.record.Unit = nil, ""
		g.count.PreRated++
	}
	if err := g.deliver(&m); err != nil {
		return err
	}
	g.count.Messages++
	g.sent = append(g.sent, m)
	return g.add(&m.record, m.at)
}

// describe fills in direction, address, network and category.
func (g *generator) describe(m *sent, p *profile, country string) {
	r := &m.record
	switch {
	case r.Channel == "email":
		r.From, r.To = p.account+"@mail.example", "customer-"+strconv.Itoa(g.rng.IntN(90_000)+10_000)+"@inbox.example"
	case p.sender[0] == '+' && g.oneIn(12) && (r.Channel == "sms" || r.Channel == "whatsapp"):
		r.Direction, r.From, r.To = "inbound", r.To, p.sender
	default:
		if g.oneIn(4) {
			r.Direction = "outbound"
		}
		if networks := g.networks[country]; (r.Channel == "sms" || r.Channel == "mms") && !g.oneIn(5) {
			r.Network = networks[g.rng.IntN(len(networks))]
		}
		if g.oneIn(6) {
			r.Country = country
		}
	}
	if r.Direction == "inbound" {
		return
	}
	switch r.Channel {
	case "whatsapp":
		r.Category = g.pick([]share{{"marketing", 55}, {"utility", 25}, {"authentication", 8}, {"service", 12}})
	case "sms":
		if g.oneIn(5) {
			r.Category = g.pick([]share{{"marketing", 50}, {"authentication", 50}})
		}
	}
}

// measure fills in units, now and then as text, in minutes or not at all.
func (g *generator) measure(r *record) {
	units, unit := "1", "message"
	switch r.Channel {
	case "sms":
		units, unit = g.pick([]share{{"1", 68}, {"2", 22}, {"3", 7}, {"4", 3}}), "segment"
	case "email":
		units, unit = g.pick([]share{{"1", 90}, {"2", 4}, {"25", 3}, {"120", 3}}), "recipient"
	case "voice":
		units, unit = strconv.Itoa(5+g.rng.IntN(120)+g.rng.IntN(2)*g.rng.IntN(600)), "second"
		if g.oneIn(20) {
			units, unit = g.pick([]share{{"0.5", 1}, {"1", 1}, {"2.5", 1}, {"7.25", 1}}), "minute"
		}
	default:
		if g.oneIn(3) {
			return // absent: one of the rule's unit
		}
	}
	r.Unit, r.Units = unit, json.RawMessage(units)
	if g.oneIn(20) {
		r.Units = json.RawMessage(`"` + units + `"`)
	}
}

// label adds tags; some parents put a rate in one, which others mustn't see.
func (g *generator) label(r *record, p *profile) {
	if len(p.tags) == 0 || r.Direction == "inbound" || !g.oneIn(3) {
		return
	}
	r.Tags = map[string]string{"campaign": p.tags[g.rng.IntN(len(p.tags))]}
	if g.oneIn(3) {
		r.Tags["product"] = g.pick([]share{{"shoes", 3}, {"coats", 2}, {"gift-card", 1}})
	}
	if g.oneIn(40) {
		r.Tags["rate"] = ownPrice(p.currency)
	}
}

// ownPrice is what a channel that rates its messages itself asks.
func ownPrice(currency string) string {
	switch currency {
	case "INR":
		return "0.3105"
	case "NPR":
		return "1.3500"
	}
	return "0.0429"
}

// deliver gives the message its first status and, for one in ten, later ones.
func (g *generator) deliver(m *sent) error {
	r := &m.record
	if r.Direction == "inbound" {
		r.Status, m.outcome = "received", "received"
		return nil
	}
	m.outcome = g.pick([]share{{"delivered", 920}, {"undelivered", 35}, {"failed", 20}, {"sent", 25}})
	if r.Channel == "voice" && m.outcome != "delivered" {
		// Nobody answered.
		m.outcome, r.Units, r.Unit = "failed", json.RawMessage("0"), "second"
	}
	r.Status = m.outcome
	failing := m.outcome == "failed" || m.outcome == "undelivered"
	code := g.errorCode(r.Channel)
	if failing {
		r.ErrorCode = code
	}
	later := m.at.Add(time.Duration(2+g.rng.IntN(600)) * time.Second)
	if !g.oneIn(10) || m.outcome == "sent" || later.After(newest()) {
		return nil
	}
	r.Status, r.ErrorCode = g.pick([]share{{"accepted", 1}, {"queued", 1}, {"sent", 4}}), ""
	if err := g.status(m, m.outcome, code, later); err != nil {
		return err
	}
	if read := later.Add(time.Minute); r.Channel == "whatsapp" && !failing && g.oneIn(2) && !read.After(newest()) {
		m.outcome = "read"
		return g.status(m, "read", "", read)
	}
	return nil
}

// status reports on a message that was sent; a few arrive before it does.
func (g *generator) status(m *sent, status, code string, at time.Time) error {
	r := record{
		ID: uuid(g.rng), Kind: "status", AccountID: m.record.AccountID, Channel: m.record.Channel,
		Status: status, RefersTo: m.record.ID, OccurredAt: stamp(at, m.offset),
	}
	if status == "failed" || status == "undelivered" {
		r.ErrorCode = code
	}
	g.count.Statuses++
	arrives := at
	if g.oneIn(40) {
		arrives = m.at.Add(-time.Minute)
	}
	return g.add(&r, arrives)
}

// errorCode is what went wrong, as the channel says it.
func (g *generator) errorCode(channel string) string {
	switch channel {
	case "voice":
		return g.pick([]share{{"no_answer", 3}, {"busy", 2}})
	case "email":
		return g.pick([]share{{"mailbox_full", 1}, {"unknown_user", 2}})
	}
	return g.pick([]share{{"unreachable", 4}, {"unknown_subscriber", 3}, {"carrier_rejected", 2}, {"30005", 1}})
}

// last makes sure that the newest record is exactly at newest.
func (g *generator) last() error {
	p := profiles()[1]
	r := record{
		ID: messageID(g.rng, "sms", ""), AccountID: p.account, Channel: "sms", Status: "sent", From: p.sender,
		To: number(g.rng, "IT"), Units: json.RawMessage("1"), Unit: "segment", OccurredAt: stamp(newest(), p.offset),
	}
	g.count.Messages++
	return g.add(&r, newest())
}

// count is what a file holds, by what should become of it.
type count struct {
	Lines, Messages, PreRated, Statuses   int
	Refunds, Early, Waiting               int
	Copies, Restamped, Conflicts          int
	OverRefunds, Unknown, NotEnabled      int
	NoPrice, UnitMismatch, Currency, Junk int
}

// String is the summary that the command prints.
func (c count) String() string {
	return fmt.Sprintf(`%d lines
stored       %d: %d messages (%d rated by their channel), %d statuses, %d refunds (%d ahead of their message)
waiting      %d refunds whose message never comes
duplicates   %d: %d to the byte, %d with another time or status
quarantined  %d: malformed %d, unknown_account %d, channel_not_enabled %d, currency_mismatch %d,
             no_price %d, unit_mismatch %d, conflict %d, over_refund %d
`, c.Lines, c.Messages+c.Statuses+c.Refunds, c.Messages, c.PreRated, c.Statuses, c.Refunds, c.Early,
		c.Waiting, c.Copies+c.Restamped, c.Copies, c.Restamped,
		c.quarantined(), c.Junk, c.Unknown, c.NotEnabled, c.Currency, c.NoPrice, c.UnitMismatch, c.Conflicts, c.OverRefunds)
}

// quarantined adds up what is refused.
func (c count) quarantined() int {
	return c.Junk + c.Unknown + c.NotEnabled + c.Currency + c.NoPrice + c.UnitMismatch + c.Conflicts + c.OverRefunds
}
