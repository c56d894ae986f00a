package ledger

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// lookupMax bounds the identities of one lookup: its parameters travel in the
// address of the request.
const lookupMax = 1000

// lookup waits for its turn.
func (l *Ledger) lookup(ctx context.Context) (release func(), err error) {
	select {
	case l.lookups <- struct{}{}:
		return func() { <-l.lookups }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a lookup's turn: %w", ctx.Err())
	}
}

// Lookup returns the content hash of those identities that have a row.
func (l *Ledger) Lookup(ctx context.Context, ids []metering.Identity) (map[metering.Identity]uint64, error) {
	release, err := l.lookup(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	found := make(map[metering.Identity]uint64, len(ids))
	for start := 0; start < len(ids); start += lookupMax {
		page := ids[start:min(start+lookupMax, len(ids))]
		n := len(page)
		accounts, kinds, keys := make([]string, n), make([]string, n), make([]string, n)
		for i, id := range page {
			accounts[i], kinds[i], keys[i] = id.AccountID, string(id.Kind), id.ID
		}
		params := map[string]string{"accounts": array(accounts), "kinds": array(kinds), "ids": array(keys)}
		if err := l.each(ctx, "lookup", params, func(r driver.Rows) error {
			var id metering.Identity
			var kind string
			var hash uint64
			if err := r.Scan(&id.AccountID, &kind, &id.ID, &hash); err != nil {
				return err
			}
			id.Kind = metering.Kind(kind)
			found[id] = hash
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// MessageKey names a message of an account.
type MessageKey struct{ AccountID, ID string }

// Message is what a refund needs of the message that it refers to.
type Message struct {
	Amount, Fee                metering.Micros
	Purse                      metering.Purse
	Currency                   string
	Channel, Direction         string
	Country, Network, Category string
	Tags                       map[string]string
	Plan                       string
	Version, Rule              int
}

// Messages returns those that have a row.
func (l *Ledger) Messages(ctx context.Context, keys []MessageKey) (map[MessageKey]Message, error) {
	release, err := l.lookup(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	found := make(map[MessageKey]Message, len(keys))
	for start := 0; start < len(keys); start += lookupMax {
		page := keys[start:min(start+lookupMax, len(keys))]
		accounts, ids := make([]string, len(page)), make([]string, len(page))
		for i, k := range page {
			accounts[i], ids[i] = k.AccountID, k.ID
		}
		params := map[string]string{"accounts": array(accounts), "ids": array(ids)}
		if err := l.each(ctx, "messages", params, func(r driver.Rows) error {
			var k MessageKey
			var m Message
			var amount, fee decimal.Decimal
			var purse string
			var version, rule uint32
			if err := r.Scan(&k.AccountID, &k.ID, &amount, &fee, &purse, &m.Currency, &m.Channel, &m.Direction,
				&m.Country, &m.Network, &m.Category, &m.Tags, &m.Plan, &version, &rule); err != nil {
				return err
			}
			if len(m.Tags) == 0 {
				m.Tags = nil
			}
			m.Amount, m.Fee = micros(amount), micros(fee)
			m.Purse, m.Version, m.Rule = metering.Purse(purse), int(version), int(rule)
			found[k] = m
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// micros of a Decimal(18,6) or of a sum of them.
func micros(d decimal.Decimal) metering.Micros { return metering.Micros(d.Shift(6).IntPart()) }

func ms(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
