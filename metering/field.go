package metering

import "time"

// field is one of a record's fields, as a bit number.
type field uint8

const (
	fieldUnknown field = iota
	fieldID
	fieldKind
	fieldAccountID
	fieldChannel
	fieldDirection
	fieldStatus
	fieldErrorCode
	fieldTo
	fieldFrom
	fieldCountry
	fieldNetwork
	fieldCategory
	fieldUnits
	fieldUnit
	fieldAmount
	fieldCurrency
	fieldRefersTo
	fieldOccurredAt
	fieldTags
)

// fieldOf finds a field by its JSON name.
func fieldOf(key string) field {
	switch key {
	case "id":
		return fieldID
	case "kind":
		return fieldKind
	case "account_id":
		return fieldAccountID
	case "channel":
		return fieldChannel
	case "direction":
		return fieldDirection
	case "status":
		return fieldStatus
	case "error_code":
		return fieldErrorCode
	case "to":
		return fieldTo
	case "from":
		return fieldFrom
	case "country":
		return fieldCountry
	case "network":
		return fieldNetwork
	case "category":
		return fieldCategory
	case "units":
		return fieldUnits
	case "unit":
		return fieldUnit
	case "amount":
		return fieldAmount
	case "currency":
		return fieldCurrency
	case "refers_to":
		return fieldRefersTo
	case "occurred_at":
		return fieldOccurredAt
	case "tags":
		return fieldTags
	}
	return fieldUnknown
}

// need says what a field must hold, and so how to mend it. It never shows what
// it held.
func (f field) need() string {
	switch f {
	case fieldID:
		return "id: send the channel's message id, a string of 1 to 128 bytes"
	case fieldKind:
		return "kind: send usage, status or refund, or leave it out"
	case fieldAccountID:
		return "account_id: send a string of 1 to 64 of A-Z a-z 0-9 . _ -"
	case fieldChannel:
		return "channel: send a lower-case word such as sms, at most 32 bytes"
	case fieldDirection:
		return "direction: send outbound or inbound, or leave it out"
	case fieldStatus:
		return "status: send a lower-case word such as delivered, at most 32 bytes"
	case fieldErrorCode:
		return "error_code: send a string of at most 64 bytes"
	case fieldTo:
		return "to: send a string of at most 256 bytes"
	case fieldFrom:
		return "from: send a string of at most 256 bytes"
	case fieldCountry:
		return "country: send two upper-case letters (ISO 3166-1), or leave it out"
	case fieldNetwork:
		return "network: send MCC and MNC as a string of 5 or 6 digits, or leave it out"
	case fieldCategory:
		return "category: send a lower-case word such as marketing, at most 32 bytes"
	case fieldUnits:
		return "units: send a number from 0 to below 10^12 with at most six decimals after a point"
	case fieldUnit:
		return "unit: send a lower-case word such as segment, at most 32 bytes"
	case fieldAmount:
		return "amount: send a decimal of 0 or more such as 10.50, with a point, as a string or number"
	case fieldCurrency:
		return "currency: send three upper-case letters (ISO 4217)"
	case fieldRefersTo:
		return "refers_to: send the id of the message, a string of 1 to 128 bytes"
	case fieldOccurredAt:
		return "occurred_at: send an RFC 3339 time with its offset, from 1970 to 2261"
	case fieldTags:
		return "tags: send at most 16 pairs of strings, keys of 1 to 64 bytes, values of at most 256"
	case fieldUnknown:
	}
	return detailJSON
}

// ValidID tells whether s may be the id of an account or a plan.
func ValidID(s string) bool {
	if s == "" || len(s) > accountMax {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// ValidWord tells whether s is a lower-case word, as channels, statuses,
// categories and units are: a letter, then at most 31 of a–z 0–9 _ -.
func ValidWord(s string) bool {
	if s == "" || len(s) > wordMax || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

func kindOf(s string) (Kind, bool) {
	switch Kind(s) {
	case KindUsage:
		return KindUsage, true
	case KindStatus:
		return KindStatus, true
	case KindRefund:
		return KindRefund, true
	case KindAdjustment: // meterd's own
	}
	return KindUsage, false
}

func directionOf(s string) (string, bool) {
	if s == Inbound {
		return Inbound, true
	}
	return Outbound, s == Outbound
}

// NetworkDigits reads MCC and MNC, 22210 or 222-10, as digits. false if it is
// something else.
func NetworkDigits(s string) (string, bool) {
	if len(s) > 5 && s[3] == '-' {
		s = s[:3] + s[4:]
	}
	return s, (len(s) == 5 || len(s) == 6) && digits(s)
}

// Years of the instants that are stored.
const (
	yearMin = 1970
	yearMax = 2261
)

// parseInstant reads an RFC 3339 time with offset as UTC, truncated to
// milliseconds. No leap second, and the year is 1970 to 2261.
func parseInstant(s string) (time.Time, bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, false
	}
	y1, y2 := two(s[0:]), two(s[2:])
	month, day := two(s[5:]), two(s[8:])
	hour, minute, second := two(s[11:]), two(s[14:]), two(s[17:])
	if y1|y2|month|day|hour|minute|second < 0 || hour > 23 || minute > 59 || second > 59 ||
		month < 1 || month > 12 || day < 1 || day > daysIn(y1*100+y2, month) {
		return time.Time{}, false
	}
	milli, rest, ok := parseMillis(s[19:])
	if !ok {
		return time.Time{}, false
	}
	offset, ok := parseOffset(rest)
	if !ok {
		return time.Time{}, false
	}
	t := time.Date(y1*100+y2, time.Month(month), day, hour, minute-offset, second, milli*int(time.Millisecond), time.UTC)
	return t, t.Year() >= yearMin && t.Year() <= yearMax
}

// two reads two digits, -1 if they are something else.
func two(s string) int {
	a, b := s[0]-'0', s[1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}

// daysIn is the length of a month.
func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// parseMillis reads an optional fraction of a second, truncated.
func parseMillis(s string) (milli int, rest string, ok bool) {
	if s[0] != '.' {
		return 0, s, true
	}
	end := digitsEnd(s, 1)
	for i := 1; i <= 3; i++ {
		milli *= 10
		if i < end {
			milli += int(s[i] - '0')
		}
	}
	return milli, s[end:], end > 1
}

// parseOffset reads Z or ±hh:mm as minutes.
func parseOffset(s string) (int, bool) {
	if s == "Z" || s == "z" {
		return 0, true
	}
	if len(s) != 6 || (s[0] != '+' && s[0] != '-') || s[3] != ':' {
		return 0, false
	}
	h, m := two(s[1:]), two(s[4:])
	if h < 0 || h > 23 || m < 0 || m > 59 {
		return 0, false
	}
	if s[0] == '-' {
		return -(h*60 + m), true
	}
	return h*60 + m, true
}
