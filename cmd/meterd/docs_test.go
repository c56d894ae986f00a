package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// documents are the files that people read.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, path := range paths {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			out[path] = string(b)
		}
	}
	require.NotEmpty(t, out)
	return out
}

// TestDocumentedCommands: every meterd command line in a shell block parses.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	seen := 0
	for path, text := range documents(t) {
		for _, line := range shellLines(text) {
			for _, args := range commands(line) {
				seen++
				if err := parses(args); err != nil {
					t.Errorf("%s: meterd %s: %v", path, strings.Join(args, " "), err)
				}
			}
		}
	}
	require.Positive(t, seen, "no command line found")
}

// TestEveryCommandIsListed: the README's and the interface's commands are all of them.
func TestEveryCommandIsListed(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{"README.md", "docs/interface.md"} {
		b, err := os.ReadFile(filepath.Join(root, doc))
		require.NoError(t, err)
		for _, n := range model(t).Leaves(true) {
			if path := "`" + n.FullPath(); !strings.Contains(string(b), path+"`") && !strings.Contains(string(b), path+" ") {
				t.Errorf("%s doesn't name %s`: add it to its table of commands", doc, path)
			}
		}
	}
}

// fieldWord is a JSON field in a row of the interface's commands, jsonField one in code:
// of a struct, or of a map that is printed.
var (
	fieldWord = regexp.MustCompile("`([a-z][a-z0-9_]*)`")
	jsonField = regexp.MustCompile(`(?:json:"|")([a-z][a-z0-9_]*)(?:,omitempty)?"(?:` + "`" + `|:|\])`)
)

// TestInterfaceFields: each field that docs/interface.md promises is one that a command prints.
func TestInterfaceFields(t *testing.T) {
	t.Parallel()
	printed := map[string]bool{}
	for _, pattern := range []string{".", "../../doctor", "../../reports", "../../reports/finance", "../../metering/reconcile", "../../bench/figures"} {
		paths, err := filepath.Glob(pattern + "/*.go")
		require.NoError(t, err)
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			for _, m := range jsonField.FindAllStringSubmatch(string(b), -1) {
				printed[m[1]] = true
			}
		}
	}
	doc, err := os.ReadFile(filepath.Join(root, "docs/interface.md"))
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(doc), "\n## Commands\n")
	table, _, _ = strings.Cut(table, "\n## ")
	fields := fieldWord.FindAllStringSubmatch(values.ReplaceAllString(table, ""), -1)
	require.Greater(t, len(fields), 100)
	for _, m := range fields {
		assert.True(t, printed[m[1]], "docs/interface.md promises the field %q, which nothing prints", m[1])
	}
}

// values that a field may have, in parentheses.
var values = regexp.MustCompile("\\((?:`[a-z_]+`, )*`[a-z_]+`[:;)][^)|]*")

// TestEachCommandHasAnExample: its help ends with command lines, which parse.
func TestEachCommandHasAnExample(t *testing.T) {
	t.Parallel()
	list := examples()
	for _, n := range model(t).Leaves(true) {
		path := n.FullPath()
		assert.NotEmpty(t, list[path], "no example of %s: add one to examples.go", path)
		for _, line := range list[path] {
			found := commands(line)
			assert.NotEmpty(t, found, line)
			for _, args := range found {
				assert.NoError(t, parses(args), line)
				assert.True(t, strings.HasPrefix("meterd "+strings.Join(args, " ")+" ", path+" "), "%s is an example of %s", line, path)
			}
		}
		delete(list, path)
	}
	assert.Empty(t, list, "examples of commands that there aren't")
}

// parses tells whether the command line knows these arguments.
func parses(args []string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(exits); !ok {
				panic(v)
			}
		}
	}()
	var c cli
	parser, err := kong.New(&c, kong.Name("meterd"), kong.Writers(nopWriter{}, nopWriter{}), kong.Exit(func(n int) { panic(exits(n)) }))
	if err != nil {
		return err
	}
	_, err = parser.Parse(signed(args))
	return err
}

type nopWriter struct{}

func (nopWriter) Write(p []byte) (int, error) { return len(p), nil }

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")

// shellLines of a document, continued lines joined.
func shellLines(text string) []string {
	var out []string
	for _, m := range shellBlock.FindAllStringSubmatch(text, -1) {
		joined := strings.ReplaceAll(m[1], "\\\n", " ")
		out = append(out, strings.Split(joined, "\n")...)
	}
	return out
}

