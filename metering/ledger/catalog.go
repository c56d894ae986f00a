package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/meterd/meterd/metering"
)

// CatalogNumber is the number of the newest apply, 0 before the first.
func (l *Ledger) CatalogNumber(ctx context.Context) (int64, error) {
	var n uint64
	err := l.each(ctx, "catalog_number", nil, func(r driver.Rows) error { return r.Scan(&n) })
	return int64(n), err
}

// Snapshot loads the newest version of every account and plan.
func (l *Ledger) Snapshot(ctx context.Context) (*metering.Snapshot, error) {
	var accounts []*metering.Account
	var plans []*metering.Plan
	var newest int64
	var kept retention
	opened := map[string]metering.MonthStarts{}
	err := l.each(ctx, "catalog", nil, func(r driver.Rows) error {
		var kind, doc string
		var number, first uint64
		if err := r.Scan(&kind, &doc, &number, &first); err != nil {
			return err
		}
		newest = max(newest, int64(number))
		switch kind {
		case "account":
			a := &metering.Account{}
			if err := json.Unmarshal([]byte(doc), a); err != nil {
				return fmt.Errorf("stored account: %w", err)
			}
			a.Catalog, a.First = int64(number), int64(first)
			accounts = append(accounts, a)
		case monthsKind:
			var m openedMonths
			if err := json.Unmarshal([]byte(doc), &m); err != nil {
				return fmt.Errorf("stored months: %w", err)
			}
			opened[m.ParentID] = m.MonthStarts
		case retentionKind:
			if err := json.Unmarshal([]byte(doc), &kept); err != nil {
				return fmt.Errorf("stored retention: %w", err)
			}
		case "plan":
			p := &metering.Plan{}
			if err := json.Unmarshal([]byte(doc), p); err != nil {
				return fmt.Errorf("stored plan: %w", err)
			}
			p.Catalog = int64(number)
			plans = append(plans, p)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load accounts and plans: %w", err)
	}
	for _, a := range accounts {
		a.Opened = opened[a.ID]
	}
	snap := metering.NewSnapshot(newest, accounts, plans)
	snap.RowsFrom, snap.RowsGone = kept.RowsFrom, kept.RowsGone
	return snap, nil
}

// monthsKind of the catalog's documents on the months that a parent has opened.
const monthsKind = "months"

type openedMonths struct {
	metering.MonthStarts

	ParentID string `json:"parent_id"`
}

// document of the catalog.
type document struct{ kind, id, parent, doc string }

// ErrNumberTaken says that another has stored documents under this number of the
// catalog at the same time. Who has read that number already reads no more of it, so what was
// stored has to be stored under the next.
var ErrNumberTaken = errors.New("another changes accounts at the same time")

func catalogTable(number int64, now time.Time) *table[document] {
	return &table[document]{"catalog", []column[document]{
		col("kind", func(d *document) string { return d.kind }),
		col("id", func(d *document) string { return d.id }),
		col("number", func(*document) uint64 { return uint64(number) }),
		col("parent_id", func(d *document) string { return d.parent }),
		col("doc", func(d *document) string { return d.doc }),
		col("applied_at", func(*document) time.Time { return now }),
	}}
}

// saveDocuments stores documents under a number, which must be theirs alone.
func (l *Ledger) saveDocuments(ctx context.Context, number int64, docs []document, now time.Time) error {
	if len(docs) == 0 {
		return nil
	}
	own := make(map[document]bool, len(docs))
	for _, d := range docs {
		own[d] = true
	}
	if err := catalogTable(number, now).insert(ctx, l, docs); err != nil {
		return err
	}
	found := make(map[document]bool, len(docs))
	err := l.each(ctx, "catalog_under", map[string]string{"number": strconv.FormatInt(number, 10)}, func(r driver.Rows) error {
		var d document
		err := r.Scan(&d.kind, &d.id, &d.parent, &d.doc)
		found[d] = true
		return err
	})
	if err == nil && !maps.Equal(own, found) {
		err = fmt.Errorf("catalog %d: %w", number, ErrNumberTaken)
	}
	return err
}

// SaveOpened stores, under the catalog's next number, when parents' months
// start: every charge from then on is by a snapshot that has it. ErrNumberTaken.
func (l *Ledger) SaveOpened(ctx context.Context, number int64, opened map[string]metering.MonthStarts, now time.Time) error {
	docs := make([]document, 0, len(opened))
	for _, id := range slices.Sorted(maps.Keys(opened)) {
		doc, err := json.Marshal(openedMonths{opened[id], id})
		if err != nil {
			return fmt.Errorf("store months of %s: %w", id, err)
		}
		docs = append(docs, document{kind: monthsKind, id: id, doc: string(doc)})
	}
	return l.saveDocuments(ctx, number, docs, now)
}

// SaveCatalog stores new versions of accounts and plans under a number.
// ErrNumberTaken.
func (l *Ledger) SaveCatalog(ctx context.Context, number int64, accounts []*metering.Account, plans []*metering.Plan, now time.Time) error {
	docs := make([]document, 0, len(accounts)+len(plans))
	add := func(kind, id, parent string, v any) error {
		doc, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("store %s %s: %w", kind, id, err)
		}
		docs = append(docs, document{kind, id, parent, string(doc)})
		return nil
	}
	for _, p := range plans {
		if err := add("plan", p.ID, "", p); err != nil {
			return err
		}
	}
	for _, a := range accounts {
		if err := add("account", a.ID, a.ParentID, a); err != nil {
			return err
		}
	}
	return l.saveDocuments(ctx, number, docs, now)
}
