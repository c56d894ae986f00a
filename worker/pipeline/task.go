package pipeline

import (
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/meterd/meterd/internal/phone"
	"github.com/meterd/meterd/internal/wire"
	"github.com/meterd/meterd/metering"
)

// task is a task in hand: its lines, decoded.
type task struct {
	id    string
	run   string
	lines [][]byte
	recs  []metering.Record
	bad   []*metering.Refusal // per line: why it couldn't be decoded
	// inline: refunds are applied here; else they leave as a task of their own.
	inline bool
	// corrections, per line, of a re-rating's task; nil for records.
	corrections []wire.Correction
	// stood, by partition: up to where the ledger told what the messages stand at
	// that refunds or corrections change.
	stood map[int]stand
	// since: when a refund task was split off.
	since time.Time
}

// stand is a place in a partition's order of charges: a seq says nothing in
// another epoch.
type stand struct {
	epoch, seq int64
	asked      int64 // Redis's time before it, ms
	landing    bool  // rows of an older epoch might still land when the ledger was asked
	held       bool  // an earlier attempt's answer decides, and not what is read
}

func newTask(id string, lines [][]byte, inline bool) *task {
	t := &task{
		id: id, run: wire.RunOf(id), lines: lines, inline: inline,
		recs: make([]metering.Record, len(lines)), bad: make([]*metering.Refusal, len(lines)),
	}
	for i, line := range lines {
		r := &t.recs[i]
		if t.bad[i] = malformed(line, metering.DecodeRecord(line, r)); t.bad[i] == nil {
			fillCountry(r)
		}
	}
	return t
}

// malformed says of a line that an importer couldn't read what that was, not what it
// lacks as a record.
func malformed(line []byte, bad *metering.Refusal) *metering.Refusal {
	if bad == nil || bad.Reason != metering.ReasonMalformed || len(line) > salvageMax {
		return bad
	}
	if what := wire.WhatIsUnreadable(line); what != "" {
		return &metering.Refusal{Reason: metering.ReasonMalformed, Detail: what}
	}
	return bad
}

// salvageMax bounds the lines that are no records and are read all the same.
const salvageMax = 64 << 10

// fillCountry fills the country from the number that the message went to.
func fillCountry(r *metering.Record) {
	if r.Country != "" || r.Kind != metering.KindUsage {
		return
	}
	if number := r.FarEnd(); number != "" {
		r.Country = phone.Country(number)
		r.Derived = r.Country != ""
	}
}

// Salvage reads account, kind and id of a line that isn't a record, as far as it
// can. Of kinds only a refund is told: its entry is money, which not every reader
// of the account's entries may know of.
func Salvage(line []byte) (account string, kind metering.Kind, id string) {
	var v struct {
		AccountID any `json:"account_id"`
		Kind      any `json:"kind"`
		ID        any `json:"id"`
	}
	if len(line) > salvageMax || json.Unmarshal(line, &v) != nil {
		return "", "", ""
	}
	account, _ = v.AccountID.(string)
	id, _ = v.ID.(string)
	if len(account) > 64 || !utf8.ValidString(account) {
		account = ""
	}
	if len(id) > 128 {
		id = ""
	}
	if v.Kind == string(metering.KindRefund) {
		kind = metering.KindRefund
	}
	return account, kind, id
}
