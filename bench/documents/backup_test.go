package documents_test

import (
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"
)

// client stands for clickhouse-client, which isn't installed with the tests' engine:
// it sends the query to where the test's is.
const client = `#!/usr/bin/env bash
while [ $# -gt 1 ]; do shift; done
curl --silent --show-error --fail-with-body "$CLICKHOUSE" --data-binary "$1"
`

// TestBackupOfServers runs what the document prints for a backup of real servers, and
// for restoring it: the ledger is as it was, Redis is made anew from it, and what was
// sent since the backup is metered when it comes again.
func TestBackupOfServers(t *testing.T) {
	t.Parallel()
	const path = "../../docs/operators.md"
	n := servers(t)
	bucket := s3mem.New()
	require.NoError(t, bucket.CreateBucket("backups"))
	store := httptest.NewServer(gofakes3.New(bucket).Server())
	t.Cleanup(store.Close)
	require.NoError(t, os.WriteFile(filepath.Join(n.dir, "bin", "clickhouse-client"), []byte(client), 0o700))
	n.run("addresses", "export CLICKHOUSE="+strings.TrimPrefix(n.env[1], "METERD_CLICKHOUSE="))
	var list []block
	for _, b := range blocks(t, path) {
		if strings.Contains(b.text, "clickhouse-client") {
			list = append(list, b)
		}
	}
	require.Len(t, list, 2)
	host, port, err := net.SplitHostPort(n.engines.RedisAddr)
	require.NoError(t, err)
	list = edited(t, path, list, []edit{
		{"https://meterd-backups.s3.eu-south-1.amazonaws.com", store.URL + "/backups"},
		{"$KEY', '$SECRET'", "key', 'secret'"},
		{"BACKUP DATABASE \\`meterd\\`", "BACKUP DATABASE " + n.engines.Database},
		{"DROP DATABASE meterd", "DROP DATABASE " + n.engines.Database},
		{"RESTORE DATABASE \\`meterd\\`", "RESTORE DATABASE " + n.engines.Database},
		{"=change-me redis-cli -h redis.internal", "=" + n.engines.RedisPassword + " redis-cli -h " + host + " -p " + port},
	})

	worker := n.worker(true)
	n.run("set up", "meterd accounts apply -f accounts.yaml\nmeterd wallet topup acme 10.00 --ref before")
	before, since := n.message("acme-support", "before"), n.message("acme-support", "since")
	n.write("before.jsonl", before)
	n.write("since.jsonl", since)
	n.run("before", "meterd enqueue before.jsonl --wait")
	require.Contains(t, n.run(list[0].where(path), list[0].text), "BACKUP_CREATED")
	n.run("since", "meterd enqueue since.jsonl --wait\nmeterd wallet topup acme 5.00 --ref since\nmeterd reconcile")

	worker.Stop(t)
	out := n.run(list[1].where(path), list[1].text)
	require.Regexp(t, `RESTORED\n(.*\n)*OK\n`, out)
	n.worker(true)
	n.named()
	n.says("meterd wallet show acme --json", `"balance":"9.99"`)
	n.says("meterd enqueue before.jsonl --wait --json", `"duplicates":1`)
	n.says("meterd enqueue since.jsonl --wait --json", `"stored":1`)
	n.says("meterd wallet topup acme 10.00 --ref before --json", `"applied":false`)
	n.says("meterd wallet topup acme 5.00 --ref since --json", `"applied":true`)
	n.says("meterd wallet show acme --json", `"balance":"14.98"`)
	n.says("meterd reconcile", "0 fields had drifted")
}
