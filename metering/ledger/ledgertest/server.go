package ledgertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"
)

// Server is a ClickHouse of memory (ledger.Server). It may be used by several
// goroutines.
type Server struct {
	// Refuse tells whether ClickHouse refuses a row for good. nil: none.
	Refuse func(table string, r Row) bool

	mu     sync.Mutex
	tables map[string][]Row // in the order of their inserts, merged or not
}

// Row of a table: strings, times, decimals, bools, maps; integers as uint64.
type Row map[string]any

// New returns a server with empty tables.
func New() *Server { return &Server{tables: map[string][]Row{}} }

// Fork is a server of its own with the same content.
func (s *Server) Fork() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := New()
	for name, rows := range s.tables {
		out.tables[name] = slices.Clone(rows) // rows never change
	}
	return out
}

// layout of a replacing table: what makes two rows the same, and which stands.
type layout struct {
	key       []string
	version   string // empty: the last
	sign      string // of a collapsing one
	partition func(Row) string
}

func layouts() map[string]layout {
	month := func(r Row) string { return r.time("occurred_at").Format("200601") }
	return map[string]layout{
		"catalog":      {key: []string{"kind", "id", "number"}},
		"records":      {key: []string{"account_id", "kind", "id"}, version: "epoch", partition: month},
		"dirty_hours":  {key: []string{"account_id", "hour"}, version: "marked_at"},
		"quarantine":   {key: []string{"id"}, version: "version"},
		"waiting":      {key: []string{"account_id", "refers_to", "id"}, version: "version"},
		"transfers":    {key: []string{"ref", "line"}, version: "epoch"},
		"states":       {key: []string{"account_id", "epoch"}},
		"deliveries":   {key: []string{"account_id", "event", "epoch", "destination"}, version: "delivered_at"},
		"alerts":       {key: []string{"account_id", "limit_kind", "mark", "share", "epoch"}},
		"epochs":       {key: []string{"partition", "epoch"}},
		"findings":     {},
		"breakers":     {key: []string{"partition", "changed_at"}},
		"closed_lines": {key: []string{"parent_id", "period", "account_id", "line"}},
		"closings":     {key: []string{"parent_id", "period"}, version: "version"},
		"statuses":     {key: []string{"account_id", "message_id", "id"}, version: "epoch"},
		"rerates":      {key: []string{"ref"}, version: "booked_at"},
		"rerate_runs":  {key: []string{"parent_id", "run"}, version: "ended"},
		"refund_waits": {key: []string{"account_id", "refers_to", "id", "since"}, sign: "sign"},
		"refund_looks": {key: []string{"again", "due", "parent_id", "account_id", "message_id", "arrived"}, sign: "sign"},
	}
}

// Insert implements ledger.Server: the rows stand when it returns.
func (s *Server) Insert(_ context.Context, table, columns string, data []any) error {
	b, err := s.Block(table, columns, data)
	if err != nil {
		return err
	}
	for i := range b.Parts() {
		b.Land(i)
	}
	return nil
}

// Block is an insert that ClickHouse has taken and that stands part by part:
// one for each partition.
type Block struct {
	s     *Server
	table string
	parts [][]Row
	read  func() []Row // of a statement: its rows, when it lands
}

// Block checks an insert. An error refuses it for good.
func (s *Server) Block(table, columns string, data []any) (*Block, error) {
	l, ok := layouts()[table]
	if !ok {
		return nil, fmt.Errorf("ledgertest: no table %q", table)
	}
	names := strings.Split(columns, ",")
	if len(names) != len(data) {
		return nil, fmt.Errorf("ledgertest: %d columns for %d names", len(data), len(names))
	}
	var rows []Row
	for i, name := range names {
		values, err := column(data[i])
		if err != nil {
			return nil, err
		}
		if rows == nil {
			rows = make([]Row, len(values))
			for j := range rows {
				rows[j] = make(Row, len(names))
			}
		}
		for j, v := range values {
			rows[j][strings.TrimSpace(name)] = v
		}
	}
	b := &Block{s: s, table: table}
	parts := map[string][]Row{}
	for _, r := range rows {
		if s.Refuse != nil && s.Refuse(table, r) {
			return nil, &clickhouse.Exception{Code: 469, Message: "a value is refused"}
		}
		name := ""
		if l.partition != nil {
			name = l.partition(r)
		}
		parts[name] = append(parts[name], r)
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		b.parts = append(b.parts, parts[name])
	}
	return b, nil
}

// Table that it is for.
func (b *Block) Table() string { return b.table }

// Parts is their number.
func (b *Block) Parts() int { return len(b.parts) }

// Land makes a part stand.
func (b *Block) Land(i int) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if b.read != nil {
		b.parts[i] = b.read()
	}
	b.s.tables[b.table] = append(b.s.tables[b.table], b.parts[i]...)
}

