package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// lastIncrement is the file that redis-server appends to, as its manifest says: one
// line a file. "": there is none, or redis-server won't read the manifest, and says so.
func lastIncrement(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "appendonly.aof.manifest")) //nolint:gosec // our own data folder
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for the append-only file: %w", err)
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, kind, ok := manifestLine(line)
		if !ok {
			return "", nil
		}
		if kind == 'i' {
			last = filepath.Join(dir, name)
		}
	}
	return last, nil
}

// manifestLine reads `file NAME seq N type i`, with further pairs in any order: since
// Redis 8 startoffset and endoffset, which are of replication.
func manifestLine(line string) (name string, kind byte, ok bool) {
	words, ok := splitWords(line)
	if !ok || len(words)%2 != 0 || !strings.HasSuffix(line, "\n") {
		return "", 0, false
	}
	for i := 0; i < len(words); i += 2 {
		switch value := words[i+1]; {
		case strings.EqualFold(words[i], "file"):
			name = value
		case strings.EqualFold(words[i], "type"):
			kind = (value + "\x00")[0] // no more of it is read
		}
	}
	return name, kind, name != "" && !strings.ContainsAny(name, `/\`) && kind != 0
}

// splitWords takes a line apart as redis-server does: at blanks, except within quotes.
// False: a quote isn't closed, or not at the end of a word.
func splitWords(line string) ([]string, bool) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t\r\n\v\f")
		if line == "" {
			return words, true
		}
		word, rest, ok := firstWord(line)
		if !ok {
			return nil, false
		}
		words, line = append(words, word), rest
	}
}

func firstWord(line string) (word, rest string, ok bool) {
	var text strings.Builder
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == 0 && strings.IndexByte(" \t\r\n", c) >= 0:
			return text.String(), line[i:], true
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
			continue
		case quote != 0 && c == quote:
			rest = line[i+1:]
			return text.String(), rest, rest == "" || strings.IndexByte(" \t\r\n\v\f", rest[0]) >= 0
		case quote != 0 && c == '\\':
			var n int
			c, n = unescape(quote, line[i+1:])
			i += n
		}
		text.WriteByte(c)
	}
	return text.String(), "", quote == 0
}

// unescape reads what follows a backslash, and tells how long that is.
func unescape(quote byte, text string) (c byte, n int) {
	if text == "" || quote == '\'' && text[0] != '\'' {
		return '\\', 0
	}
	if text[0] == 'x' && len(text) > 2 {
		if b, err := strconv.ParseUint(text[1:3], 16, 8); err == nil {
			return byte(b), 3
		}
	}
	if i := strings.IndexByte("nrtba", text[0]); i >= 0 {
		return "\n\r\t\b\a"[i], 1
	}
	return text[0], 1
}
