package ledger

import (
	"context"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// Failing is a message with a status that its plan may refund.
type Failing struct {
	AccountID, MessageID string
	Stored, Refunded     bool
	Refundable           metering.Micros // charge less the non-refundable fee
	Plan                 string
	PlanVersion          int
	Status               string // the latest
	StatusAt             time.Time
	version              uint64
}

// Failings calls f for messages that haven't been dealt with, at most limit, in
// the order of their keys, beginning after a key.
func (l *Ledger) Failings(ctx context.Context, after MessageKey, limit int, f func(*Failing) error) error {
	params := map[string]string{"account": after.AccountID, "message": after.ID, "limit": strconv.Itoa(limit)}
	return l.each(ctx, "failing_due", params, func(r driver.Rows) error {
		var x Failing
		var stored, refunded uint64
		var amount, fee decimal.Decimal
		var version uint32
		if err := r.Scan(&x.AccountID, &x.MessageID, &x.version, &stored, &refunded, &amount, &fee, &x.Plan, &version, &x.Status, &x.StatusAt); err != nil {
			return err
		}
		x.Stored, x.Refunded, x.PlanVersion = stored > 0, refunded > 0, int(version)
		x.Refundable = micros(amount) - micros(fee)
		return f(&x)
	})
}

// FailingDone marks messages as dealt with. A status that came after they were
// read has them looked at again.
func (l *Ledger) FailingDone(ctx context.Context, list []Failing) error {
	if len(list) == 0 {
		return nil
	}
	n := len(list)
	accounts, messages, done, versions := make([]string, n), make([]string, n), make([]bool, n), make([]uint64, n)
	for i, x := range list {
		accounts[i], messages[i], done[i], versions[i] = x.AccountID, x.MessageID, true, x.version+1
	}
	return l.insertColumns(ctx, "failing", "account_id, message_id, done, version", accounts, messages, done, versions)
}

// DeliveredRefunds are messages since an instant that were refunded
// automatically and delivered all the same, and that no finding names yet.
func (l *Ledger) DeliveredRefunds(ctx context.Context, since time.Time) ([]MessageKey, error) {
	var out []MessageKey
	err := l.each(ctx, "delivered_refunds", map[string]string{"from": ms(since)}, func(r driver.Rows) error {
		var k MessageKey
		err := r.Scan(&k.AccountID, &k.ID)
		out = append(out, k)
		return err
	})
	return out, err
}
