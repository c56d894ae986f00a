package reports

import (
	"github.com/shopspring/decimal"

	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/reports/render"
)

// Money is an amount with its currency. It prints as a plain decimal with at
// least the currency's minor digits.
type Money struct {
	Sum      metering.Sum
	Currency string
}

// String implements fmt.Stringer.
func (m Money) String() string { return m.Sum.Format(m.Currency) }

// MarshalText implements encoding.TextMarshaler: JSON has it as a string.
func (m Money) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// add another amount in the same currency.
func (m *Money) add(v metering.Sum) { m.Sum = m.Sum.Plus(v) }

// with is another amount in the same currency.
func (m Money) with(v metering.Sum) Money { return Money{v, m.Currency} }

// card shows an amount as a large figure.
func (m Money) card(label string) render.Card {
	return render.Card{Label: label, Value: render.Group(m.String()), Unit: m.Currency, Figure: m.figure()}
}

// fact shows an amount among other facts.
func (m Money) fact(label string) render.Fact {
	return render.Fact{Label: label, Value: m.text(), Figure: m.figure()}
}

func (m Money) figure() render.Figure {
	return render.Figure{Kind: render.Money, Exact: m.String(), Unit: m.Currency}
}

func counted(n uint64) render.Figure { return render.Figure{Kind: render.Count, Exact: count(n)} }

func countFact(label string, n uint64) render.Fact {
	return render.Fact{Label: label, Value: render.Group(count(n)), Figure: counted(n)}
}

func countCard(label string, n uint64) render.Card {
	return render.Card{Label: label, Value: render.Group(count(n)), Figure: counted(n)}
}

// text is the amount for people: with thousands apart and the currency.
func (m Money) text() string { return render.Group(m.String()) + " " + m.Currency }

// percent is part of whole with one decimal, "" where there is no whole. A
// limit of 0 is used up.
func percent(part, whole metering.Sum) string {
	if whole.Sign() <= 0 {
		return "100.0"
	}
	return part.Decimal().Mul(decimal.New(100, 0)).DivRound(whole.Decimal(), 1).StringFixed(1)
}
