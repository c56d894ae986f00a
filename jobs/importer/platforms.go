package importer

import (
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// unreadable names a field of a message that can't be read. It doesn't repeat what
// stands there.
func unreadable(field string) error { return &fieldError{field, "missing, or not to be understood"} }

type fieldError struct{ field, why string }

func (e *fieldError) Error() string { return e.field + ": " + e.why }

// Units of a record.
const (
	segment = "segment"
	second  = "second"
	whole   = "message"
)

// present tells whether a field has a value: JSON's null is none.
func present(s string) bool { return s != "" && s != "null" }

// word is a platform's word as ours: lower case, with underscores.
func word(s string) string {
	return strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(s))
}

// layouts of times, tried in turn. Where a log gives no offset it means UTC.
var layouts = []string{ //nolint:gochecknoglobals // a constant table
	time.RFC3339Nano, "2006-01-02T15:04:05.999Z0700", "2006-01-02T15:04:05:000Z", time.RFC1123Z, "Mon, 2 Jan 2006 15:04:05 -0700",
	"2006-01-02 15:04:05 MST", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05", "2006-01-02T15:04:05",
}

// instant reads the first of the texts that is there.
func instant(texts ...string) (string, error) {
	for _, s := range texts {
		if !present(s) {
			continue
		}
		for _, layout := range layouts {
			t, err := time.Parse(layout, s)
			if name, _ := t.Zone(); err != nil || strings.HasSuffix(layout, "MST") && name != "UTC" && name != "GMT" {
				continue // a zone's short name tells no offset
			}
			return t.UTC().Format(time.RFC3339Nano), nil
		}
		return "", unreadable("date")
	}
	return "", unreadable("date")
}

// decimalText is a number without an exponent.
func decimalText(field, s string) (string, error) {
	d, err := decimal.NewFromString(s)
	if err != nil || d.IsNegative() {
		return "", unreadable(field)
	}
	return d.String(), nil
}

func twilioCSV() platform {
	return platform{
		csv: true, required: []string{"id", "account", "date", "direction", "status"},
		columns: map[string][]string{
			"id": {"Sid", "MessageSid"}, "account": {"AccountSid"}, "from": {"From"}, "to": {"To"}, "status": {"Status"}, "date": {"SentDate", "DateSent"},
			"created": {"DateCreated"}, "units": {"NumSegments"}, "media": {"NumMedia"}, "error": {"ErrorCode"}, "direction": {"Direction"},
			"price": {"Price"}, "currency": {"PriceUnit"},
		},
		record: twilio, pending: twilioPending,
	}
}

func twilioJSON() platform {
	return platform{
		json: true, list: "messages",
		columns: map[string][]string{
			"id": {"sid"}, "account": {"account_sid"}, "from": {"from"}, "to": {"to"}, "status": {"status"}, "date": {"date_sent"},
			"created": {"date_created"}, "units": {"num_segments"}, "media": {"num_media"}, "error": {"error_code"}, "direction": {"direction"},
			"price": {"price"}, "currency": {"price_unit"},
		},
		record: twilio, pending: twilioPending,
	}
}

// twilioPending: before a message is sent, not even its segments, its sender and its
// time are known.
func twilioPending(m message, status string) bool {
	if present(m.get("price")) {
		return false
	}
	switch status {
	case "accepted", "scheduled", "queued", "sending", "receiving":
		return true
	case "sent":
		return m.get("units") == "0"
	}
	return false
}

// twilio writes "whatsapp:" before numbers of that channel, directions such as
// outbound-api, and 0 segments where a message never came to be sent.
func twilio(m message, r *Record) (err error) {
	r.Status = word(m.get("status"))
	if r.OccurredAt, err = instant(m.get("date"), m.get("created")); err != nil {
		return err
	}
	r.Channel, r.Unit = "sms", segment
	to, from := m.get("to"), m.get("from")
	for _, channel := range []string{"whatsapp", "messenger", "rcs"} {
		if strings.HasPrefix(to, channel+":") || strings.HasPrefix(from, channel+":") {
			r.Channel, r.Unit = channel, whole
			to, from = strings.TrimPrefix(to, channel+":"), strings.TrimPrefix(from, channel+":")
		}
	}
	if media := m.get("media"); r.Channel == "sms" && (strings.HasPrefix(r.ID, "MM") || present(media) && media != "0") {
		r.Channel, r.Unit = "mms", whole
	}
	if err := numbers(r, to, from); err != nil {
		return err
	}
	r.Direction = "outbound"
	if strings.HasPrefix(strings.ToLower(m.get("direction")), "inbound") {
		r.Direction = "inbound"
	}
	if code := m.get("error"); present(code) && code != "0" {
		r.ErrorCode = code
	}
	r.Units = "1"
	if segments := m.get("units"); present(segments) {
		if r.Unit == segment || segments == "0" {
			r.Units = segments
		}
	}
	r.Units, err = decimalText("units", r.Units)
	return err
}

func kaleyra() platform {
	return platform{
		csv: true, required: []string{"id", "date", "status", "mobile"},
		columns: map[string][]string{
			"id": {"MESSAGE_ID", "ID", "SMS_ID"}, "account": {"ACCOUNT_ID", "SID", "SUBACCOUNT_ID", "SUBACCOUNT_NAME"}, "sender": {"SENDER"}, "mobile": {"MOBILE", "RECIPIENT"},
			"status": {"STATUS"}, "trace": {"STATUS_TRACE"}, "date": {"CREATED", "CREATED_AT", "DATE"}, "units": {"BILLING_UNIT", "UNITS"}, "direction": {"DIRECTION"},
			"category": {"CATEGORY", "SMS_TYPE"}, "campaign": {"CAMPAIGN_NAME", "CAMPAIGN"}, "refunded": {"REFUNDED"}, "price": {"COST", "PRICE", "AMOUNT"}, "currency": {"CURRENCY"},
		},
		record: kaleyraRecord,
	}
}

// kaleyraRecord: MT is outbound, MO inbound; a message that was not sent (no
// credit, not allowed) is free; a trace says more than the status.
func kaleyraRecord(m message, r *Record) (err error) {
	if r.OccurredAt, err = instant(m.get("date")); err != nil {
		return err
	}
	r.Channel, r.Unit, r.Direction = "sms", segment, "outbound"
	if err := numbers(r, m.get("mobile"), m.get("sender")); err != nil {
		return err
	}
	if strings.EqualFold(m.get("direction"), "MO") {
		r.Direction, r.To, r.From = "inbound", r.From, r.To
	}
	r.Status = word(m.get("status"))
	if trace := m.get("trace"); !strings.EqualFold(trace, m.get("status")) && !strings.EqualFold(trace, "DELIVRD") {
		r.ErrorCode = trace
	}
	if r.Units = m.get("units"); r.Units == "" {
		r.Units = "1"
	}
	if r.Status == "not_sent" {
		r.Status, r.Units = "rejected", "0"
	}
	switch category := word(m.get("category")); category {
	case "otp":
		r.Category = "authentication"
	case "txn":
		r.Category = "utility"
	case "mkt":
		r.Category = "marketing"
	default:
		r.Category = category
	}
	if c := m.get("campaign"); c != "" {
		r.Tags = map[string]string{"campaign": c}
	}
	r.Units, err = decimalText("units", r.Units)
	return err
}
