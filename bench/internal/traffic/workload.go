package traffic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Workload makes seeded lines. Everything in it that may be decided in any
// order gives the same figures in any.
type Workload struct {
	rnd  *rand.Rand
	now  time.Time
	book *Book
	next int
	sent []*Usage // Usage records that are charged
}

// NewWorkload returns one that makes the same lines for the same seed.
func NewWorkload(b *Book, now time.Time, seed uint64) *Workload {
	return &Workload{rnd: rand.New(rand.NewPCG(seed, 7)), now: now, book: b}
}

func (w *Workload) pick(list ...string) string { return list[w.rnd.IntN(len(list))] }

func (w *Workload) chance(percent int) bool { return w.rnd.IntN(100) < percent }

func (w *Workload) id(prefix string) string {
	w.next++
	return prefix + "-" + strconv.Itoa(w.next)
}

// instant is a time of the past: of the last hours, of the last months, or at
// the edge of a month or of a day in the zone.
func (w *Workload) instant(zone string) time.Time {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	switch n := w.rnd.IntN(100); {
	case n < 60:
		return w.now.Add(-time.Minute - time.Duration(w.rnd.Int64N(int64(20*time.Hour)))).Truncate(time.Millisecond)
	case n < 85:
		return w.now.Add(-time.Minute - time.Duration(w.rnd.Int64N(int64(75*24*time.Hour)))).Truncate(time.Millisecond)
	}
	local := w.now.In(loc)
	edge := time.Date(local.Year(), local.Month()-time.Month(w.rnd.IntN(3)), 1, 0, 0, 0, 0, loc)
	if w.chance(30) {
		edge = time.Date(local.Year(), local.Month(), local.Day()-w.rnd.IntN(40), 0, 0, 0, 0, loc)
	}
	off := []time.Duration{-time.Millisecond, 0, time.Millisecond, -time.Second, time.Hour, -14*time.Minute - 59*time.Second}
	t := edge.Add(off[w.rnd.IntN(len(off))])
	if t.After(w.now.Add(-time.Minute)) {
		t = w.now.Add(-time.Minute)
	}
	return t
}

// stamp writes an instant with some offset.
func (w *Workload) stamp(u *Usage, t time.Time) {
	t = t.Truncate(time.Millisecond)
	zones := []int{0, 3600, -5 * 3600, 5*3600 + 1800, 5*3600 + 2700}
	u.At = t
	u.OccurredAt = t.In(time.FixedZone("", zones[w.rnd.IntN(len(zones))])).Format("2006-01-02T15:04:05.999Z07:00")
}

// numbers are how the numbers of a country begin, and how many digits follow.
var numbers = map[string]struct {
	start string
	rest  int
}{"IT": {"+39347", 7}, "US": {"+1212555", 4}, "CA": {"+1416555", 4}, "IN": {"+9198", 8}, "NP": {"+97798", 8}, "DE": {"+4915", 9}}

// Message is a usage record that some plan prices.
func (w *Workload) Message() *Usage {
	var a *Account
	for a == nil || a.ID == "rom-closed" && w.chance(80) {
		a = &w.book.Accounts[w.rnd.IntN(len(w.book.Accounts))]
	}
	u := &Usage{ID: w.id("m"), AccountID: a.ID}
	channels := map[string][]string{
		"eur": {"sms", "sms", "sms", "voice", "email", "whatsapp"}, "usd": {"sms", "sms", "voice", "email"},
		"inr": {"sms", "voice", "whatsapp"}, "npr": {"sms", "voice", "whatsapp"},
	}[w.book.ParentOf(a).Plan]
	for u.Channel == "" || len(a.Channels) > 0 && !slices.Contains(a.Channels, u.Channel) {
		u.Channel = w.pick(channels...)
	}
	w.stamp(u, w.instant(w.book.ParentOf(a).Zone))
	u.Status = w.pick("accepted", "queued", "sent")
	w.destination(u)
	switch u.Channel {
	case "voice":
		u.Unit = w.pick("second", "second", "minute", "")
		u.Units = w.pick("0", "1", "29", "30", "30.000001", "59.5", "60", "61", "119", "301.25")
		if u.Unit == "minute" {
			u.Units = w.pick("0.5", "1", "1.0333", "7")
		}
	default:
		u.Units = w.pick("", "1", "2", "3", "1", "7")
	}
	if w.chance(20) {
		u.Tags = map[string]string{"campaign": w.pick("spring", "autumn"), "team": w.pick("a", "b")}
	}
	if w.chance(4) {
		u.Amount = w.pick("0", "0.1234565", "0.1234575", "1.5", "0.000001")
		u.Currency = w.book.plan(w.book.ParentOf(a).Plan).Currency
	}
	return u
}

