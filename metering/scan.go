package metering

import (
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// depthMax is how deeply arrays and objects may nest, as in encoding/json.
const depthMax = 10_000

const detailJSON = "line: not valid JSON; send one JSON object a line"

// scanner reads one line, which is valid UTF-8, in one pass.
type scanner struct {
	b        []byte
	i        int
	seen     uint32 // fields that were there, by bit
	overflow bool   // the amount is too large
	ref      *Refusal
	names    map[string]struct{} // unknown fields, once they are many
}

// fail keeps the first fault and returns false.
func (s *scanner) fail(detail string) bool {
	if s.ref == nil {
		s.ref = refuse(ReasonMalformed, detail)
	}
	return false
}

// peek is the byte at hand, 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// space skips JSON's white space.
func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// key reads a key and its colon, and stops at the value.
func (s *scanner) key() (string, bool) {
	if s.peek() != '"' {
		return "", s.fail(detailJSON)
	}
	k, ok := s.str()
	if !ok {
		return "", false
	}
	s.space()
	if s.peek() != ':' {
		return "", s.fail(detailJSON)
	}
	s.i++
	s.space()
	return k, true
}

// comma reads what follows a value: a comma and the start of another value, or
// the closing byte, which it leaves.
func (s *scanner) comma(closing byte) bool {
	s.space()
	switch s.peek() {
	case closing:
		return true
	case ',':
		s.i++
		s.space()
		if s.peek() != closing {
			return true
		}
	}
	return s.fail(detailJSON)
}

// literal reads null, true or false.
func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.fail(detailJSON)
	}
	s.i += len(word)
	return true
}

// str reads the string that begins here. Without escapes it shares s.b.
func (s *scanner) str() (string, bool) {
	start := s.i + 1
	for i := start; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			return share(s.b[start:i]), true
		case c == '\\':
			return s.escaped(start, i)
		case c < ' ':
			return "", s.fail(detailJSON)
		}
	}
	return "", s.fail(detailJSON)
}

// share makes a string of b without copying it.
func share(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // the line doesn't change while its record is in use (DecodeRecord)
}

// escaped goes on with a string whose first backslash is at i.
func (s *scanner) escaped(start, i int) (string, bool) {
	out := append(make([]byte, 0, i-start+32), s.b[start:i]...)
	for i < len(s.b) {
		c := s.b[i]
		switch {
		case c == '"':
			s.i = i + 1
			return share(out), true
		case c < ' ':
			return "", s.fail(detailJSON)
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		if i+1 >= len(s.b) {
			break
		}
		if s.b[i+1] == 'u' {
			r, n := s.unicode(i)
			if n == 0 {
				return "", s.fail("line: a \\u escape that is no character; escape characters as JSON does")
			}
			out = utf8.AppendRune(out, r)
			i += n
			continue
		}
		plain := unescape(s.b[i+1])
		if plain == 0 {
			return "", s.fail(detailJSON)
		}
		out = append(out, plain)
		i += 2
	}
	return "", s.fail(detailJSON)
}

// unescape is what the byte after a backslash stands for, 0 for nothing.
func unescape(c byte) byte {
	switch c {
	case '"', '\\', '/':
		return c
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return 0
}

// unicode reads a \u escape, or a pair of surrogates; n is its length, 0 when
// it is none or half a pair.
func (s *scanner) unicode(i int) (r rune, n int) {
	r, ok := s.hex4(i)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := s.hex4(i + 6)
	if !ok {
		return 0, 0
	}
	r = utf16.DecodeRune(r, low)
	if r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hex4 reads \uXXXX at i.
func (s *scanner) hex4(i int) (rune, bool) {
	if i+6 > len(s.b) || s.b[i] != '\\' || s.b[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range s.b[i+2 : i+6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// decimal reads a JSON number, or a string that holds one.
func (s *scanner) decimal() (string, bool) {
	if s.peek() == '"' {
		v, ok := s.str()
		return v, ok && numberEnd(v) == len(v) && v != ""
	}
	start := s.i
	n := numberEnd(share(s.b[start:]))
	s.i += n
	return share(s.b[start:s.i]), n > 0
}

// skip reads any value and checks that it is JSON; depth is the number of
// arrays and objects around it.
func (s *scanner) skip(depth int) bool {
	switch c := s.peek(); c {
	case '"':
		_, ok := s.str()
		return ok
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	case '{', '[':
		if depth >= depthMax {
			return s.fail("line: nested too deeply; send flat fields")
		}
		return s.skipNested(c+2, depth+1) // '}' and ']' are two after their openers
	default:
		n := numberEnd(share(s.b[s.i:]))
		if n == 0 {
			return s.fail(detailJSON)
		}
		s.i += n
		return true
	}
}

// skipNested reads an object or array up to its closing byte.
func (s *scanner) skipNested(closing byte, depth int) bool {
	s.i++
	s.space()
	for s.peek() != closing {
		if closing == '}' {
			if _, ok := s.key(); !ok {
				return false
			}
		}
		if !s.skip(depth) || !s.comma(closing) {
			return false
		}
	}
	s.i++
	return true
}
