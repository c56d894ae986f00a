package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestWhatSendersChooseStaysText: ids are any bytes, and a terminal obeys some.
func TestWhatSendersChooseStaysText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"\x1b[2J\x1b[31mowned\a": `\x1b[2J\x1b[31mowned\a`,
		"a\u202egnp.exe":         `a\u202egnp.exe`,
		"a\nb\tc\x7f\u009b1m":    `a\nb\tc\x7f\u009b1m`,
		"half\xc3":               `half\xc3`,
		"\ufffd stays":           "\ufffd stays",
		"क\u094d\u200dष, 日本, عربى, é, 👩\u200d💻": "क\u094d\u200dष, 日本, عربى, é, 👩\u200d💻",
		"a\u00a0b":   "a\u00a0b",
		`back\slash`: `back\slash`,
	} {
		assert.Equal(t, want, visible(in))
	}
	var out strings.Builder
	a := &app{out: &out}
	table := a.table("ID", "STATE")
	table.AppendRow([]any{"\x1b[31mred", colored("\x1b[32mours\x1b[0m")})
	a.render(table)
	assert.Contains(t, out.String(), `\x1b[31mred`)
	assert.Contains(t, out.String(), "\x1b[32mours", "meterd's own colours are left")
}
