package metering

import (
	"cmp"
	"fmt"
	"math/big"
	"math/bits"
	"strings"

	"github.com/shopspring/decimal"
)

// Sum is a sum of amounts in micro-units: 128 bits, for what an account's
// projection holds fits 64, but what a year or a country's worth of records comes
// to need not (docs/domain.md, Money). Sums are equal where == says so; the zero value
// is nothing. Adding can't overflow: it would take 10^20 of the largest amounts.
type Sum struct {
	hi int64 // with lo: two's complement
	lo uint64
}

// sumBits of a sum without its sign; what ClickHouse keeps, Decimal(38,6), fits.
const sumBits = 127

// Sum is the amount as a sum of one.
func (m Micros) Sum() Sum { return Sum{int64(m) >> 63, uint64(m)} }

// Micros is the sum as an amount that one account's projection holds. ErrOverflow if
// it leaves 64 bits.
func (s Sum) Micros() (Micros, error) {
	if m := Micros(s.lo); m.Sum() == s {
		return m, nil
	}
	return 0, ErrOverflow
}

// MicrosOf are sums as amounts. ErrOverflow, with its name, if one leaves 64 bits.
func MicrosOf(sums map[string]Sum) (map[string]Micros, error) {
	out := make(map[string]Micros, len(sums))
	for name, n := range sums {
		m, err := n.Micros()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = m
	}
	return out, nil
}

// SumOf is a sum as it was stored, of at most six decimals. ErrOverflow if it
// leaves 128 bits.
func SumOf(d decimal.Decimal) (Sum, error) {
	n := d.Shift(scaleDigits).BigInt()
	if n.BitLen() > sumBits {
		return Sum{}, ErrOverflow
	}
	// Two's complement of 64 bits: the low word is n modulo 2^64, also below 0.
	word := new(big.Int).Lsh(big.NewInt(1), 64)
	hi, lo := n.DivMod(n, word, new(big.Int))
	return Sum{hi.Int64(), lo.Uint64()}, nil
}

// Plus adds two sums.
func (s Sum) Plus(o Sum) Sum {
	lo, carry := bits.Add64(s.lo, o.lo, 0)
	return Sum{s.hi + o.hi + int64(carry), lo}
}

// Neg is what brings the sum to nothing.
func (s Sum) Neg() Sum {
	lo, borrow := bits.Sub64(0, s.lo, 0)
	return Sum{-s.hi - int64(borrow), lo}
}

// Minus takes another sum away.
func (s Sum) Minus(o Sum) Sum { return s.Plus(o.Neg()) }

// Times is the sum of n of it: of up to 10^19 amounts.
func (s Sum) Times(n uint64) Sum {
	hi, lo := bits.Mul64(s.lo, n)
	return Sum{int64(hi) + s.hi*int64(n), lo} // two's complement, which wraps
}

// Cmp orders sums: -1, 0, 1.
func (s Sum) Cmp(o Sum) int { return cmp.Or(cmp.Compare(s.hi, o.hi), cmp.Compare(s.lo, o.lo)) }

// Sign is -1, 0 or 1.
func (s Sum) Sign() int { return s.Cmp(Sum{}) }

// Decimal is the sum in the currency's unit.
func (s Sum) Decimal() decimal.Decimal {
	n := new(big.Int).Lsh(big.NewInt(s.hi), 64)
	return decimal.NewFromBigInt(n.Add(n, new(big.Int).SetUint64(s.lo)), -scaleDigits)
}

// String is the shortest exact decimal: "0.0412", "-3", "12.5".
func (s Sum) String() string { return s.fixed(0) }

// Format prints the sum as Micros.Format does an amount.
func (s Sum) Format(currency string) string { return s.fixed(min(MinorDigits(currency), scaleDigits)) }

func (s Sum) fixed(minDigits int) string {
	if m, err := s.Micros(); err == nil {
		return fixedString(int64(m), minDigits)
	}
	text := s.Decimal().StringFixed(scaleDigits)
	point := len(text) - scaleDigits - 1
	return strings.TrimSuffix(text[:point+1+minDigits]+strings.TrimRight(text[point+1+minDigits:], "0"), ".")
}
