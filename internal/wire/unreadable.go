package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode"
)

// Unreadable is what travels of a message of a log that can't be read: no record, so
// that it is quarantined, under the account and the id that are known, with all its
// bytes.
type Unreadable struct {
	ID        string `json:"id,omitempty"`
	AccountID string `json:"account_id,omitempty"`
	What      string `json:"unreadable"`            // of it, and what to do
	Line      string `json:"line,omitempty"`        // as it stands
	LineBytes []byte `json:"line_base64,omitempty"` // where it isn't UTF-8
}

// whatMax bounds what is said of an unreadable message, in bytes.
const whatMax = 200

// WhatIsUnreadable is what an importer said of a line that it sent on. "": the line
// isn't such a one. Anybody can send a line that looks like it, so what is said is
// taken only where it is short, printable and has no digits: the detail of a
// quarantine entry holds no amounts and no phone numbers.
func WhatIsUnreadable(line []byte) string {
	var u Unreadable
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields() // a record has others
	if d.Decode(&u) != nil || u.Line == "" && u.LineBytes == nil {
		return ""
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return ""
	}
	if len(u.What) > whatMax || strings.ContainsFunc(u.What, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsNumber(r) }) {
		return ""
	}
	return u.What
}
