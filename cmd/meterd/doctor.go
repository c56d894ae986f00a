package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/meterd/meterd/doctor"
	"github.com/meterd/meterd/metering/ledger"
)

// doctorCmd checks every part.
type doctorCmd struct {
	Wait    time.Duration `help:"Ask again until everything is ready, at most so long."`
	Engines bool          `help:"Only whether both engines answer and take what is written: for the health check of one worker, which shouldn't end for what is somebody else's."`
}

// Run implements the command.
func (d *doctorCmd) Run(a *app) error {
	deadline := time.NewTimer(d.Wait)
	defer deadline.Stop()
	for {
		checks, ok := d.diagnose(a)
		if ok || d.Wait == 0 || expired(a.ctx, deadline) {
			return a.showChecks(checks, ok)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-a.ctx.Done():
		}
	}
}

func expired(ctx context.Context, t *time.Timer) bool {
	select {
	case <-t.C:
		return true
	default:
		return ctx.Err() != nil
	}
}

func (a *app) showChecks(checks []doctor.Check, ok bool) error {
	if a.JSON {
		if err := a.printJSON(map[string]any{"checks": checks}); err != nil {
			return err
		}
	} else {
		t := a.table("CHECK", "", "DETAIL")
		for _, c := range checks {
			mark := "ok"
			if !c.OK {
				mark = "FAILED"
			}
			t.AppendRow([]any{c.Name, mark, c.Detail})
		}
		a.render(t)
		if failed := failedOf(checks); len(failed) > 0 {
			_, _ = fmt.Fprintf(a.out, "%d of %d checks failed: %s\n", len(failed), len(checks), strings.Join(failed, ", "))
		}
	}
	if !ok {
		return errFound
	}
	return nil
}

// failedOf names the checks that aren't OK.
func failedOf(checks []doctor.Check) (names []string) {
	for _, c := range checks {
		if !c.OK {
			names = append(names, c.Name)
		}
	}
	return names
}

// doctorMax bounds one look.
const doctorMax = 15 * time.Second

// diagnose asks each part once.
func (d *doctorCmd) diagnose(a *app) ([]doctor.Check, bool) {
	ctx, cancel := context.WithTimeout(a.ctx, doctorMax)
	defer cancel()
	e, done, err := a.open(a.logger(a.err, slog.LevelError), a.Redis == "")
	if err != nil {
		return []doctor.Check{{Name: "addresses", Detail: doctor.Reason(err).Error()}}, false
	}
	defer done()
	list := []doctor.Check{{Name: "addresses", OK: true, Detail: "found"}}
	if d.Engines {
		list = append(list, a.system(e).Engines(ctx)...)
		return list, len(failedOf(list)) == 0
	}
	list = append(list, a.system(e).All(ctx)...)
	if e.info.HTTP != "" {
		c := doctor.Check{Name: "worker", OK: true, Detail: e.info.HTTP}
		if err := readyz(ctx, e.info.HTTP); err != nil {
			c.OK, c.Detail = false, doctor.Reason(err).Error()
		}
		list = append(list, c)
	}
	return list, len(failedOf(list)) == 0
}

// system is what doctor looks at.
func (a *app) system(e *engines) *doctor.System {
	s := &doctor.System{
		Redis: e.redis, Store: e.store, Ledger: e.ledger,
		RedisName: hideSecret(e.info.Redis), LedgerName: hideSecret(e.info.ClickHouse),
	}
	if a.Redis == "" && a.ClickHouse == "" {
		s.Folder = a.Data
	}
	return s
}

func readyz(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("not ready: %s", bytes.TrimSpace(text))
	}
	return nil
}

// migrateCmd brings the schema up to date.
type migrateCmd struct {
	Print   bool   `help:"Print the statements instead of running them."`
	Cluster string `help:"With --print: as they make replicated tables on every node of this ClickHouse cluster; '{cluster}' is the servers' macro." placeholder:"NAME"`
}

// print writes the schema's statements.
func (m *migrateCmd) print(a *app) error {
	list, err := ledger.Schema(a.Database, m.Cluster)
	if err != nil {
		return &inputError{err: err}
	}
	if a.JSON {
		return a.printJSON(map[string]any{"statements": list})
	}
	for _, s := range list {
		_, _ = fmt.Fprintf(a.out, "%s\n;\n", s)
	}
	return nil
}

// Run implements the command.
func (m *migrateCmd) Run(a *app) error {
	if m.Print {
		return m.print(a)
	}
	if m.Cluster != "" {
		return wrongInput("--cluster: only with --print; run the statements on the cluster, then meterd migrate as ever")
	}
	e, done, err := a.open(a.logger(a.err, 4), false)
	if err != nil {
		return err
	}
	defer done()
	if err := e.pingLedger(a.ctx); err != nil {
		return err
	}
	applied, err := e.ledger.Migrate(a.ctx)
	if err != nil {
		return err
	}
	if a.JSON {
		return a.printJSON(map[string]any{"applied": applied})
	}
	for _, m := range applied {
		_, _ = fmt.Fprintln(a.out, "applied", m)
	}
	if len(applied) == 0 {
		_, _ = fmt.Fprintln(a.out, "the schema is up to date")
	}
	return nil
}
