package embedded

import "strings"

// statement is a query as the engine has to be called for it.
type statement struct {
	verb   string // first keyword, upper case
	sql    string // the whole text, or what stands before FORMAT of an insert
	format string // of an insert's data; "" when the engine reads it in the text
	data   []byte // inline data of such an insert
	bare   bool   // an insert that names neither format nor rows: both come with the request
}

// parseStatement splits "INSERT … FORMAT f data" into what the engine's insert
// stream takes; every other statement stays whole.
func parseStatement(sql string) statement {
	s := scanner{text: sql}
	verb := strings.ToUpper(s.next())
	st := statement{verb: verb, sql: sql}
	if verb != "INSERT" {
		return st
	}
	depth := 0
	for {
		token := s.next()
		switch token {
		case "":
			st.bare = true
			return st
		case "(", "[", "{":
			depth++
			continue
		case ")", "]", "}":
			depth--
			continue
		}
		if depth > 0 {
			continue
		}
		switch strings.ToUpper(token) {
		case "VALUES", "SELECT", "WITH", "INFILE", "WATCH":
			return st
		case "FORMAT":
			head := sql[:s.at-len(token)]
			name := s.next()
			if name == "" || strings.EqualFold(name, "VALUES") {
				return st
			}
			st.sql, st.format, st.data = head, name, inlineData(sql[s.at:])
			return st
		}
	}
}

// inlineData drops what separates a format's name from its data: blanks up to
// and with one line end.
func inlineData(rest string) []byte {
	rest = strings.TrimLeft(rest, " \t\r")
	rest = strings.TrimPrefix(rest, "\n")
	if strings.Trim(rest, " \t\r\n;") == "" {
		return nil
	}
	return []byte(rest)
}

// reads tells whether the statement changes nothing.
func (st statement) reads() bool {
	switch st.verb {
	case "SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "(", "":
		return true
	}
	return false
}

// marksSession tells whether the statement changes its session, which must
// not outlive the request.
func (st statement) marksSession() bool {
	switch st.verb {
	case "SET", "USE":
		return true
	case "CREATE", "DROP":
		s := scanner{text: st.sql}
		s.next()
		for range 3 { // CREATE OR REPLACE TEMPORARY
			if strings.EqualFold(s.next(), "TEMPORARY") {
				return true
			}
		}
	}
	return false
}

// scanner yields the tokens of an SQL text, without comments. Quoted text and
// quoted names are one token each.
type scanner struct {
	text string
	at   int // behind the last token
}

// next returns the next token, or "" at the end.
func (s *scanner) next() string {
	s.skip()
	if s.at >= len(s.text) {
		return ""
	}
	start := s.at
	switch c := s.text[s.at]; {
	case c == '\'' || c == '"' || c == '`':
		s.quoted(c)
	case isWord(c):
		for s.at < len(s.text) && isWord(s.text[s.at]) {
			s.at++
		}
	default:
		s.at++
	}
	return s.text[start:s.at]
}

func (s *scanner) quoted(quote byte) {
	for s.at++; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case quote:
			s.at++
			return
		}
	}
	s.at = len(s.text)
}

// skip passes over blanks and comments.
func (s *scanner) skip() {
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch {
		case strings.ContainsRune(" \t\r\n\f\v", rune(rest[0])):
			s.at++
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "#!"), strings.HasPrefix(rest, "# "):
			s.past(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			s.past(rest, "*/")
		default:
			return
		}
	}
}

func (s *scanner) past(rest, end string) {
	if i := strings.Index(rest, end); i >= 0 {
		s.at += i + len(end)
		return
	}
	s.at = len(s.text)
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
