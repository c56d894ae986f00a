package metering

import (
	"strconv"
	"time"
)

// AppendRecord appends r as one canonical JSON line without the newline, the
// form that DecodeRecord reads back as the same record. Defaults, a derived
// country and Unknown are left out. Text that isn't valid UTF-8 is written as
// it is: the reader then quarantines the record instead of charging another.
func AppendRecord(b []byte, r *Record) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, r.ID)
	if r.Kind != KindUsage && r.Kind != "" {
		b = appendField(b, "kind", string(r.Kind))
	}
	b = appendField(b, "account_id", r.AccountID)
	b = appendField(b, "channel", r.Channel)
	if r.Direction != Outbound {
		b = appendField(b, "direction", r.Direction)
	}
	b = appendField(b, "status", r.Status)
	b = appendField(b, "error_code", r.ErrorCode)
	b = appendField(b, "to", r.To)
	b = appendField(b, "from", r.From)
	if !r.Derived {
		b = appendField(b, "country", r.Country)
	}
	b = appendField(b, "network", r.Network)
	b = appendField(b, "category", r.Category)
	if units, ok := r.Units.Get(); ok {
		b = append(b, `,"units":"`...)
		b = append(appendFixed(b, int64(units), 0), '"')
	}
	b = appendField(b, "unit", r.Unit)
	if amount, ok := r.Amount.Get(); ok {
		b = append(b, `,"amount":"`...)
		b = append(appendFixed(b, int64(amount), 0), '"')
	}
	b = appendField(b, "currency", r.Currency)
	b = appendField(b, "refers_to", r.RefersTo)
	b = append(b, `,"occurred_at":"`...)
	b = append(appendInstant(b, r.OccurredAt), '"')
	b = appendTags(b, r.Tags)
	return append(b, '}')
}

// appendField appends a field that isn't the first, unless it is empty.
func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, value)
}

func appendTags(b []byte, tags []Tag) []byte {
	if len(tags) == 0 {
		return b
	}
	b = append(b, `,"tags":{`...)
	for i, t := range tags {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, t.Key)
		b = append(b, ':')
		b = appendString(b, t.Value)
	}
	return append(b, '}')
}

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// appendInstant appends t in UTC with its milliseconds, if it has any.
func appendInstant(b []byte, t time.Time) []byte {
	t = t.UTC()
	b = t.AppendFormat(b, "2006-01-02T15:04:05")
	if ms := t.Nanosecond() / int(time.Millisecond); ms != 0 {
		b = append(b, '.')
		b = append(b, strconv.Itoa(ms + 1000)[1:]...)
	}
	return append(b, 'Z')
}
