package ledger

import (
	"context"
	"strings"
)

// table says how values of T become rows of a table: each column by its name, with
// what of a value goes into it. table_test.go inserts a row by each. The rows of
// charges have a block of their own instead (rows.go): they are many.
type table[T any] struct {
	name    string
	columns []column[T]
}

// column is one of a table's.
type column[T any] struct {
	name string
	of   func(list []T) any // its values, a slice of what ClickHouse takes
}

// col makes a column whose values are made by f.
func col[T, V any](name string, f func(x *T) V) column[T] {
	return column[T]{name, func(list []T) any {
		out := make([]V, len(list))
		for i := range list {
			out[i] = f(&list[i])
		}
		return out
	}}
}

// insert stores a list in one insert; none is none.
func (t *table[T]) insert(ctx context.Context, l *Ledger, list []T) error {
	if len(list) == 0 {
		return nil
	}
	names, data := make([]string, len(t.columns)), make([]any, len(t.columns))
	for i, c := range t.columns {
		names[i], data[i] = c.name, c.of(list)
	}
	return l.insertColumns(ctx, t.name, strings.Join(names, ", "), data...)
}
