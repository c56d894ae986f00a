package testengine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
)

// Copy makes in the test's database what fill makes in an empty one: tables,
// views, rows. fill is called once in a process, by the first test, so each
// caller's must make the same. It is for schemas: what many statements have led
// to takes one for each table and view.
func (e *Engines) Copy(tb testing.TB, fill func(e *Engines) error) {
	tb.Helper()
	copied.once.Do(func() { copied.err = copied.make(tb, e, fill) })
	if copied.err != nil {
		tb.Fatalf("make the database that others are copies of: %v", copied.err)
	}
	statements := make([]string, 0, len(copied.creates)+len(copied.filled))
	for _, create := range copied.creates {
		statements = append(statements, strings.ReplaceAll(create, copied.database, e.Database))
	}
	for _, table := range copied.filled {
		statements = append(statements, "INSERT INTO "+e.Database+"."+table+" SELECT * FROM "+copied.database+"."+table)
	}
	options := e.ClickHouseOptions(tb)
	options.Settings = clickhouse.Settings{"fsync_metadata": 0}
	conn, err := clickhouse.Open(options)
	if err != nil {
		tb.Fatalf("open a ClickHouse client: %v", err)
	}
	defer func() { _ = conn.Close() }()
	for _, s := range statements {
		if err := conn.Exec(tb.Context(), s); err != nil {
			tb.Fatalf("copy database %s: %v", copied.database, err)
		}
	}
}

// copied is the database that others are copies of.
var copied original //nolint:gochecknoglobals // of the process's one engine

type original struct {
	once     sync.Once
	err      error
	options  *clickhouse.Options
	database string
	creates  []string // tables, then what reads them
	filled   []string // tables that hold rows
}

func (o *original) make(tb testing.TB, e *Engines, fill func(e *Engines) error) error {
	tb.Helper()
	of := *e
	of.Database = "copied_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	o.database, o.options = of.Database, e.ClickHouseOptions(tb)
	o.options.Auth.Database = "default"
	conn, err := clickhouse.Open(o.options)
	if err != nil {
		return fmt.Errorf("open a client: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Exec(tb.Context(), "CREATE DATABASE "+o.database); err != nil {
		return fmt.Errorf("create it: %w", err)
	}
	if err := fill(&of); err != nil {
		return fmt.Errorf("fill it: %w", err)
	}
	return o.read(tb.Context(), conn)
}

func (o *original) read(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.Query(ctx, `SELECT name, create_table_query, ifNull(total_rows, 0) > 0 AND engine LIKE '%MergeTree' FROM system.tables
		WHERE database = '`+o.database+`' ORDER BY engine LIKE '%View', metadata_modification_time, name`)
	if err != nil {
		return fmt.Errorf("read its schema: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name, create string
		var filled bool
		if err := rows.Scan(&name, &create, &filled); err != nil {
			return fmt.Errorf("read its schema: %w", err)
		}
		o.creates = append(o.creates, create)
		if filled {
			o.filled = append(o.filled, name)
		}
	}
	return rows.Err()
}

// drop it, which outlives the process on a server that was there before.
func (o *original) drop() error {
	if o.options == nil {
		return nil
	}
	conn, err := clickhouse.Open(o.options)
	if err != nil {
		return fmt.Errorf("open a client: %w", err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+o.database); err != nil {
		return fmt.Errorf("drop database %s: %w", o.database, err)
	}
	return nil
}
