package ledger

import (
	"time"

	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// Row is one line of the ledger: a record with what was decided about it.
type Row struct {
	Record   *metering.Record
	ParentID string
	Charge   metering.Charge
	Purse    metering.Purse
	Currency string
	Hash     uint64 // of the content
	Period   string // of occurred_at
	Booked   string // the period whose bill it is in
	Epoch    int64
	Seq      int64
	Hour     time.Time // start of the local hour of occurred_at
}

// columns of records, in the order of their appends.
const recordColumns = `account_id, kind, id, occurred_at, parent_id, channel, direction, status, error_code,
 recipient, sender, country, network, category, units, unit, billed_units, amount, fee, currency, plan, plan_version,
 rule, purse, refers_to, source_id, tags, content_hash, period, booked, epoch, seq, stored_at`

// block holds rows by column, as ClickHouse takes them.
type block struct {
	account, kind, id                            []string
	occurred                                     []time.Time
	parent, channel, direction, status, errCode  []string
	recipient, sender, country, network, categry []string
	units                                        []decimal.Decimal
	unit                                         []string
	billed, amount, fee                          []decimal.Decimal
	currency, plan                               []string
	version, rule                                []uint32
	purse, refers, source                        []string
	tags                                         []map[string]string
	hash                                         []uint64
	period, booked                               []string
	epoch                                        []uint32
	seq                                          []uint64
	stored                                       []time.Time
}

var noTags = map[string]string{} //nolint:gochecknoglobals // never written

func (b *block) add(r *Row, now time.Time) {
	rec := r.Record
	id := rec.Identity()
	b.account = append(b.account, rec.AccountID)
	b.kind = append(b.kind, string(rec.Kind))
	b.id = append(b.id, id.ID)
	b.occurred = append(b.occurred, rec.OccurredAt)
	b.parent = append(b.parent, r.ParentID)
	b.channel = append(b.channel, rec.Channel)
	direction := rec.Direction
	if direction == "" {
		direction = metering.Outbound
	}
	b.direction = append(b.direction, direction)
	b.status = append(b.status, rec.Status)
	b.errCode = append(b.errCode, rec.ErrorCode)
	b.recipient = append(b.recipient, rec.To)
	b.sender = append(b.sender, rec.From)
	b.country = append(b.country, rec.Country)
	b.network = append(b.network, rec.Network)
	b.categry = append(b.categry, rec.Category)
	b.units = append(b.units, r.Charge.Units.Decimal())
	b.unit = append(b.unit, r.Charge.Unit)
	b.billed = append(b.billed, r.Charge.Billed.Decimal())
	b.amount = append(b.amount, r.Charge.Amount.Decimal())
	b.fee = append(b.fee, r.Charge.Fee.Decimal())
	b.currency = append(b.currency, r.Currency)
	b.plan = append(b.plan, r.Charge.Plan)
	b.version = append(b.version, uint32(r.Charge.Version))
	b.rule = append(b.rule, uint32(r.Charge.Rule))
	purse := r.Purse
	if purse == "" {
		purse = metering.PurseCredit
	}
	b.purse = append(b.purse, string(purse))
	b.refers = append(b.refers, rec.RefersTo)
	source := ""
	if rec.Kind == metering.KindRefund {
		source = rec.ID
	}
	b.source = append(b.source, source)
	tags := noTags
	if len(rec.Tags) > 0 {
		tags = make(map[string]string, len(rec.Tags))
		for _, t := range rec.Tags {
			tags[t.Key] = t.Value
		}
	}
	b.tags = append(b.tags, tags)
	b.hash = append(b.hash, r.Hash)
	b.period = append(b.period, r.Period)
	b.booked = append(b.booked, r.Booked)
	b.epoch = append(b.epoch, uint32(r.Epoch))
	b.seq = append(b.seq, uint64(r.Seq))
	b.stored = append(b.stored, now)
}

// columns in the order of recordColumns.
func (b *block) columns() []any {
	return []any{
		b.account, b.kind, b.id, b.occurred, b.parent, b.channel, b.direction, b.status, b.errCode,
		b.recipient, b.sender, b.country, b.network, b.categry, b.units, b.unit, b.billed, b.amount, b.fee,
		b.currency, b.plan, b.version, b.rule, b.purse, b.refers, b.source, b.tags, b.hash, b.period, b.booked,
		b.epoch, b.seq, b.stored,
	}
}