// commands are the arguments of each call of meterd in a line.
func commands(line string) [][]string {
	var out [][]string
	var args []string
	in := false
	flush := func() {
		if in {
			out = append(out, args)
		}
		in, args = false, nil
	}
	skip := false
	for _, w := range words(line) {
		switch {
		case skip:
			skip = false
		case w == "|" || w == "&&" || w == "||" || w == "&" || w == ";":
			flush()
		case w == ">" || w == ">>" || w == "<" || w == "2>":
			skip = true
		case !in && (w == "meterd" || w == "bin/meterd"):
			in = true
		case in:
			args = append(args, w)
		}
	}
	flush()
	return out
}

// words splits a line as a shell does: quotes, $(…) kept whole, a comment left
// out.
func words(line string) []string {
	var out []string
	var b strings.Builder
	open, quote, depth := false, rune(0), 0
	flush := func() {
		if open {
			out = append(out, b.String())
		}
		open = false
		b.Reset()
	}
	for i, r := range line {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				b.WriteRune(r)
			}
		case depth > 0:
			b.WriteRune(r)
			if r == ')' {
				depth--
			}
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == '(' && strings.HasSuffix(line[:i], "$"):
			depth++
			b.WriteRune(r)
		case r == '#' && !open:
			return out
		case r == ' ' || r == '\t':
			flush()
		default:
			b.WriteRune(r)
			open = true
		}
	}
	flush()
	return out
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```")
)

// TestDocumentLinks: relative links lead to files and headings that are there.
func TestDocumentLinks(t *testing.T) {
	t.Parallel()
	for path, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			b, err := os.ReadFile(target)
			if st, e := os.Stat(target); e == nil && st.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s: link %s leads nowhere", path, m[1])
				continue
			}
			if anchor != "" && !anchors(string(b))[anchor] {
				t.Errorf("%s: link %s: no such heading", path, m[1])
			}
		}
	}
}

// anchors of a document's headings, as they are shown on the web.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		var b strings.Builder
		for _, r := range strings.ToLower(strings.TrimSpace(m[1])) {
			switch {
			case r == ' ':
				b.WriteByte('-')
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
				b.WriteRune(r)
			}
		}
		out[b.String()] = true
	}
	return out
}

var (
	metricDefined = regexp.MustCompile(`Name: "(meterd_[a-z_]+)"`)
	metricNamed   = regexp.MustCompile(`\bmeterd_[a-z_]+`)
	histogramPart = regexp.MustCompile(`_(bucket|sum|count)$`)
	variable      = regexp.MustCompile(`\bMETERD_[A-Z0-9_]+\b`)
)

// definedMetrics are the names of those that a worker exposes.
func definedMetrics(t *testing.T) map[string]bool {
	t.Helper()
	defined := map[string]bool{}
	for _, file := range []string{"worker/metrics/metrics.go", "internal/httpd/httpd.go"} {
		code, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		found := metricDefined.FindAllStringSubmatch(string(code), -1)
		require.NotEmpty(t, found, file)
		for _, m := range found {
			defined[m[1]] = true
		}
	}
	return defined
}

// TestDocumentedMetrics: operators.md explains every metric, and no other.
func TestDocumentedMetrics(t *testing.T) {
	t.Parallel()
	defined := definedMetrics(t)
	doc, err := os.ReadFile(filepath.Join(root, "docs/operators.md"))
	require.NoError(t, err)
	for name := range defined {
		if !strings.Contains(string(doc), "`"+name) {
			t.Errorf("docs/operators.md doesn't explain %s: add it to the table of metrics, with an alert", name)
		}
	}
	for path, text := range documents(t) {
		for _, name := range metricNamed.FindAllString(text, -1) {
			if !defined[name] && !defined[histogramPart.ReplaceAllString(name, "")] {
				t.Errorf("%s names %s, which is no metric", path, name)
			}
		}
	}
}

// TestDocumentedVariables: every METERD_… variable that a document names is
// read somewhere.
func TestDocumentedVariables(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "out") {
			return filepath.SkipDir
		}
		switch filepath.Ext(path) {
		case ".go", ".sh", ".yml":
		default:
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, v := range variable.FindAllString(string(b), -1) {
			known[v] = true
		}
		return nil
	}))
	for path, text := range documents(t) {
		for _, v := range variable.FindAllString(text, -1) {
			if !known[v] {
				t.Errorf("%s names the variable %s, which nothing reads", path, v)
			}
		}
	}
}
