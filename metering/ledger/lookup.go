package ledger

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/dchest/siphash"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// Bounds of one lookup: its parameters travel in the address of the request,
// which servers take up to 1 MiB.
const (
	lookupMax      = 8000
	lookupBytesMax = 900 << 10
)

// lookupsAtOnce bounds the lookups on their way: what comes meanwhile goes into
// one with all others that wait, and reads each of the table's granules once.
const lookupsAtOnce = 2

// lookup waits for its turn.
func (l *Ledger) lookup(ctx context.Context) (release func(), err error) {
	select {
	case l.lookups <- struct{}{}:
		return func() { <-l.lookups }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a lookup's turn: %w", ctx.Err())
	}
}

// Stored is what a row holds that copies of its record are compared with.
type Stored struct {
	Hash   uint64 // of its content
	Status string // that a message came with
	At     time.Time
}

// question is a call of Lookup that waits for its answer.
type question struct {
	ids   []metering.Identity
	found map[metering.Identity]Stored
	err   error
	done  chan struct{}
}

// Lookup returns what is stored of those identities that have a row. Whose
// turn it is asks for all who wait.
func (l *Ledger) Lookup(ctx context.Context, ids []metering.Identity) (map[metering.Identity]Stored, error) {
	q := &question{ids: ids, done: make(chan struct{})}
	l.asking.Lock()
	l.asked = append(l.asked, q)
	l.asking.Unlock()
	select {
	case l.lookups <- struct{}{}:
		l.answering.Go(func() {
			l.answer(context.WithoutCancel(ctx)) // others wait for it too
			<-l.lookups
		})
	case <-q.done:
	case <-ctx.Done():
	}
	select {
	case <-q.done:
		return q.found, q.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a lookup's answer: %w", ctx.Err())
	}
}

// answerMax bounds one answer: a connection that says nothing more must not hold
// up all who ask after it.
const answerMax = time.Minute

// answer answers all questions that are open and that nobody answers yet.
func (l *Ledger) answer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	l.asking.Lock()
	asked := l.asked
	l.asked = nil
	l.asking.Unlock()
	var ids []metering.Identity
	for _, q := range asked {
		ids = append(ids, q.ids...)
	}
	found := make(map[metering.Identity]Stored)
	var err error
	for len(ids) > 0 && err == nil {
		params, n := lookupParams(ids)
		err = l.lookUpPage(ctx, params, found)
		ids = ids[n:]
	}
	for _, q := range asked {
		q.err, q.found = err, make(map[metering.Identity]Stored, len(q.ids))
		for _, id := range q.ids {
			if stored, ok := found[id]; ok {
				q.found[id] = stored
			}
		}
		close(q.done)
	}
}

// lookupParams are those of a query for the first of ids, as many as one request can
// carry, and how many.
func lookupParams(ids []metering.Identity) (map[string]string, int) {
	accounts := map[string]bool{}
	var hashes []uint64
	bytes := 0
	for n, id := range ids {
		bytes += hashBytes
		if !accounts[id.AccountID] {
			bytes += escaped(id.AccountID)
		}
		if n > 0 && bytes > lookupBytesMax {
			break
		}
		accounts[id.AccountID] = true
		hashes = append(hashes, idHash(id.AccountID, id.ID))
	}
	return map[string]string{"accounts": array(slices.Sorted(maps.Keys(accounts))), "hashes": integers(hashes)}, len(hashes)
}

// idHash is what ClickHouse keeps of an account's id to look it up by: SipHash-2-4
// without a key of both, with a zero byte between (sql/migrations/0019_id_hash). Ids
// of one hash are told apart by themselves.
func idHash(accountID, id string) uint64 {
	var space [256]byte
	b := append(append(append(space[:0], accountID...), 0), id...)
	return siphash.Hash(0, 0, b)
}

// hashBytes is what one takes in a parameter.
const hashBytes = 20 + 3

// escaped is what a string may take in a parameter: each byte may be escaped; so are
// quotes and comma.
func escaped(s string) int { return 3*len(s) + 9 }

// messageParams are those of a query for the first of keys, as many as one request can
// carry, and how many.
func messageParams(keys []MessageKey) (map[string]string, int) {
	var accounts, ids []string
	var hashes []uint64
	bytes := 0
	for n, k := range keys {
		bytes += hashBytes + escaped(k.AccountID) + escaped(k.ID)
		if n > 0 && (n >= lookupMax || bytes > lookupBytesMax) {
			break
		}
		accounts, ids, hashes = append(accounts, k.AccountID), append(ids, k.ID), append(hashes, idHash(k.AccountID, k.ID))
	}
	return map[string]string{"accounts": array(accounts), "ids": array(ids), "hashes": integers(hashes)}, len(ids)
}

func (l *Ledger) lookUpPage(ctx context.Context, params map[string]string, found map[metering.Identity]Stored) error {
	return l.each(ctx, "lookup", params, func(r driver.Rows) error {
		var id metering.Identity
		var kind string
		var st Stored
		if err := r.Scan(&id.AccountID, &kind, &id.ID, &st.Hash, &st.Status, &st.At); err != nil {
			return err
		}
		id.Kind = metering.Kind(kind)
		found[id] = st // of other kinds and accounts too: nobody asks for those
		return nil
	})
}

// MessageKey names a message of an account.
type MessageKey struct{ AccountID, ID string }

// Message is what a refund or a correction needs of the message that it refers to.
type Message struct {
	metering.ChargedSoFar

	Purse                      metering.Purse
	Currency                   string
	Channel, Direction         string
	Country, Network, Category string
	Tags                       map[string]string
	Plan                       string
	Version, Rule              int
	Epoch                      int64  // that charged it
	Hash                       uint64 // of its content
}

// Messages returns those that have a row.
func (l *Ledger) Messages(ctx context.Context, keys []MessageKey) (map[MessageKey]Message, error) {
	release, err := l.lookup(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	found := make(map[MessageKey]Message, len(keys))
	for len(keys) > 0 {
		params, n := messageParams(keys)
		keys = keys[n:]
		if err := l.each(ctx, "messages", params, func(r driver.Rows) error {
			var k MessageKey
			var m Message
			var amount, fee, refunded decimal.Decimal
			var purse string
			var version, rule, epoch uint32
			if err := r.Scan(&k.AccountID, &k.ID, &amount, &fee, &purse, &m.Currency, &m.Channel, &m.Direction,
				&m.Country, &m.Network, &m.Category, &m.Tags, &m.Plan, &version, &rule, &epoch, &m.Hash, &refunded, &m.RefundedWhole); err != nil {
				return err
			}
			if len(m.Tags) == 0 {
				m.Tags = nil
			}
			m.Amount, m.Fee, m.Refunded = micros(amount), micros(fee), micros(refunded)
			m.Purse, m.Version, m.Rule, m.Epoch = metering.Purse(purse), int(version), int(rule), int64(epoch)
			found[k] = m
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// micros of one record or transfer; sums are metering.Sum.
func micros(d decimal.Decimal) metering.Micros { return metering.Micros(d.Shift(6).IntPart()) }

func ms(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
