package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// ParentsMax bounds the parents of one question, whose ids travel in the address
// of a request; AccountsMax is how many accounts of theirs may be held at once.
const (
	ParentsMax  = 1000
	AccountsMax = 20_000
)

// Base is where sums over a parent's rows may begin: what its purses held at
// the end of a closed month.
type Base struct {
	Through  string // the month, "": none is closed
	Balances map[string]metering.Micros
	// Closed is the newest month that takes no more records, "" if none is:
	// closing begins with a row, and every rebuild reads it.
	Closed string
}

// Bases are those of the newest closed month of each of some parents.
func (l *Ledger) Bases(ctx context.Context, parents []string) (map[string]*Base, error) {
	out := make(map[string]*Base, len(parents))
	for _, parent := range parents {
		out[parent] = &Base{Balances: map[string]metering.Micros{}}
	}
	return out, l.each(ctx, "closing_bases", map[string]string{"parents": array(parents)}, func(r driver.Rows) error {
		var parent, through, balances, closed string
		if err := r.Scan(&parent, &through, &balances, &closed); err != nil {
			return err
		}
		b := out[parent]
		b.Through, b.Closed = through, closed
		if through == "" {
			return nil
		}
		if err := json.Unmarshal([]byte(balances), &b.Balances); err != nil {
			return fmt.Errorf("stored closing, balances: %w", err)
		}
		return nil
	})
}

// Sums is what the ledger holds of one parent's accounts: what a closed month
// ended with, and the rows booked since, of older epochs and of the given one
// up to a seq.
type Sums struct {
	Through string                                // the closed month, "": none
	Used    map[string]map[string]metering.Micros // account → booked period after it → net; a parent's includes its subs'
	Balance map[string]metering.Micros            // account → wallet or budget
}

// SumsOf asks for a parent's sums. The base must have been read before the
// projection that they are compared with: what closed meanwhile would count
// charges that a lower seq doesn't know of.
type SumsOf struct {
	Parent string
	Base   *Base
	Seq    int64
}

// Sums adds the rows to the base of each of some parents, which are read once. What
// one account holds fits 64 bits; what came and went since a month closed need not.
func (l *Ledger) Sums(ctx context.Context, epoch int64, of []SumsOf) (map[string]*Sums, error) {
	made := make(map[string]*adding, len(of))
	parents, after, seqs := make([]string, len(of)), make([]string, len(of)), make([]string, len(of))
	for i, o := range of {
		parents[i], after[i], seqs[i] = o.Parent, o.Base.Through, strconv.FormatInt(o.Seq, 10)
		a := &adding{parent: o.Parent, used: map[string]map[string]metering.Sum{}, balance: map[string]metering.Sum{}}
		for id, n := range o.Base.Balances {
			a.balance[id] = n.Sum()
		}
		made[o.Parent] = a
	}
	params := map[string]string{
		"parents": array(parents), "after": array(after), "seqs": "[" + strings.Join(seqs, ",") + "]", "epoch": strconv.FormatInt(epoch, 10),
	}
	if err := l.each(ctx, "sums", params, func(r driver.Rows) error {
		var parent, account, purse, booked string
		var d decimal.Decimal
		if err := r.Scan(&parent, &account, &purse, &booked, &d); err != nil {
			return err
		}
		net, err := metering.SumOf(d)
		made[parent].charged(account, metering.Purse(purse), booked, net)
		return err
	}); err != nil {
		return nil, err
	}
	if err := l.each(ctx, "sums_transfers", params, func(r driver.Rows) error {
		var parent, account string
		var d decimal.Decimal
		if err := r.Scan(&parent, &account, &d); err != nil {
			return err
		}
		n, err := metering.SumOf(d)
		a := made[parent]
		a.balance[account] = a.balance[account].Plus(n)
		return err
	}); err != nil {
		return nil, err
	}
	out := make(map[string]*Sums, len(of))
	for _, o := range of {
		s, err := made[o.Parent].sums()
		if err != nil {
			return nil, fmt.Errorf("sums of %s: %w", o.Parent, err)
		}
		s.Through = o.Base.Through
		out[o.Parent] = s
	}
	return out, nil
}

// adding is a parent's sums in the making.
type adding struct {
	parent  string
	used    map[string]map[string]metering.Sum // as Sums has them
	balance map[string]metering.Sum
}

// charged adds what an account's rows of a month come to.
func (a *adding) charged(account string, purse metering.Purse, booked string, net metering.Sum) {
	use := func(account string) {
		if a.used[account] == nil {
			a.used[account] = map[string]metering.Sum{}
		}
		a.used[account][booked] = a.used[account][booked].Plus(net)
	}
	use(account)
	if account != a.parent {
		use(a.parent)
	}
	switch purse {
	case metering.PurseBudget:
		a.balance[account] = a.balance[account].Minus(net)
	case metering.PurseWallet:
		a.balance[a.parent] = a.balance[a.parent].Minus(net)
	case metering.PurseCredit, metering.PurseExternal:
	}
}

// sums of all that was added. ErrOverflow where an account holds more than 64 bits.
func (a *adding) sums() (*Sums, error) {
	s := &Sums{Used: make(map[string]map[string]metering.Micros, len(a.used))}
	for id, months := range a.used {
		used, err := metering.MicrosOf(months)
		if err != nil {
			return nil, fmt.Errorf("used by %s: %w", id, err)
		}
		s.Used[id] = used
	}
	var err error
	if s.Balance, err = metering.MicrosOf(a.balance); err != nil {
		return nil, fmt.Errorf("balances: %w", err)
	}
	return s, nil
}
