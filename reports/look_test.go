package reports

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLook(t *testing.T) {
	out := os.Getenv("LOOK")
	w := newWorld(t)
	w.seed()
	if out == "" {
		out = t.TempDir()
	}
	for _, q := range []Request{{Parent: "acme"}, {Parent: "globex", Redacted: true}, {Parent: "globex"}, {Parent: "acme", Audience: "acme-marketing"}, {Audience: "acme-franchise"}, {Audience: "globex-shop"}, {Parent: canaryParent}, {Audience: "lone-shop"}} {
		q.Period, q.Formats, q.Out = "2026-11", []string{"csv", "json", "html", "xlsx"}, out
		files, err := w.reporter().Run(t.Context(), q)
		require.NoError(t, err)
		for _, f := range files {
			t.Log(f.Path, f.Bytes)
		}
	}
}
