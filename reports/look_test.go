package reports

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// look keeps the reports of every audience in a folder, to be looked at:
// go test ./reports -run Look -look /tmp/reports.
var look = flag.String("look", "", "folder to write sample reports to")

func TestLookOfEveryReport(t *testing.T) {
	t.Parallel()
	out := *look
	if out == "" {
		out = t.TempDir()
	}
	w, _ := seeded(t)
	for base, q := range map[string]Request{
		"acme-2026-11-statement":               {Parent: "acme"},
		"globex-2026-11-statement":             {Parent: "globex", Audience: "globex"},
		"globex-2026-11-activity-overview":     {Parent: "globex", Redacted: true},
		"acme-marketing-2026-11-statement":     {Parent: "acme", Audience: "acme-marketing"},
		"acme-support-2026-11-activity":        {Parent: "acme", Audience: "acme-support", Redacted: true},
		"acme-franchise-2026-11-activity":      {Audience: "acme-franchise"},
		"globex-shop-2026-11-activity":         {Parent: "globex", Audience: "globex-shop"},
		"acme-2026-11-02_2026-11-08-statement": {Parent: "acme", Period: "2026-11-02..2026-11-08"},
		"globex-2026-10-statement":             {Parent: "globex", Period: "2026-10"},
	} {
		q.Formats, q.Out = []string{FormatCSV, FormatJSON, FormatHTML, FormatXLSX, FormatPDF, FormatCSV}, out
		if q.Period == "" {
			q.Period = "2026-11"
		}
		list, err := w.reporter().Run(t.Context(), q)
		require.NoError(t, err)
		require.Len(t, list, 5)
		for _, f := range list {
			require.Equal(t, base+"."+f.Format, filepath.Base(f.Path))
			require.NotZero(t, f.Bytes)
		}
	}
}
