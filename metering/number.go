package metering

// number says what parseNumber made of a number.
type number int

const (
	numberExact    number = iota
	numberRounded         // it has more than six decimals: rounded half to even
	numberNegative        // below zero
	numberHuge            // 10^12 or more
)

// expMax bounds an exponent: a line is shorter, so that beyond it a number is
// zero or huge whatever its digits are.
const expMax = 1 << 20

// numberEnd is the length of the JSON number that s begins with, 0 for none.
func numberEnd(s string) int {
	i := 0
	if i < len(s) && s[i] == '-' {
		i++
	}
	n := digitsEnd(s, i)
	if n == i || (s[i] == '0' && n > i+1) {
		return 0
	}
	i = n
	if i < len(s) && s[i] == '.' {
		n = digitsEnd(s, i+1)
		if n == i+1 {
			return 0
		}
		i = n
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		n = digitsEnd(s, i)
		if n == i {
			return 0
		}
		i = n
	}
	return i
}

// digitsEnd is the index of the first byte from i on that isn't a digit.
func digitsEnd(s string, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

// parseNumber turns a JSON number into an integer of 1e-6, rounded once, half
// to even, whatever its digits and exponent are. Minus zero is zero.
func parseNumber(s string) (int64, number) {
	neg := s[0] == '-'
	if neg {
		s = s[1:]
	}
	whole := digitsEnd(s, 0)
	mantissa := whole
	if whole < len(s) && s[whole] == '.' {
		mantissa = digitsEnd(s, whole+1)
	}
	cut := whole + scaleDigits // how many digits count
	if mantissa < len(s) {
		cut += parseExponent(s[mantissa+1:])
	}

	var v uint64
	var half byte // first digit that is cut off
	rest := false // others that aren't zero
	n := 0
	for i := range mantissa {
		if i == whole {
			continue // the point
		}
		d := s[i] - '0'
		switch {
		case n < cut:
			v = v*10 + uint64(d)
		case n == cut:
			half = d
		case d != 0:
			rest = true
		}
		n++
		if v > uint64(MicrosMax) {
			return 0, oversize(neg)
		}
	}
	for ; n < cut && v != 0; n++ {
		if v *= 10; v > uint64(MicrosMax) {
			return 0, oversize(neg)
		}
	}
	rounded := half != 0 || rest
	if neg && (v != 0 || rounded) {
		return 0, numberNegative
	}
	if half > 5 || half == 5 && (rest || v&1 == 1) {
		v++
	}
	switch {
	case v > uint64(MicrosMax):
		return 0, numberHuge
	case rounded:
		return int64(v), numberRounded
	}
	return int64(v), numberExact
}

func oversize(neg bool) number {
	if neg {
		return numberNegative
	}
	return numberHuge
}

// parseExponent reads what follows the e; beyond expMax it doesn't matter.
func parseExponent(s string) int {
	neg := s[0] == '-'
	if neg || s[0] == '+' {
		s = s[1:]
	}
	e := 0
	for i := range len(s) {
		e = min(e*10+int(s[i]-'0'), expMax)
	}
	if neg {
		return -e
	}
	return e
}
