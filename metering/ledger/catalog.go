package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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
	opened := map[string]metering.Opened{}
	err := l.each(ctx, "catalog", nil, func(r driver.Rows) error {
		var kind, doc string
		var number uint64
		if err := r.Scan(&kind, &doc, &number); err != nil {
			return err
		}
		newest = max(newest, int64(number))
		switch kind {
		case "account":
			a := &metering.Account{}
			if err := json.Unmarshal([]byte(doc), a); err != nil {
				return fmt.Errorf("stored account: %w", err)
			}
			a.Catalog = int64(number)
			accounts = append(accounts, a)
		case monthsKind:
			var m openedMonths
			if err := json.Unmarshal([]byte(doc), &m); err != nil {
				return fmt.Errorf("stored months: %w", err)
			}
			opened[m.ParentID] = m.Opened
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
	snap.RowsFrom = kept.RowsFrom
	return snap, nil
}

// monthsKind of the catalog's documents on the months that a parent has opened.
const monthsKind = "months"

type openedMonths struct {
	metering.Opened

	ParentID string `json:"parent_id"`
}

// SaveOpened stores, under the catalog's next number, when parents' months
// start: every charge from then on is by a snapshot that has it.
func (l *Ledger) SaveOpened(ctx context.Context, number int64, opened map[string]metering.Opened, now time.Time) error {
	ids := slices.Sorted(maps.Keys(opened))
	n := len(ids)
	kinds, parents, docs, numbers, at := make([]string, n), make([]string, n), make([]string, n), make([]uint64, n), make([]time.Time, n)
	for i, id := range ids {
		doc, err := json.Marshal(openedMonths{opened[id], id})
		if err != nil {
			return fmt.Errorf("store months of %s: %w", id, err)
		}
		kinds[i], docs[i], numbers[i], at[i] = monthsKind, string(doc), uint64(number), now
	}
	return l.insertColumns(ctx, "catalog", "kind, id, number, parent_id, doc, applied_at", kinds, ids, numbers, parents, docs, at)
}

// SaveCatalog stores new versions of accounts and plans under a number.
func (l *Ledger) SaveCatalog(ctx context.Context, number int64, accounts []*metering.Account, plans []*metering.Plan, now time.Time) error {
	n := len(accounts) + len(plans)
	if n == 0 {
		return nil
	}
	kinds, ids, parents, docs := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	add := func(kind, id, parent string, v any) error {
		doc, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("store %s %s: %w", kind, id, err)
		}
		kinds, ids, parents, docs = append(kinds, kind), append(ids, id), append(parents, parent), append(docs, string(doc))
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
	numbers, at := make([]uint64, n), make([]time.Time, n)
	for i := range n {
		numbers[i], at[i] = uint64(number), now
	}
	return l.insertColumns(ctx, "catalog", "kind, id, number, parent_id, doc, applied_at", kinds, ids, numbers, parents, docs, at)
}
