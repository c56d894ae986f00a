package metering

import (
	"errors"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
)

// Micros is an amount of money in micro-units, 1e-6 of the currency
// (docs/domain.md, Money).
type Micros int64

// Quantity is a billable quantity in millionths of its unit.
type Quantity int64

// Units are so many whole units, for a record's Units. ParseQuantity reads others.
func Units(n int64) Optional[Quantity] {
	if n < 0 || n > int64(QuantityMax/scale) {
		return Some(QuantityMax + 1) // what takes a record refuses it
	}
	return Some(Quantity(n * scale))
}

// ErrQuantity means not a plain decimal from 0 with at most six decimals.
var ErrQuantity = errors.New("not a decimal from 0 to below 10^12 with at most six decimals")

// ParseQuantity reads a plain decimal string ("2.5"), exactly. ErrQuantity if it is
// something else, negative, or too large.
func ParseQuantity(s string) (Quantity, error) {
	v, err := ParseMicros(s)
	if err != nil || v < 0 || strings.HasPrefix(s, "-") {
		return 0, ErrQuantity
	}
	return Quantity(v), nil
}

// Scale of Micros and Quantity, and the largest values that are stored:
// Decimal(18,6) holds less than 10^12 units.
const (
	scaleDigits = 6
	scale       = 1_000_000

	MicrosMax   Micros   = 1_000_000_000_000*scale - 1
	QuantityMax Quantity = 1_000_000_000_000*scale - 1
)

// ParseMicros reads a plain decimal string ("-12.5", "1e3" is refused) with at
// most six decimals, exactly. ErrAmount if it is something else, ErrOverflow
// if it is too large.
func ParseMicros(s string) (Micros, error) {
	v, err := parseFixed(s, scaleDigits)
	return Micros(v), err
}

// Prices are kept in 1e-8 of the currency; ten digits before the point are
// more than any has, and fit an int64.
const priceDigits = 8

// wholeMax is how many digits an amount has before the point at most.
const wholeMax = 12

// ErrPrice means not a plain decimal from 0 with at most eight decimals.
var ErrPrice = errors.New("not a decimal from 0 to below 10^10 with at most eight decimals")

// ParsePrice reads a plain decimal string as 1e-8 of the currency, exactly.
// ErrPrice if it is something else, negative, or too large.
func ParsePrice(s string) (int64, error) {
	if strings.HasPrefix(s, "-") {
		return 0, ErrPrice
	}
	v, err := parseFixed(s, priceDigits)
	if err != nil {
		return 0, ErrPrice
	}
	return v, nil
}

// PriceDecimal is a price of 1e-8 of the currency as a decimal of the currency.
func PriceDecimal(price int64) decimal.Decimal { return decimal.New(price, -priceDigits) }

// parseFixed reads a decimal as an integer of its last of n decimals. Zeros
// beyond are passed over.
func parseFixed(s string, n int) (int64, error) {
	neg := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	whole, frac, dot := strings.Cut(s, ".")
	if whole == "" || (dot && frac == "") || !digits(whole) || !digits(frac) {
		return 0, ErrAmount
	}
	frac = strings.TrimRight(frac, "0")
	if len(frac) > n {
		return 0, ErrAmount
	}
	whole = strings.TrimLeft(whole, "0")
	if len(whole)+n > wholeMax+scaleDigits {
		return 0, ErrOverflow
	}
	frac += strings.Repeat("0", n-len(frac))
	v, err := strconv.ParseInt(whole+frac, 10, 64)
	if err != nil {
		return 0, ErrOverflow
	}
	if neg {
		v = -v
	}
	return v, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// Decimal is the amount as a decimal of the currency's unit.
func (m Micros) Decimal() decimal.Decimal { return decimal.New(int64(m), -scaleDigits) }

// String is the shortest exact decimal: "0.0412", "-3", "12.5".
func (m Micros) String() string { return fixedString(int64(m), 0) }

// Format prints the amount with at least the currency's minor digits and no
// more than six (docs/domain.md, Money).
func (m Micros) Format(currency string) string {
	return fixedString(int64(m), min(MinorDigits(currency), scaleDigits))
}

// Decimal is the quantity as a decimal.
func (q Quantity) Decimal() decimal.Decimal { return decimal.New(int64(q), -scaleDigits) }

// String is the shortest exact decimal.
func (q Quantity) String() string { return fixedString(int64(q), 0) }

// fixedString prints an integer of 1e-6 with at least minDigits decimals.
func fixedString(v int64, minDigits int) string {
	var space [24]byte
	return string(appendFixed(space[:0], v, minDigits))
}

// appendFixed appends an integer of 1e-6 with at least minDigits decimals.
func appendFixed(b []byte, v int64, minDigits int) []byte {
	u := uint64(v)
	if v < 0 {
		u = -u
		b = append(b, '-')
	}
	b = strconv.AppendUint(b, u/scale, 10)
	var frac [scaleDigits]byte
	rest := u % scale
	for i := scaleDigits - 1; i >= 0; i-- {
		frac[i] = byte('0' + rest%10)
		rest /= 10
	}
	n := scaleDigits
	for n > minDigits && frac[n-1] == '0' {
		n--
	}
	if n > 0 {
		b = append(b, '.')
		b = append(b, frac[:n]...)
	}
	return b
}