// Merge collapses duplicates, as ClickHouse does when it likes.
func (s *Server) Merge(table string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables[table] = s.final(table)
}

// Rows of a table as they stand (FINAL).
func (s *Server) Rows(table string) []Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.final(table)
}

func (s *Server) final(table string) []Row {
	l := layouts()[table]
	if l.key == nil {
		return slices.Clone(s.tables[table])
	}
	index := map[string]int{}
	var out []Row
	var b strings.Builder
	for _, r := range s.tables[table] {
		b.Reset()
		for _, k := range l.key {
			_, _ = fmt.Fprintf(&b, "%v\x00", r[k])
		}
		if l.partition != nil {
			b.WriteString(l.partition(r))
		}
		i, ok := index[b.String()]
		switch {
		case !ok:
			index[b.String()] = len(out)
			out = append(out, r)
		case l.sign != "":
			sum, _ := out[i][l.sign].(int64)
			n, _ := r[l.sign].(int64)
			out[i] = r.with(l.sign, sum+n)
		case l.version == "" || !older(r[l.version], out[i][l.version]):
			out[i] = r
		}
	}
	if l.sign != "" {
		out = slices.DeleteFunc(out, func(r Row) bool { return r[l.sign] == int64(0) })
	}
	return out
}

func older(a, b any) bool {
	switch a := a.(type) {
	case uint64:
		n, _ := b.(uint64)
		return a < n
	case time.Time:
		t, _ := b.(time.Time)
		return a.Before(t)
	}
	return false
}

// Query implements ledger.Server.
func (s *Server) Query(_ context.Context, name, _ string, params map[string]string, scan func(driver.Rows) error) error {
	f := queries()[name]
	if f == nil {
		return fmt.Errorf("ledgertest: no query %q", name)
	}
	s.mu.Lock()
	list := f(s, params)
	s.mu.Unlock()
	for _, r := range list {
		if err := scan(result{values: r}); err != nil {
			return fmt.Errorf("query %s: %w", name, err)
		}
	}
	return nil
}

// result is one row of a query.
type result struct {
	driver.Rows

	values []any
}

// Scan implements driver.Rows.
func (r result) Scan(dest ...any) error {
	if len(dest) != len(r.values) {
		return fmt.Errorf("ledgertest: %d values for %d destinations", len(r.values), len(dest))
	}
	for i, d := range dest {
		v := r.values[i]
		n, isNumber := v.(uint64)
		ok := isNumber
		switch d := d.(type) {
		case *string:
			*d, ok = v.(string)
		case *decimal.Decimal:
			*d, ok = v.(decimal.Decimal)
		case *time.Time:
			*d, ok = v.(time.Time)
		case *map[string]string:
			*d, ok = v.(map[string]string)
		case *bool:
			*d, ok = v.(bool)
		case *uint8:
			*d = uint8(n)
		case *uint16:
			*d = uint16(n)
		case *uint32:
			*d = uint32(n)
		case *uint64:
			*d = n
		case *int64:
			*d = int64(n)
		default:
			ok = false
		}
		if !ok {
			return fmt.Errorf("ledgertest: column %d: %T takes no %T", i+1, d, v)
		}
	}
	return nil
}

// column turns an insert's column into values.
func column(data any) ([]any, error) {
	switch c := data.(type) {
	case interface{ Values() []any }:
		return c.Values(), nil
	case []string:
		return values(c, func(v string) any { return v }), nil
	case []time.Time:
		return values(c, func(v time.Time) any { return v.UTC().Truncate(time.Millisecond) }), nil
	case []decimal.Decimal:
		return values(c, func(v decimal.Decimal) any { return v }), nil
	case []*decimal.Decimal: // NULL: nil
		return values(c, func(v *decimal.Decimal) any {
			if v == nil {
				return nil
			}
			return *v
		}), nil
	case []bool:
		return values(c, func(v bool) any { return v }), nil
	case []map[string]string:
		return values(c, func(v map[string]string) any { return maps.Clone(v) }), nil
	case []int8:
		return values(c, func(v int8) any { return int64(v) }), nil
	case []uint8:
		return values(c, number[uint8]), nil
	case []uint16:
		return values(c, number[uint16]), nil
	case []uint32:
		return values(c, number[uint32]), nil
	case []uint64:
		return values(c, number[uint64]), nil
	}
	return nil, fmt.Errorf("ledgertest: a column of %T", data)
}

func values[T any](list []T, f func(T) any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

func number[T uint8 | uint16 | uint32 | uint64](v T) any { return uint64(v) }

func (r Row) str(c string) string {
	v, _ := r[c].(string)
	return v
}

func (r Row) num(c string) uint64 {
	v, _ := r[c].(uint64)
	return v
}

func (r Row) time(c string) time.Time {
	v, _ := r[c].(time.Time)
	return v
}

func (r Row) dec(c string) decimal.Decimal {
	v, _ := r[c].(decimal.Decimal)
	return v
}
