package quietlog

import (
	"log/slog"
	"strings"
)

// kindOf a record: its key, and the causes that it names.
func (h *Handler) kindOf(r *slog.Record) (key, cause, over string) {
	var b strings.Builder
	b.WriteString(r.Level.String())
	b.WriteByte(' ')
	addText(&b, r.Message)
	b.WriteString(h.key)
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case causeKey:
			cause = a.Value.Resolve().String()
		case overKey:
			over = a.Value.Resolve().String()
		}
		addAttr(&b, a)
		return true
	})
	if cause != "" {
		return causeKey + "=" + cause, cause, over
	}
	return b.String(), "", over
}

func addAttr(b *strings.Builder, a slog.Attr) {
	b.WriteByte(' ')
	b.WriteString(a.Key)
	b.WriteByte('=')
	addText(b, a.Value.Resolve().String())
}

// textMax of a message or a value makes it another kind: what is longer is alike.
const textMax = 1000

// addText adds a text in which every word with a digit is the same: ids, numbers, ports,
// times and names that are numbered.
func addText(b *strings.Builder, text string) {
	text = text[:min(len(text), textMax)]
	for len(text) > 0 {
		n, digit := 0, false
		for n < len(text) && inWord(text[n]) {
			digit = digit || '0' <= text[n] && text[n] <= '9'
			n++
		}
		switch {
		case n == 0:
			n = 1
			b.WriteByte(text[0])
		case digit:
			b.WriteByte('#')
		default:
			b.WriteString(text[:n])
		}
		text = text[n:]
	}
}

func inWord(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80 || c == '-' || c == '_' || c == '.' || c == ':'
}