func (w *Workload) destination(u *Usage) {
	country := w.pick("IT", "IT", "US", "CA", "IN", "NP", "DE")
	digits := fmt.Sprintf("%09d", w.rnd.IntN(1_000_000_000))
	number := numbers[country].start + digits[:numbers[country].rest]
	if country == "IT" && w.chance(50) {
		number = "+3932" + w.pick("0", "9") + digits[:7]
	}
	if w.chance(15) {
		u.Direction, u.From, u.To = "inbound", number, "40404"
	} else {
		u.To = number
	}
	if u.derived = country; w.chance(70) {
		u.Country = country
	}
	if country == "IT" && w.chance(20) {
		u.Network = "22210"
	}
	u.Category = w.pick("", "", "marketing", "authentication")
}

// wrong is a record that is refused, whatever comes before it (of rom-closed:
// where that is closed).
func (w *Workload) wrong() *Usage {
	u := w.Message()
	u.Amount, u.Currency = "", ""
	switch w.rnd.IntN(7) {
	case 0:
		u.AccountID = w.pick("nobody", "rom-nobody", "Rom")
	case 1:
		u.AccountID, u.Channel = "rom-poor", "email"
	case 2:
		u.Currency = "GBP"
	case 3:
		u.Channel, u.AccountID, u.Units, u.Unit = "push", "ktm-trek", "", ""
	case 4:
		u.AccountID, u.Channel, u.Units, u.Unit = "ccu-store", "sms", "3", "recipient"
	case 5:
		w.stamp(u, w.now.Add(26*time.Hour))
	case 6:
		u.AccountID, u.Channel, u.Units, u.Unit = "rom-closed", "email", "", ""
		w.stamp(u, w.now.Add(4*time.Minute))
	}
	return u
}

// malformed is a line that is no record.
func (w *Workload) malformed() string {
	u := w.Message()
	line := u.Line()
	switch w.rnd.IntN(7) {
	case 0:
		return line[:len(line)-1-w.rnd.IntN(20)]
	case 1:
		return strings.Replace(line, `"account_id"`, `"account"`, 1)
	case 2:
		return strings.Replace(line, `"channel":"`, `"units":"-1","channel":"`, 1)
	case 3:
		return strings.Replace(line, `"id":"`, `"id":"","other":"`, 1)
	case 4:
		return "not json " + u.ID
	case 5:
		return strings.Replace(line, u.OccurredAt, u.At.Format("2006-01-02T15:04:05"), 1)
	}
	return strings.Replace(line, `"channel":"`, `"tags":[1],"channel":"`, 1)
}

// Older is a message that was sent.
func (w *Workload) Older() *Usage { return w.sent[w.rnd.IntN(len(w.sent))] }

// restamped is a copy of a message at another time and with another status.
func (w *Workload) restamped() *Usage {
	c := *w.Older()
	if w.chance(60) {
		w.stamp(&c, c.At.Add(-time.Duration(w.rnd.Int64N(int64(35*24*time.Hour)))))
	}
	if w.chance(50) {
		c.Status = w.pick("sent", "delivered", "failed")
	}
	return &c
}

// conflict is a copy of a message with other content.
func (w *Workload) conflict() *Usage {
	c := *w.Older()
	switch w.rnd.IntN(3) {
	case 0:
		c.Category = "other"
	case 1:
		c.Tags = map[string]string{"campaign": "other"}
	case 2:
		c.To += "7"
	}
	return &c
}

// status of a message, later than it.
func (w *Workload) status() *Usage {
	m := w.Older()
	u := &Usage{
		Kind: "status", ID: w.id("s"), AccountID: m.AccountID, RefersTo: m.ID,
		Status: w.pick("sent", "delivered", "undelivered", "failed", "read"),
	}
	if u.Status == "failed" {
		u.ErrorCode = "30003"
	}
	at := m.At.Add(time.Duration(w.rnd.IntN(50)) * time.Second)
	w.stamp(u, at)
	return u
}

// Refund of a message, later than it.
func (w *Workload) Refund(m *Usage) *Usage {
	u := &Usage{Kind: "refund", ID: w.id("r"), AccountID: m.AccountID, RefersTo: m.ID}
	at := m.At.Add(time.Duration(w.rnd.Int64N(int64(48 * time.Hour))))
	if at.After(w.now.Add(-time.Second)) {
		at = w.now.Add(-time.Second)
	}
	w.stamp(u, at)
	return u
}
