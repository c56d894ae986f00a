package importer

import (
	"errors"
	"strconv"
	"strings"
)

// The products of Vonage's reports that have a mapping. A record of another one
// may have the same columns, and would be charged as what it isn't.
const (
	vonageSMS      = "SMS"
	vonageMessages = "MESSAGES"
	vonageCall     = "VOICE-CALL"
)

func vonage() platform {
	return platform{
		csv: true, json: true, list: "records", required: []string{"id", "account", "date", "status"},
		columns: map[string][]string{
			"id": {"message_id", "call_id", "id"}, "account": {"account_id"}, "from": {"from"}, "to": {"to"}, "status": {"status"},
			"date": {"date_received", "date_start", "start_date", "date"}, "network": {"network"}, "country": {"country", "to_country"}, "error": {"error_code"},
			"direction": {"direction"}, "price": {"total_price", "price"}, "currency": {"currency"}, "duration": {"duration"},
			"channel": {"channel"}, "product": {"product"}, "provider": {"provider"}, "ref": {"client_ref"},
			"message": {"message_id"}, "recognition": {"call_date_start"},
		},
		record: vonageRecord, product: vonageProduct,
	}
}

// errProduct: a report's columns alone don't tell what it is of.
var errProduct = errors.New("product: none is named, and no columns that only one has; add a column product with SMS, MESSAGES or VOICE-CALL")

// vonageProduct tells which product a record is of where nothing names it: a
// report as CSV is of one, and has no column for it.
func vonageProduct(has func(field string) bool) string {
	switch {
	case has("recognition"):
		return "ASR"
	case has("provider"):
		return vonageMessages
	case has("duration") && has("network"):
		return vonageCall
	case !has("duration") && (has("message") || has("network")):
		return vonageSMS
	}
	return ""
}

// mapped is nil for a product that records can be made of.
func mapped(product string) error {
	switch product {
	case vonageSMS, vonageMessages, vonageCall:
		return nil
	case "":
		return errProduct
	}
	return &productError{product}
}

// productError names a product without a mapping.
type productError struct{ name string }

func (e *productError) Error() string {
	return "product: " + strconv.Quote(e.name) + " has no mapping; there is one for SMS, MESSAGES and VOICE-CALL"
}

// vonageRecord: a line is one part of an SMS, or a call with its seconds.
func vonageRecord(m message, r *Record) (err error) {
	if r.OccurredAt, err = instant(m.get("date")); err != nil {
		return err
	}
	product := strings.ToUpper(m.get("product"))
	if product == "" {
		product = m.product
	}
	if product == "" {
		product = vonageProduct(m.has)
	}
	if err := mapped(product); err != nil {
		return err
	}
	if err := vonageChannel(m, product, r); err != nil {
		return err
	}
	if err := numbers(r, m.get("to"), m.get("from")); err != nil {
		return err
	}
	if r.Direction = word(m.get("direction")); r.Direction == "" {
		r.Direction = "outbound"
	}
	switch r.Status = word(m.get("status")); r.Status {
	case "buffered":
		r.Status = "queued"
	case "timeout":
		r.Status = "no_answer"
	case "cancelled":
		r.Status = "canceled"
	}
	if n := m.get("network"); len(n) == len("23415") || len(n) == len("310260") {
		r.Network = n
	}
	if c := m.get("country"); len(c) == len("FR") {
		r.Country = strings.ToUpper(c)
	}
	if code := m.get("error"); present(code) && code != "0" {
		r.ErrorCode = code
	}
	if ref := m.get("ref"); present(ref) {
		r.Tags = map[string]string{"client_ref": ref}
	}
	return nil
}

// vonageChannel: of messages the provider is the channel, whatever else their
// columns look like.
func vonageChannel(m message, product string, r *Record) (err error) {
	r.Channel, r.Units, r.Unit = "sms", "1", segment
	switch product {
	case vonageCall:
		r.Channel, r.Unit = "voice", second
		r.Units, err = decimalText("duration", m.get("duration"))
		return err
	case vonageMessages:
		r.Channel = word(m.get("provider"))
		if r.Channel == "" {
			r.Channel = word(m.get("channel"))
		}
		if r.Channel == "" {
			return unreadable("provider")
		}
	default:
		if c := word(m.get("channel")); c != "" {
			r.Channel = c
		}
	}
	switch r.Channel {
	case "viber_service", "viber_service_msg":
		r.Channel = "viber"
	case "facebook_messenger":
		r.Channel = "messenger"
	}
	if r.Channel != "sms" {
		r.Unit = whole
	}
	return nil
}
