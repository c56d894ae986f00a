// Package phone tells which country a phone number belongs to, and whether digits
// without a plus are an international number. It decides nothing else: whether a
// number can be reached, who carries it and what it costs are other packages'
// questions.
package phone

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nyaruka/phonenumbers"
)

const (
	// digitsMax bounds a number: 15 digits by E.164, a few more are
	// tolerated so that a mistyped number still shows its country.
	digitsMax = 18
	// slotBits sizes the cache: 2^18 slots × 8 B = 2 MiB, however many
	// numbers pass through it.
	slotBits = 18
	// regionBits holds a region's number, 1..676.
	regionBits = 10
	// lengthBits holds a number of digits, 0..18.
	lengthBits = 5
	// relayPrefix is the one dialling prefix too long for a cache key: the
	// British text relay's. Such numbers are always worked out anew.
	relayPrefix = "44180020"
)

// Country returns the ISO 3166-1 alpha-2 code of the country that an E.164
// number ("+" and digits; spaces, dots, dashes, slashes and brackets between
// them are ignored) belongs to. It is "" for free text, for short codes and for
// calling codes that belong to no country. A number that isn't assigned, but
// whose calling code is known, counts to the main country of that code.
//
// A calling code shared by several countries is looked up once for each block
// of numbers and then remembered, so most calls take some tens of nanoseconds
// and allocate nothing. Country is safe for concurrent use.
func Country(number string) string {
	var digits [digitsMax]byte
	n := collect(&digits, number)
	if n == 0 {
		return ""
	}
	return shared().country(digits[:n])
}

// Bounds of an international number written without its plus. A shorter one is
// a short code, whatever country its digits begin with.
const (
	internationalMin = 7
	internationalMax = 15
)

// International tells whether digits without a plus (separators as in Country)
// are an international number all the same: one that is in use under the calling
// code that they begin with. The same digits may also be somebody's national
// number, so a length that merely could be one isn't enough.
func International(number string) bool {
	var digits [digitsMax]byte
	n := collectAfter(&digits, number)
	if n < internationalMin || n > internationalMax {
		return false
	}
	parsed, err := phonenumbers.Parse("+"+string(digits[:n]), "ZZ")
	return err == nil && phonenumbers.IsValidNumber(parsed)
}

// collect puts the digits of number into digits and returns how many there are,
// or 0 when number isn't a "+" followed by digits.
func collect(digits *[digitsMax]byte, number string) int {
	if len(number) < 2 || number[0] != '+' {
		return 0
	}
	return collectAfter(digits, number[1:])
}

// collectAfter is collect for what follows the plus.
func collectAfter(digits *[digitsMax]byte, number string) int {
	n := 0
	for i := range len(number) {
		switch c := number[i]; {
		case c >= '0' && c <= '9':
			if n == digitsMax {
				return 0
			}
			digits[n] = c
			n++
		case c == ' ' || c == '-' || c == '.' || c == '/' || c == '(' || c == ')':
		default:
			return 0
		}
	}
	return n
}

// region numbers a pair of letters from 1 (AA) to 676 (ZZ); 0 is no country.
type region uint16

// newRegion numbers an ISO 3166-1 alpha-2 code; anything else is no country.
func newRegion(code string) region {
	if len(code) != 2 || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' {
		return 0
	}
	return region(code[0]-'A')*26 + region(code[1]-'A') + 1
}

// lookup is what is known before any number is seen (plans), and the cache of
// what the library answered (slots).
type lookup struct {
	plans [1000]plan // by calling code
	names string     // every region's two letters, in order
	slots [1 << slotBits]atomic.Uint64
}

// shared is the one lookup of the process: its answers depend on nothing but
// the library's data.
//
//nolint:gochecknoglobals // a cache of constants; two would only be slower
var shared = sync.OnceValue(newLookup)

// newLookup reads the calling codes from the library.
func newLookup() *lookup {
	l := new(lookup)
	for code := range phonenumbers.GetSupportedCallingCodes() {
		p := plan{known: true, main: newRegion(phonenumbers.GetRegionCodeForCountryCode(code))}
		if len(phonenumbers.GetRegionCodesForCountryCode(code)) > 1 {
			p.split, p.depth, p.trunk = true, depthUnknown, anyTrunk
			if s, ok := splitPlan(code); ok {
				p.depth, p.trunk = s.depth, s.trunk
			}
		}
		l.plans[code] = p
	}
	var names strings.Builder
	for a := byte('A'); a <= 'Z'; a++ {
		for b := byte('A'); b <= 'Z'; b++ {
			names.WriteByte(a)
			names.WriteByte(b)
		}
	}
	l.names = names.String()
	return l
}

// name is the alpha-2 code of r.
func (l *lookup) name(r region) string {
	if r == 0 {
		return ""
	}
	i := int(r-1) * 2
	return l.names[i : i+2]
}

// country answers for a number's digits, calling code first.
func (l *lookup) country(digits []byte) string {
	code := 0
	for i, c := range digits[:min(3, len(digits))] {
		code = code*10 + int(c-'0')
		if code == 0 {
			return "" // no calling code starts with 0
		}
		if p := &l.plans[code]; p.known {
			if !p.split {
				return l.name(p.main)
			}
			return l.name(l.within(p, digits, i+1))
		}
	}
	return ""
}

// within answers for a calling code that several countries share. A slot holds
// the key and the answer in one word, so a reader sees both or neither.
func (l *lookup) within(p *plan, digits []byte, codeLen int) region {
	if strings.HasPrefix(string(digits), relayPrefix) {
		return ask(p, digits, codeLen)
	}
	var key uint64
	for _, c := range digits[:p.significant(digits, codeLen)] {
		key = key*10 + uint64(c-'0')
	}
	key = key<<lengthBits | uint64(len(digits))
	// Multiplying by 2^64/φ spreads neighbouring keys over the slots.
	slot := &l.slots[key*0x9E3779B97F4A7C15>>(64-slotBits)]
	if held := slot.Load(); held>>regionBits == key {
		return region(held & (1<<regionBits - 1))
	}
	r := ask(p, digits, codeLen)
	slot.Store(key<<regionBits | uint64(r))
	return r
}

// ask has the library work out the region of one number.
func ask(p *plan, digits []byte, codeLen int) region {
	// The calling code is known, so the library needs no region to start from.
	number, err := phonenumbers.Parse("+"+string(digits), "ZZ")
	if err != nil || strconv.Itoa(int(number.GetCountryCode())) != string(digits[:codeLen]) {
		return p.main
	}
	if r := newRegion(phonenumbers.GetRegionCodeForNumber(number)); r != 0 {
		return r
	}
	return p.main
}
