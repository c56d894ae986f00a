package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ledger tells whether ClickHouse answers, and whether it stores.
func (s *System) ledger(ctx context.Context, f *findings) bool {
	ping, cancel := context.WithTimeout(ctx, pingMax)
	defer cancel()
	if !f.add("clickhouse", unreachable(s.Ledger.Ping(ping), "--clickhouse"), s.LedgerName) {
		return false
	}
	due, unknown, err := s.Ledger.SchemaGap(ctx)
	switch {
	case err != nil:
		err = fmt.Errorf("database %s has none that can be read: run `meterd migrate`, or start a worker: %w", s.Ledger.Database(), err)
	case len(due) > 0:
		err = fmt.Errorf("%s isn't applied yet: run `meterd migrate`, or start a worker of this version", strings.Join(due, ", "))
	}
	detail := "database " + s.Ledger.Database()
	if len(unknown) > 0 {
		detail += ", of a newer meterd: " + strings.Join(unknown, ", ")
	}
	if f.add("schema", err, detail) {
		f.add("clickhouse write", s.Ledger.Probe(ctx), "stored")
	}
	return err == nil
}

// diskLeast is how much of a disk must be free: a twentieth of it, or this.
const (
	diskLeast = 2 << 30
	diskShare = 20
)

// tight is an error if a disk is nearly full.
func tight(path string, free, total uint64) error {
	if least := min(total/diskShare, diskLeast); free < least {
		return fmt.Errorf("%s has %s free of %s: free some, or nothing can be stored soon", path, size(int64(free)), size(int64(total)))
	}
	return nil
}

// short is an error if a machine's memory is nearly used up.
func short(whose string, available, total int64) error {
	if available < total/diskShare {
		return fmt.Errorf("%s has %s available of %s: free some, or add some", whose, size(available), size(total))
	}
	return nil
}

// runOverdue is how late a scheduled report's run may begin.
const runOverdue = 10 * time.Minute

// overdueMost bounds how many are counted.
const overdueMost = 1000

// ledgerState looks at disks and memory, at changes of stored rows that fail, and at
// reports that should have begun.
func (s *System) ledgerState(ctx context.Context, f *findings) {
	left := s.Ledger.SweepProbes(ctx) // not with each probe: who is scraped makes many
	disks, err := s.Ledger.Disks(ctx)
	err = errors.Join(left, err)
	var rooms []string
	for _, d := range disks {
		err = errors.Join(err, tight(d.Path, d.Free, d.Total))
		rooms = append(rooms, fmt.Sprintf("%s: %s free", d.Path, size(int64(d.Free))))
	}
	f.add("clickhouse disk", err, strings.Join(rooms, "; "))
	if available, total, err := s.Ledger.Memory(ctx); err != nil || total > 0 {
		if err == nil {
			err = short("its machine", available, total)
		}
		f.add("clickhouse memory", err, size(available)+" available")
	}
	f.add("findings", s.findings(ctx), "none that nobody has looked at")
	failing, err := s.Ledger.FailingMutations(ctx)
	if err == nil && len(failing) > 0 {
		err = fmt.Errorf("a change of stored rows fails: %s: look at system.mutations", strings.Join(failing, "; "))
	}
	f.add("clickhouse mutations", err, "none fails")
	now, err := s.Ledger.Now(ctx)
	late := 0
	if err == nil {
		err = s.Ledger.OpenRuns(ctx, now.Add(-runOverdue), overdueMost, func(string, uint32) error { late++; return nil })
	}
	if err == nil && late > 0 {
		err = fmt.Errorf("%d runs should have begun %s ago: see `meterd report list`, and that workers with the role reports live", late, runOverdue)
	}
	f.add("scheduled reports", err, "none is overdue")
	f.add("report deliveries", s.reports(ctx, now), "none fails")
}

// findings that somebody must look at.
func (s *System) findings(ctx context.Context) error {
	open, err := s.Ledger.AlarmingFindings(ctx)
	if err != nil || len(open) == 0 {
		return err
	}
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(open)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", open[k], k))
	}
	return fmt.Errorf("%s: see `meterd findings list` and show, then ack", strings.Join(kinds, ", "))
}
