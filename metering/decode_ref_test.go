package metering

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// refDecode is a plain reading of the rules with encoding/json and math/big.
func refDecode(line []byte) (Reason, error) {
	bad := func(what string) (Reason, error) { return ReasonMalformed, errors.New(what) }
	if len(line) > lineMax || !utf8.Valid(line) || !json.Valid(line) || loneSurrogate(line) {
		return bad("line")
	}
	fields, err := refObject(line)
	if err != nil {
		return bad(err.Error())
	}
	text := map[string]string{}
	reason := Reason("")
	for k, raw := range fields {
		if string(raw) == "null" {
			continue
		}
		switch k {
		case "units", "amount":
			num := string(raw)
			if raw[0] == '"' && json.Unmarshal(raw, &num) != nil || !jsonNumber.MatchString(num) {
				return bad(k)
			}
			text[k] = num
		case "tags":
			tags, err := refObject(raw)
			if err != nil || len(tags) > 16 {
				return bad("tags")
			}
			for k, v := range tags {
				var s *string
				if json.Unmarshal(v, &s) != nil || s == nil || k == "" || len(k) > 64 || len(*s) > 256 {
					return bad("tags")
				}
			}
		case "id", "kind", "account_id", "channel", "direction", "status", "error_code", "to", "from", "country",
			"network", "category", "unit", "currency", "refers_to", "occurred_at":
			var s string
			if json.Unmarshal(raw, &s) != nil || !refText(k, s) {
				return bad(k)
			}
			text[k] = s
		}
	}
	kind := text["kind"]
	for _, must := range []string{"id", "account_id", "occurred_at"} {
		if text[must] == "" {
			return bad(must)
		}
	}
	usage := kind == "" || kind == "usage"
	amount, hasAmount := text["amount"]
	if usage && (text["channel"] == "" || hasAmount && text["currency"] == "") || !usage && text["refers_to"] == "" ||
		kind == "status" && text["status"] == "" {
		return bad("required")
	}
	if units, ok := text["units"]; ok {
		if _, exact, r := refNumber(units); r != "" || !exact {
			return bad("units")
		}
	}
	if hasAmount {
		v, _, r := refNumber(amount)
		if r == ReasonMalformed || r == "" && kind == "refund" && v.Sign() == 0 {
			return bad("amount")
		}
		reason = r
	}
	return reason, nil
}

var (
	jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	refWords   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	refTime    = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
)

func refText(k, s string) bool {
	switch k {
	case "id", "refers_to":
		return s != "" && len(s) <= 128
	case "kind":
		return s == "usage" || s == "status" || s == "refund"
	case "account_id":
		return regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`).MatchString(s)
	case "channel", "status", "category", "unit":
		return refWords.MatchString(s)
	case "direction":
		return s == "inbound" || s == "outbound"
	case "error_code":
		return len(s) <= 64
	case "to", "from":
		return len(s) <= 256
	case "country":
		return regexp.MustCompile(`^[A-Z]{2}$`).MatchString(s)
	case "network":
		return regexp.MustCompile(`^(\d{5,6}|\d{3}-\d{2,3})$`).MatchString(s)
	case "currency":
		return regexp.MustCompile(`^[A-Z]{3}$`).MatchString(s)
	}
	t, err := time.Parse(time.RFC3339, strings.ToUpper(s))
	return err == nil && refTime.MatchString(s) && t.UTC().Year() >= 1970 && t.UTC().Year() <= 2261
}

// refNumber reads a number as a rational of 1e-6.
func refNumber(s string) (v *big.Int, exact bool, reason Reason) {
	mantissa, e, _ := strings.Cut(strings.ToLower(s), "e")
	m, _ := new(big.Rat).SetString(mantissa)
	if m.Sign() == 0 {
		return new(big.Int), true, ""
	}
	if m.Sign() < 0 {
		return nil, false, ReasonMalformed
	}
	exp, ok := new(big.Int).SetString(strings.TrimPrefix(e, "+"), 10)
	if e == "" {
		exp, ok = new(big.Int), true
	}
	if !ok || exp.CmpAbs(big.NewInt(int64(1000+len(mantissa)))) > 0 { // no digits make up for it
		if strings.HasPrefix(e, "-") {
			return new(big.Int), false, ""
		}
		return nil, false, ReasonOverflow
	}
	pow := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), new(big.Int).Abs(new(big.Int).Add(exp, big.NewInt(6))), nil))
	if exp.Int64()+6 < 0 {
		pow.Inv(pow)
	}
	m.Mul(m, pow)
	v = roundRat(m)
	if v.Cmp(big.NewInt(int64(MicrosMax))) > 0 {
		return nil, m.IsInt(), ReasonOverflow
	}
	return v, m.IsInt(), ""
}

// roundRat rounds half to even.
func roundRat(r *big.Rat) *big.Int {
	q, rem := new(big.Int).DivMod(r.Num(), r.Denom(), new(big.Int))
	c := rem.Lsh(rem, 1).Cmp(r.Denom())
	if c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(1))
	}
	return q
}

// refObject reads an object whose keys are unique.
func refObject(b []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("no object")
	}
	out := map[string]json.RawMessage{}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return nil, err
		}
		k, _ := tok.(string)
		if _, twice := out[k]; twice {
			return nil, errors.New("twice")
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		out[k] = v
	}
	_, err := d.Token()
	if err == nil {
		_, err = d.Token()
	}
	if !errors.Is(err, io.EOF) {
		return nil, errors.New("more")
	}
	return out, nil
}

// loneSurrogate tells whether valid JSON has an escape that is half a pair.
func loneSurrogate(b []byte) bool {
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		if b[i+1] != 'u' {
			i++
			continue
		}
		var hi, lo rune
		hi = hex4(b[i+2 : i+6])
		i += 5
		if hi < 0xd800 || hi > 0xdfff {
			continue
		}
		if hi > 0xdbff || i+6 >= len(b) || b[i+1] != '\\' || b[i+2] != 'u' {
			return true
		}
		lo = hex4(b[i+3 : i+7])
		if lo < 0xdc00 || lo > 0xdfff {
			return true
		}
		i += 6
	}
	return false
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) rune {
	v, err := strconv.ParseUint(string(b), 16, 16)
	if err != nil {
		return -1
	}
	return rune(v)
}
