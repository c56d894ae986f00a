package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestWhatIsUnreadable: what an importer says is taken, from whoever looks like one
// nothing that a detail of the quarantine never holds.
func TestWhatIsUnreadable(t *testing.T) {
	t.Parallel()
	said := "to: a spreadsheet has replaced its last digits by an exponent; take the log as it was downloaded"
	assert.Equal(t, said, WhatIsUnreadable([]byte(`{"id":"1","account_id":"a","unreadable":"`+said+`","line":"x,3E+11"}`)))
	assert.Equal(t, said, WhatIsUnreadable([]byte(`{"unreadable":"`+said+`","line_base64":"/w=="}`)))
	assert.NotEmpty(t, WhatIsUnreadable([]byte(`{"unreadable":"`+strings.Repeat("x", whatMax)+`","line":"x"}`)))
	for name, line := range map[string]string{
		"long":           `{"unreadable":"` + strings.Repeat("x", whatMax+1) + `","line":"x"}`,
		"control":        `{"unreadable":"to: \u001b[31m red","line":"x"}`,
		"line break":     `{"unreadable":"to:\nfrom","line":"x"}`,
		"direction":      `{"unreadable":"to: \u202e gnorw","line":"x"}`,
		"number":         `{"unreadable":"to: call 393331234567","line":"x"}`,
		"other digits":   `{"unreadable":"to: call ٣٩٣٣٣١٢٣","line":"x"}`,
		"a record":       `{"id":"1","account_id":"a","channel":"sms","unreadable":"to: wrong","line":"x"}`,
		"nothing of it":  `{"id":"1","account_id":"a","unreadable":"to: wrong"}`,
		"no text":        `{"unreadable":["to"],"line":"x"}`,
		"none":           `{"id":"1","account_id":"a","line":"x"}`,
		"something more": `{"unreadable":"to: wrong","line":"x"} {}`,
		"no object":      `"to: wrong"`,
		"cut off":        `{"unreadable":"to: wrong","line":"x"`,
	} {
		assert.Empty(t, WhatIsUnreadable([]byte(line)), name)
	}
}
