package ledger

import (
	"maps"
	"strconv"
	"strings"
)

// escapeStrings writes the String parameters of a query as ClickHouse reads
// them: as fields of a tab-separated line. Others are left as they are.
func escapeStrings(text string, params map[string]string) map[string]string {
	out := maps.Clone(params)
	for name, v := range params {
		if strings.Contains(text, "{"+name+":String}") {
			out[name] = stringEscapes.Replace(v)
		}
	}
	return out
}

var stringEscapes = strings.NewReplacer( //nolint:gochecknoglobals // a constant table
	"\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`)

// integers writes a server-side Array(UInt64) parameter.
func integers(list []uint64) string {
	b := []byte{'['}
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, n, 10)
	}
	return string(append(b, ']'))
}

// array writes a server-side Array(String) parameter.
func array(s []string) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, v := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\'')
		for j := range len(v) {
			switch c := v[j]; c {
			case '\\', '\'':
				b.WriteByte('\\')
				b.WriteByte(c)
			case '\n':
				b.WriteString(`\n`)
			case '\t':
				b.WriteString(`\t`)
			case 0:
				b.WriteString(`\0`)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('\'')
	}
	b.WriteByte(']')
	return b.String()
}

// bit is a yes or no as a UInt8 column has it.
func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
