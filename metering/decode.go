package metering

import (
	"slices"
	"unicode/utf8"
)

// Bounds of a record's text, in bytes.
const (
	lineMax      = 64 << 10
	idMax        = 128
	accountMax   = 64
	wordMax      = 32
	errorCodeMax = 64
	addressMax   = 256
	tagsMax      = 16
	tagKeyMax    = 64
	tagValueMax  = 256
	// unknownScan is up to how many unknown fields are compared one by one.
	unknownScan = 32
)

// DecodeRecord resets r and fills it from one JSON object (docs/domain.md, Usage
// records), with defaults set. It returns nil, or
//
//   - ReasonMalformed: r.AccountID, r.Kind and r.ID hold what was read and
//     valid before the fault, the rest of r means nothing;
//   - ReasonOverflow: all is well but the amount, which is too large; r is
//     filled except for Amount, so that the reasons judged earlier can be.
//
// It accepts what encoding/json accepts, less invalid UTF-8, lone surrogates,
// a key that is there twice (in the record or its tags) and lines of more than
// 64 KiB. null is as if the field were absent.
//
// Strings of r that had no escapes share memory with line: line must not
// change while r is in use, and r keeps all of line alive.
func DecodeRecord(line []byte, r *Record) *Refusal {
	*r = Record{Kind: KindUsage, Direction: Outbound}
	if len(line) > lineMax {
		return refuse(ReasonMalformed, "line: longer than 65536 bytes; send less")
	}
	if !utf8.Valid(line) {
		return refuse(ReasonMalformed, "line: not valid UTF-8; encode it as UTF-8")
	}
	s := scanner{b: line}
	if !s.record(r) {
		return s.ref
	}
	if detail := complete(r, s.overflow); detail != "" {
		return refuse(ReasonMalformed, detail)
	}
	if s.overflow {
		return refuse(ReasonOverflow, "amount: 10^12 or more; correct it at its source")
	}
	return nil
}

// record reads the object and all that follows it.
func (s *scanner) record(r *Record) bool {
	s.space()
	if s.peek() != '{' {
		return s.fail("line: not a JSON object; send one object a line")
	}
	s.i++
	for first := true; ; first = false {
		s.space()
		if s.peek() == '}' && first {
			break
		}
		key, ok := s.key()
		if !ok || !s.field(fieldOf(key), key, r) {
			return false
		}
		s.space()
		c := s.peek()
		if c == '}' {
			break
		}
		if c != ',' {
			return s.fail(detailJSON)
		}
		s.i++
	}
	s.i++
	s.space()
	if s.i != len(s.b) {
		return s.fail("line: something follows the object; send one object a line")
	}
	return true
}

// field reads the value of one field of the record.
func (s *scanner) field(f field, key string, r *Record) bool {
	if f == fieldUnknown {
		if !s.unknown(key, r) {
			return false
		}
		return s.skip(1)
	}
	bit := uint32(1) << f
	if s.seen&bit != 0 {
		return s.fail("a field is there twice; send each field once")
	}
	if s.peek() == 'n' {
		return s.literal("null")
	}
	ok := false
	switch f { //nolint:exhaustive // all others are text
	case fieldUnits:
		ok = s.units(r)
	case fieldAmount:
		ok = s.amount(r)
	case fieldTags:
		ok = s.tags(r)
	default:
		ok = s.text(f, r)
	}
	s.seen |= bit
	return ok
}

// unknown notes a field that isn't defined; twice the same is refused.
func (s *scanner) unknown(key string, r *Record) bool {
	twice := false
	if len(r.Unknown) < unknownScan {
		twice = slices.Contains(r.Unknown, key)
	} else {
		if s.names == nil {
			s.names = make(map[string]struct{}, 2*unknownScan)
			for _, n := range r.Unknown {
				s.names[n] = struct{}{}
			}
		}
		_, twice = s.names[key]
		s.names[key] = struct{}{}
	}
	if twice {
		return s.fail("a field is there twice; send each field once")
	}
	r.Unknown = append(r.Unknown, key)
	return true
}

