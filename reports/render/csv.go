package render

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// CSV writes lines by RFC 4180, in UTF-8. A cell that a spreadsheet might take
// for a formula gets an apostrophe in front, unless it is a plain number.
func CSV(w io.Writer, header []string, lines [][]string) error {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	if err := c.Write(header); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	for _, line := range lines {
		safe := make([]string, len(line))
		for i, cell := range line {
			safe[i] = SafeCell(cell)
		}
		if err := c.Write(safe); err != nil {
			return fmt.Errorf("write CSV: %w", err)
		}
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// ByteOrderMark begins a CSV file for programs that take UTF-8 for something else without
// one: Excel.
func ByteOrderMark(w io.Writer) error {
	if _, err := io.WriteString(w, "\uFEFF"); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

// formulaStarts are what spreadsheets take for the beginning of a formula, at
// once or once a blank before it is dropped; the wide forms are turned into the
// narrow ones by some.
const formulaStarts = "=+-@\t\r\n＝＋－＠"

// SafeCell puts an apostrophe in front of what could be run as a formula.
func SafeCell(s string) string {
	first, _ := utf8.DecodeRuneInString(s)
	if s == "" || !strings.ContainsRune(formulaStarts, first) || plainNumber(s) {
		return s
	}
	return "'" + s
}

// plainNumber tells whether s is a decimal such as -12.50.
func plainNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole, frac, dot := strings.Cut(s, ".")
	return digits(whole) && (!dot || digits(frac))
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
