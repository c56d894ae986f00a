package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// record is one line of the file; the fields are those of a usage record.
type record struct {
	ID         string            `json:"id"`
	Kind       string            `json:"kind,omitempty"`
	AccountID  string            `json:"account_id"`
	Channel    string            `json:"channel,omitempty"`
	Direction  string            `json:"direction,omitempty"`
	Status     string            `json:"status,omitempty"`
	ErrorCode  string            `json:"error_code,omitempty"`
	To         string            `json:"to,omitempty"`
	From       string            `json:"from,omitempty"`
	Country    string            `json:"country,omitempty"`
	Network    string            `json:"network,omitempty"`
	Category   string            `json:"category,omitempty"`
	Units      json.RawMessage   `json:"units,omitempty"`
	Unit       string            `json:"unit,omitempty"`
	Amount     string            `json:"amount,omitempty"`
	Currency   string            `json:"currency,omitempty"`
	RefersTo   string            `json:"refers_to,omitempty"`
	OccurredAt string            `json:"occurred_at"`
	Tags       map[string]string `json:"tags,omitempty"`
}

// line is a record as written, and when it reaches the file.
type line struct {
	text    []byte
	arrives time.Time
}

// encode writes r as one line of JSON.
func encode(r *record) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// stamp writes a time as the account's systems do.
func stamp(t time.Time, offset string) string {
	const layout = "2006-01-02T15:04:05.000"
	if offset == "Z" {
		return t.UTC().Format(layout) + "Z"
	}
	zone, err := time.Parse("-07:00", offset)
	if err != nil {
		panic("bad offset " + offset) // a typing error in profiles.go
	}
	return t.In(zone.Location()).Format(layout) + offset
}

// randomBytes makes up n bytes.
func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.IntN(256))
	}
	return b
}

// uuid makes up a version 4 UUID.
func uuid(rng *rand.Rand) string {
	b := randomBytes(rng, 16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// messageID makes up an id in the manner of the channel and the sender.
func messageID(rng *rand.Rand, channel, prefix string) string {
	switch channel {
	case "whatsapp":
		return "wamid.HBgM" + base64.StdEncoding.EncodeToString(randomBytes(rng, 24))
	case "voice":
		return "CA" + hex.EncodeToString(randomBytes(rng, 16))
	case "verify":
		return "VE" + hex.EncodeToString(randomBytes(rng, 16))
	case "email":
		return hex.EncodeToString(randomBytes(rng, 10)) + "@mail.example"
	case "mms":
		return "MM" + hex.EncodeToString(randomBytes(rng, 16))
	case "sms":
		if prefix != "" {
			return prefix + hex.EncodeToString(randomBytes(rng, 16))
		}
	}
	return uuid(rng)
}
