package ledger

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/meterd/meterd/metering"
)

// Row is one line of the ledger: a record with what was decided about it.
type Row struct {
	Record     *metering.Record
	ParentID   string
	Charge     metering.Charge
	Purse      metering.Purse
	Currency   string
	Hash       uint64 // of the content
	Period     string // of occurred_at
	Booked     string // the period whose bill it is in
	Epoch      int64
	Seq        int64
	Hour       time.Time // start of the local hour of occurred_at
	Refundable bool      // its plan may refund it automatically: it is looked at (docs/domain.md, Statuses)
}

// block holds rows by column, as ClickHouse takes them.
type block struct {
	account, kind, parent, channel, direction, status, errCode symbols
	sender, country, network, category, unit, currency, plan   symbols
	purse, period, booked                                      symbols
	id, recipient, refers, source                              texts
	units, billed, amount, fee                                 decimals
	version, rule, epoch                                       smalls
	hash, seq                                                  numbers
	occurred, stored                                           times
	tags                                                       tagged
}

func newBlock(rows int) *block {
	b := &block{}
	for _, s := range []*symbols{
		&b.account, &b.kind, &b.parent, &b.channel, &b.direction, &b.status, &b.errCode, &b.sender, &b.country, &b.network,
		&b.category, &b.unit, &b.currency, &b.plan, &b.purse, &b.period, &b.booked,
	} {
		s.keys = make([]uint32, 0, rows)
	}
	for _, t := range []*texts{&b.id, &b.recipient, &b.refers, &b.source} {
		*t = make(texts, 0, rows)
	}
	for _, d := range []*decimals{&b.units, &b.billed, &b.amount, &b.fee} {
		*d = make(decimals, 0, rows)
	}
	for _, n := range []*smalls{&b.version, &b.rule, &b.epoch} {
		*n = make(smalls, 0, rows)
	}
	for _, n := range []*numbers{&b.hash, &b.seq, (*numbers)(&b.tags.ends)} {
		*n = make(numbers, 0, rows)
	}
	for _, t := range []*times{&b.occurred, &b.stored} {
		*t = make(times, 0, rows)
	}
	return b
}

func (b *block) add(r *Row, now time.Time) {
	rec := r.Record
	b.account.add(rec.AccountID)
	b.kind.add(string(rec.Kind))
	b.id = append(b.id, rec.Identity().ID)
	b.occurred = append(b.occurred, rec.OccurredAt.UnixMilli())
	b.parent.add(r.ParentID)
	b.channel.add(rec.Channel)
	b.direction.add(cmp.Or(rec.Direction, metering.Outbound))
	b.status.add(rec.Status)
	b.errCode.add(rec.ErrorCode)
	b.recipient = append(b.recipient, rec.To)
	b.sender.add(rec.From)
	b.country.add(rec.Country)
	b.network.add(rec.Network)
	b.category.add(rec.Category)
	b.units = append(b.units, int64(r.Charge.Units))
	b.unit.add(r.Charge.Unit)
	b.billed = append(b.billed, int64(r.Charge.Billed))
	b.amount = append(b.amount, int64(r.Charge.Amount))
	b.fee = append(b.fee, int64(r.Charge.Fee))
	b.currency.add(r.Currency)
	b.plan.add(r.Charge.Plan)
	b.version = append(b.version, uint32(r.Charge.Version))
	b.rule = append(b.rule, uint32(r.Charge.Rule))
	b.purse.add(string(cmp.Or(r.Purse, metering.PurseCredit)))
	b.refers = append(b.refers, rec.RefersTo)
	source := ""
	if rec.Kind == metering.KindRefund {
		source = rec.ID
	}
	b.source = append(b.source, source)
	b.tags.add(rec.Tags)
	b.hash = append(b.hash, r.Hash)
	b.period.add(r.Period)
	b.booked.add(r.Booked)
	b.epoch = append(b.epoch, uint32(r.Epoch))
	b.seq = append(b.seq, uint64(r.Seq))
	b.stored = append(b.stored, now.UnixMilli())
}

// recordColumns are the columns of records, in the order of columns.
const recordColumns = `account_id, kind, id, occurred_at, parent_id, channel, direction, status, error_code,
 recipient, sender, country, network, category, units, unit, billed_units, amount, fee, currency, plan, plan_version,
 rule, purse, refers_to, source_id, tags, content_hash, period, booked, epoch, seq, stored_at, noted`

func (b *block) columns() []any {
	return []any{
		&b.account, &b.kind, b.id, b.occurred, &b.parent, &b.channel, &b.direction, &b.status, &b.errCode,
		b.recipient, &b.sender, &b.country, &b.network, &b.category, b.units, &b.unit, b.billed, b.amount, b.fee,
		&b.currency, &b.plan, b.version, b.rule, &b.purse, b.refers, b.source, &b.tags, b.hash, &b.period, &b.booked,
		b.epoch, b.seq, b.stored,
		constant{"UInt8", 1, len(b.id)},
	}
}

// sorted orders rows as the table does: what ClickHouse finds in order it
// needn't sort, and equal words stand beside one another.
func sorted(rows []*Row) []int {
	accounts := map[string]uint32{}
	for _, r := range rows {
		accounts[r.Record.AccountID] = 0
	}
	for i, id := range slices.Sorted(maps.Keys(accounts)) {
		accounts[id] = uint32(i)
	}
	type key struct {
		account uint32
		row     int32
		head    uint64 // of the id: most differ in it
	}
	keys := make([]key, len(rows))
	var last string
	var rank uint32
	for i, r := range rows {
		if id := r.Record.AccountID; i == 0 || id != last {
			last, rank = id, accounts[id]
		}
		keys[i] = key{account: rank, row: int32(i), head: head(r.Record.Identity().ID)}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.account != b.account {
			return cmp.Compare(a.account, b.account)
		}
		x, y := rows[a.row].Record, rows[b.row].Record
		if x.Kind != y.Kind {
			return cmp.Compare(kindOrder(x.Kind), kindOrder(y.Kind))
		}
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return cmp.Or(cmp.Compare(x.Identity().ID, y.Identity().ID), cmp.Compare(a.row, b.row))
	})
	order := make([]int, len(rows))
	for i := range keys {
		order[i] = int(keys[i].row)
	}
	return order
}

// kindOrder is that of the table's enum.
func kindOrder(k metering.Kind) int {
	return slices.Index([]metering.Kind{metering.KindUsage, metering.KindStatus, metering.KindRefund, metering.KindAdjustment}, k)
}

// head is a text's first eight bytes, ordered as the text is.
func head(s string) uint64 {
	if len(s) >= 8 {
		return binary.BigEndian.Uint64([]byte(s[:8]))
	}
	var b [8]byte
	copy(b[:], s)
	return binary.BigEndian.Uint64(b[:])
}
