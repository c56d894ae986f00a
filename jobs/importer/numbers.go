package importer

import (
	"regexp"
	"strings"
)

// A spreadsheet takes a phone number for a figure: it shows 393331234567 as
// 3.93331E+11 (others write 3.93331e+11 or 3.93331E11), or writes 393331234567.0; who works against that writes an
// apostrophe in front.
var (
	exponent   = regexp.MustCompile(`^[0-9]+(([.,][0-9]*)?[Ee]\+[0-9]+|[.,][0-9]+[Ee][0-9]+)$`)
	fractional = regexp.MustCompile(`^[0-9]+[.,]0+$`)
)

// undamaged refuses a value of which a spreadsheet has kept the first digits only.
func undamaged(field, s string) error {
	if exponent.MatchString(s) {
		return &fieldError{field, "a spreadsheet has replaced its last digits by an exponent; take the log as it was downloaded"}
	}
	return nil
}

// numbers fills both ends of a message.
func numbers(r *Record, to, from string) (err error) {
	if r.To, err = number("to", to); err == nil {
		r.From, err = number("from", from)
	}
	return err
}

// number is a phone number as E.164: platforms leave the plus out.
func number(field, s string) (string, error) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "'")
	if err := undamaged(field, s); err != nil {
		return "", err
	}
	if fractional.MatchString(s) {
		s = s[:strings.IndexAny(s, ".,")]
	}
	const shortest = 8 // a shorter one is a short code
	if len(s) < shortest || strings.Trim(s, "0123456789") != "" {
		return s, nil
	}
	if rest, dialled := strings.CutPrefix(s, "00"); dialled {
		s = rest
	} else if s[0] == '0' {
		return s, nil // national: which country's isn't known
	}
	return "+" + s, nil
}
