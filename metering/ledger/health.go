package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/meterd/meterd/sql"
)

// Disk is one of ClickHouse's, in bytes.
type Disk struct {
	Path        string
	Free, Total uint64
}

// Disks are those that ClickHouse writes to, as far as they have a bound.
func (l *Ledger) Disks(ctx context.Context) (out []Disk, err error) {
	err = l.each(ctx, "disks", nil, func(r driver.Rows) error {
		var d Disk
		err := r.Scan(&d.Path, &d.Free, &d.Total)
		out = append(out, d)
		return err
	})
	return out, err
}

// codeNoTable is ClickHouse's for a table that isn't there.
const codeNoTable = 60

// Memory is that of ClickHouse's machine, in bytes; total 0 where it doesn't say,
// as the embedded engine.
func (l *Ledger) Memory(ctx context.Context) (available, total int64, err error) {
	err = l.each(ctx, "os_memory", nil, func(r driver.Rows) error { return r.Scan(&available, &total) })
	if err != nil && code(err) == codeNoTable {
		err = nil
	}
	return available, total, err
}

// FailingMutations names changes of stored rows (of a migration, or of
// retention) that fail again and again, with the reason, ten at most.
func (l *Ledger) FailingMutations(ctx context.Context) (out []string, err error) {
	err = l.each(ctx, "mutations_failing", map[string]string{"database": l.database}, func(r driver.Rows) error {
		var table, id, reason string
		err := r.Scan(&table, &id, &reason)
		reason, _, _ = strings.Cut(reason, "\n")
		out = append(out, fmt.Sprintf("%s of %s: %s", id, table, reason))
		return err
	})
	return out, err
}

// SchemaGap compares the migrations that were applied with those of this
// binary: due has what is missing, unknown what a newer one has applied.
func (l *Ledger) SchemaGap(ctx context.Context) (due, unknown []string, err error) {
	if err := l.each(ctx, "migrations", nil, func(r driver.Rows) error {
		var name string
		err := r.Scan(&name)
		unknown = append(unknown, name)
		return err
	}); err != nil {
		return nil, nil, err
	}
	all, err := sql.Migrations()
	if err != nil {
		return nil, nil, err
	}
	for _, m := range all {
		if i := slices.Index(unknown, m.Name); i >= 0 {
			unknown = slices.Delete(unknown, i, i+1)
		} else {
			due = append(due, m.Name)
		}
	}
	return due, unknown, nil
}

// Probe tables are named so; one that is older than probeMax is of who was killed.
const (
	probePrefix = "probe_"
	probeMax    = time.Hour
)

// Probe makes a table, writes a row through to the disk and drops it all: an
// error says that ClickHouse can't store now.
func (l *Ledger) Probe(ctx context.Context) error {
	name := probePrefix + strings.ReplaceAll(uuid.NewString(), "-", "")
	if err := l.probe(ctx, "probe_make", name); err != nil {
		return err
	}
	err := l.probe(ctx, "probe_write", name)
	dropping, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeDropMax) // though ctx has ended
	defer cancel()
	return errors.Join(err, l.probe(dropping, "probe_drop", name))
}

// probeDropMax bounds what undoes a probe.
const probeDropMax = 2 * time.Second

func (l *Ledger) probe(ctx context.Context, query, table string) error {
	return l.server.Exec(ctx, query, strings.ReplaceAll(sql.Query(query), "{probe}", table), nil)
}

// SweepProbes drops what killed probes have left.
func (l *Ledger) SweepProbes(ctx context.Context) error {
	params := map[string]string{"database": l.database, "prefix": probePrefix, "before": strconv.FormatInt(time.Now().Add(-probeMax).Unix(), 10)} //nolint:forbidigo // as ClickHouse dates its tables
	var left []string
	err := l.each(ctx, "probes_left", params, func(r driver.Rows) error {
		var name string
		err := r.Scan(&name)
		left = append(left, name)
		return err
	})
	for _, name := range left {
		err = errors.Join(err, l.probe(ctx, "probe_drop", name))
	}
	return err
}
