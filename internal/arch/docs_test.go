package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A citation in a comment: a document and, after a comma, the heading of a part of it.
var (
	citation   = regexp.MustCompile(`\b((?:docs/)?[A-Za-z-]+\.md)\b(, [A-Z])?`)
	continued  = regexp.MustCompile(`\n[ \t]*(?://|--|#) ?`)
	headingsOf = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// TestCitationsExist: a document that a comment cites is there, and so is the heading.
func TestCitationsExist(t *testing.T) {
	t.Parallel()
	const root = "../.."
	headings := map[string][]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			rel, err := filepath.Rel(root, path)
			require.NoError(t, err)
			headings[rel] = []string{}
			for _, m := range headingsOf.FindAllStringSubmatch(string(text), -1) {
				headings[rel] = append(headings[rel], m[1])
			}
		}
	}
	require.Contains(t, headings, "docs/protocol.md")
	cited := 0
	for _, ext := range []string{".go", ".lua", ".sql"} {
		walk(t, root, ext, func(path string, text []byte) {
			for _, line := range comments(string(text)) {
				for _, at := range citation.FindAllStringSubmatchIndex(line, -1) {
					doc := line[at[2]:at[3]]
					known, ok := headings[doc]
					if !ok {
						if strings.HasPrefix(doc, "docs/") || doc == strings.ToUpper(strings.TrimSuffix(doc, ".md"))+".md" {
							t.Errorf("%s cites %s: there is no such document", path, doc)
						}
						continue
					}
					if at[4] < 0 {
						continue
					}
					cited++
					rest := line[at[3]+len(", "):]
					if !slices.ContainsFunc(known, func(h string) bool { return strings.HasPrefix(rest, h) }) {
						t.Errorf("%s cites %s, %.40s…: it has no such heading", path, doc, rest)
					}
				}
			}
		})
	}
	require.Greater(t, cited, 40)
}

// TestWhereToLook: what CONTRIBUTING points at is there, and it answers twenty questions.
func TestWhereToLook(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../CONTRIBUTING.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(b), "\n## Where to look\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := strings.Count(table, "\n| ") - 1
	require.GreaterOrEqual(t, rows, 20)
	for _, m := range regexp.MustCompile("`([a-z_/]+(?:\\.[a-z]+)?)`").FindAllStringSubmatch(table, -1) {
		if path := m[1]; strings.Contains(path, "/") {
			_, err := os.Stat(filepath.Join("../..", path))
			require.NoError(t, err)
		}
	}
}

// comments of a file: what stands behind a comment's mark, lines that go on joined.
func comments(text string) []string {
	var out []string
	for line := range strings.SplitSeq(continued.ReplaceAllString(text, "\x00"), "\n") {
		if i := strings.IndexAny(line, "\x00"); i >= 0 {
			out = append(out, strings.ReplaceAll(line[i+1:], "\x00", " "))
		} else if _, comment, ok := strings.Cut(line, "// "); ok {
			out = append(out, comment)
		}
	}
	return out
}
