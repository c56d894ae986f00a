package finance

import (
	"fmt"
	"time"

	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
)

// kind of a column's values.
type kind int

const (
	text     kind = iota // string
	count                // uint64
	number               // decimal.Decimal
	money                // amount
	instant              // time.Time
	document             // JSON as a string
)

// column of a table. Its values are of its kind's type, or nil for none.
type column struct {
	name  string
	kind  kind
	scale int // decimals of a number or money
}

// amount is money as it prints in its currency.
type amount struct {
	sum      metering.Sum
	currency string
}

func (a amount) String() string { return a.sum.Format(a.currency) }

// sink takes the lines of one file.
type sink interface {
	write(line []any) error
	close() error
}

// plain is a value as text. false: there is none.
func plain(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", false
	case string:
		return v, true
	case uint64:
		return decimal.NewFromUint64(v).String(), true
	case decimal.Decimal:
		return v.String(), true
	case amount:
		return v.String(), true
	case time.Time:
		return v.UTC().Format(time.RFC3339), true
	default:
		return fmt.Sprint(v), true
	}
}
