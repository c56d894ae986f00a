package documents_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is a fenced part of a document.
type block struct {
	line   int // of its fence
	lang   string
	text   string
	before string // the paragraph before it
}

var fence = regexp.MustCompile("^( *)```([a-z]*)$")

// blocks of a document, in order.
func blocks(tb testing.TB, path string) []block {
	tb.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var out []block
	var open *block
	indent, paragraph := "", []string{}
	for i, line := range strings.Split(string(src), "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case m != nil && open == nil:
			open = &block{line: i + 1, lang: m[2], before: strings.Join(paragraph, " ")}
			indent, paragraph = m[1], nil
		case m != nil:
			out = append(out, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		case strings.TrimSpace(line) == "" && len(paragraph) > 0 && !strings.HasSuffix(paragraph[len(paragraph)-1], ":"):
			paragraph = nil
		case strings.TrimSpace(line) != "":
			paragraph = append(paragraph, strings.TrimSpace(line))
		}
	}
	if open != nil {
		tb.Fatalf("%s: the block that begins in line %d doesn't end", path, open.line)
	}
	return out
}

// between keeps the blocks from the heading that begins with one text to that which
// begins with another.
func between(tb testing.TB, path, from, to string, list []block) []block {
	tb.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	first, last := 0, 0
	for i, line := range strings.Split(string(src), "\n") {
		switch {
		case first == 0 && strings.HasPrefix(line, from):
			first = i + 1
		case first > 0 && last == 0 && strings.HasPrefix(line, to):
			last = i + 1
		}
	}
	if first == 0 || last == 0 {
		tb.Fatalf("%s: no heading %q, or none %q after it", path, from, to)
	}
	var out []block
	for _, b := range list {
		if b.line > first && b.line < last {
			out = append(out, b)
		}
	}
	return out
}

var named = regexp.MustCompile("`([a-zA-Z0-9_./-]+\\.[a-z]+)`:?")

// file is the file that the paragraph before a block names last; "": none.
func (b *block) file() string {
	list := named.FindAllStringSubmatch(b.before, -1)
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1][1]
}

// where a block stands.
func (b *block) where(path string) string { return fmt.Sprintf("%s:%d", filepath.Base(path), b.line) }

// pattern makes a regular expression of a line that a document shows.
func pattern(line string) string {
	p := regexp.QuoteMeta(strings.Join(strings.Fields(line), " "))
	for _, r := range []struct{ what, as string }{
		{`[0-9a-f]{32,64}`, `[0-9a-f]{32,64}`},
		{`\d{4}-\d{2}-\d{2}T[0-9:\\.]+Z`, `\d{4}-\d{2}-\d{2}T[0-9:.]+Z`},
		{`\d{4}-\d{2}-\d{2}`, `\d{4}-\d{2}-\d{2}`},
		{`\d{4}-\d{2}`, `\d{4}-\d{2}`},
		{`in [0-9]+\\\.[0-9] s`, `in [0-9.]+ s`},
		{`─+`, `─+`},
		{`…`, `.*`},
	} {
		p = regexp.MustCompile(r.what).ReplaceAllLiteralString(p, r.as)
	}
	return p
}

// says tells whether an output is what a document shows, and else where it isn't.
func says(output, shown string) error {
	var p strings.Builder
	p.WriteString(`^`)
	for line := range strings.SplitSeq(strings.TrimRight(shown, "\n"), "\n") {
		if strings.TrimSpace(line) == "…" {
			p.WriteString(`(?:[^\n]*\n)*`)
			continue
		}
		p.WriteString(pattern(line) + `\n`)
	}
	p.WriteString(`$`)
	var got strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(output, "\n"), "\n") {
		got.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	if regexp.MustCompile(p.String()).MatchString(got.String()) {
		return nil
	}
	return fmt.Errorf("it says\n%s\nand the document shows\n%s", output, shown) //nolint:err113 // shown by a test
}
