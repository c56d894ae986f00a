package importer

import (
	"regexp"
	"strings"
	"unicode"
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

// yes reads a column that says whether something is so, as platforms and spreadsheets
// write it.
func yes(field, s string) (bool, error) {
	if fractional.MatchString(s) {
		s = s[:strings.IndexAny(s, ".,")]
	}
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true":
		return true, nil
	case "", "0", "no", "n", "false", "null":
		return false, nil
	}
	return false, unreadable(field)
}

// numbers fills both ends of a message.
func numbers(r *Record, to, from string) (err error) {
	if r.To, err = number("to", to); err == nil {
		r.From, err = number("from", from)
	}
	return err
}

// What people, telephones and consoles write between the digits of a number; thousands
// is what a spreadsheet does.
var (
	spelled   = regexp.MustCompile(`^\+?[0-9()][0-9()./\s-]*$`)
	thousands = regexp.MustCompile(`^\+?[0-9]{1,3}(,[0-9]{3}){2,}$`)
	decimals  = regexp.MustCompile(`^[0-9]{8,}\.[0-9]+$`)
)

// shortest is how many digits a phone number has; fewer are a short code.
const shortest = 8

// number is a phone number as E.164: platforms leave the plus out. What isn't one, such
// as the name of a sender, stays as it is; a recipient that begins like one and is none
// is refused, for it would be rated as of an unknown country.
func number(field, s string) (string, error) {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Cf, r): // direction marks of what was copied from a contact
			return -1
		case unicode.IsSpace(r): // also those that don't break
			return ' '
		}
		return r
	}, s))
	if guarded, ok := strings.CutPrefix(s, `="`); ok {
		s = strings.TrimSuffix(guarded, `"`)
	}
	s = strings.TrimPrefix(s, "'")
	if len(s) > len("tel:") && strings.EqualFold(s[:len("tel:")], "tel:") {
		s = s[len("tel:"):]
	}
	if err := undamaged(field, s); err != nil {
		return "", err
	}
	if fractional.MatchString(s) {
		s = s[:strings.IndexAny(s, ".,")]
	}
	digits := digitsOf(s)
	if len(digits) < shortest {
		return s, nil
	}
	if !spelled.MatchString(s) && !thousands.MatchString(s) || decimals.MatchString(s) {
		if field == "to" && strings.IndexByte("+(0123456789", s[0]) >= 0 && !strings.Contains(s, "@") {
			return "", &fieldError{field, "it isn't a phone number; take the log as it was downloaded"}
		}
		return s, nil
	}
	plus := s[0] == '+'
	if rest, dialled := strings.CutPrefix(digits, "00"); dialled {
		digits = rest
	} else if digits[0] == '0' && !plus {
		return digits, nil // national: which country's isn't known
	}
	return "+" + digits, nil
}

func digitsOf(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}