// text reads a field whose value is a string.
func (s *scanner) text(f field, r *Record) bool {
	if s.peek() != '"' {
		return s.fail(f.need())
	}
	v, ok := s.str()
	if !ok {
		return false
	}
	switch f { //nolint:exhaustive // the fields whose value is a string
	case fieldID:
		if ok = v != "" && len(v) <= len(autoRefund)+idMax; ok {
			r.ID = v
		}
	case fieldAccountID:
		if ok = ValidID(v); ok {
			r.AccountID = v
		}
	case fieldKind:
		r.Kind, ok = kindOf(v)
	case fieldDirection:
		r.Direction, ok = directionOf(v)
	case fieldChannel:
		r.Channel, ok = v, ValidWord(v)
	case fieldStatus:
		r.Status, ok = v, ValidWord(v)
	case fieldCategory:
		r.Category, ok = v, ValidWord(v)
	case fieldUnit:
		r.Unit, ok = v, ValidWord(v)
	case fieldErrorCode:
		r.ErrorCode, ok = v, len(v) <= errorCodeMax
	case fieldTo:
		r.To, ok = v, len(v) <= addressMax
	case fieldFrom:
		r.From, ok = v, len(v) <= addressMax
	case fieldCountry:
		r.Country, ok = v, len(v) == 2 && upperLetters(v)
	case fieldNetwork:
		r.Network, ok = NetworkDigits(v)
	case fieldCurrency:
		r.Currency, ok = v, len(v) == 3 && upperLetters(v)
	case fieldRefersTo:
		r.RefersTo, ok = v, v != "" && len(v) <= idMax
	case fieldOccurredAt:
		r.OccurredAt, ok = parseInstant(v)
	default:
		ok = false
	}
	if !ok {
		return s.fail(f.need())
	}
	return true
}

// units reads a quantity: at most six decimals, exactly.
func (s *scanner) units(r *Record) bool {
	num, ok := s.decimal()
	if !ok {
		return s.fail(fieldUnits.need())
	}
	v, kind := parseNumber(num)
	if kind != numberExact {
		return s.fail(fieldUnits.need())
	}
	r.Units = Some(Quantity(v))
	return true
}

// amount reads money and rounds it half to even to 1e-6.
func (s *scanner) amount(r *Record) bool {
	num, ok := s.decimal()
	if !ok {
		return s.fail(fieldAmount.need())
	}
	v, kind := parseNumber(num)
	switch kind {
	case numberExact, numberRounded:
	case numberHuge:
		v = 0
		s.overflow = true
	case numberNegative:
		return s.fail(fieldAmount.need())
	}
	r.Amount = Some(Micros(v))
	return true
}

// tags reads a map of strings, sorted by key.
func (s *scanner) tags(r *Record) bool {
	if s.peek() != '{' {
		return s.fail(fieldTags.need())
	}
	s.i++
	var tags [tagsMax]Tag
	n := 0
	s.space()
	for s.peek() != '}' {
		key, ok := s.key()
		if !ok {
			return false
		}
		if s.peek() != '"' {
			return s.fail(fieldTags.need())
		}
		value, ok := s.str()
		if !ok {
			return false
		}
		if n == tagsMax || key == "" || len(key) > tagKeyMax || len(value) > tagValueMax {
			return s.fail(fieldTags.need())
		}
		at := n
		for at > 0 && tags[at-1].Key >= key {
			at--
		}
		if at < n && tags[at].Key == key {
			return s.fail("tags: a key is there twice; send each once")
		}
		copy(tags[at+1:n+1], tags[at:n])
		tags[at] = Tag{key, value}
		n++
		if !s.comma('}') {
			return false
		}
	}
	s.i++
	if n > 0 {
		r.Tags = slices.Clone(tags[:n])
	}
	return true
}

// complete judges the fields together; it returns what is wrong, "" for
// nothing. An amount that overflowed isn't in r.
func complete(r *Record, overflow bool) string {
	switch {
	case r.ID == "":
		return fieldID.need()
	case len(r.ID) > idMax && !r.automatic():
		r.ID = ""
		return fieldID.need()
	case r.AccountID == "":
		return fieldAccountID.need()
	case r.OccurredAt.IsZero():
		return fieldOccurredAt.need()
	case r.Kind == KindUsage && r.Channel == "":
		return fieldChannel.need()
	case r.Kind == KindUsage && r.Amount.Is() && r.Currency == "":
		return "currency: missing beside amount; name the amount's ISO 4217 currency"
	case r.Kind != KindUsage && r.RefersTo == "":
		return "refers_to: missing; name the id of the message, 1 to 128 bytes"
	case r.Kind == KindStatus && r.Status == "":
		return "status: missing; say which status the message reached"
	case r.Kind == KindRefund && r.Amount == Some(Micros(0)) && !overflow:
		return "amount: 0 in a refund; leave it out to refund all, or name what to refund"
	}
	return ""
}
