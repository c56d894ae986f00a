// Package schematest gives tests of other packages a database with the ledger's
// schema. What the migrations are worth, the ledger's own tests decide.
//
// It is a part of meterd, and no stable interface.
package schematest

import (
	"context"
	"errors"
	"testing"

	"github.com/meterd/meterd/internal/testengine"
	"github.com/meterd/meterd/metering/ledger"
)

// Make makes the tables and views in a test's database: as migrations do, in half
// their statements.
func Make(tb testing.TB, e *testengine.Engines) {
	tb.Helper()
	e.Copy(tb, func(e *testengine.Engines) error {
		l, err := ledger.Open(ledger.Options{URL: e.ClickHouseAddress(), Password: e.ClickHousePassword, Database: e.Database})
		if err != nil {
			return err
		}
		_, err = l.Migrate(context.Background())
		return errors.Join(err, l.Close())
	})
}
