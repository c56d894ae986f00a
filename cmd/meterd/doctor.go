package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/jobs"
	"github.com/meterd/meterd/metering/balance"
	"github.com/meterd/meterd/metering/ledger"
)

// doctorCmd checks every part.
type doctorCmd struct {
	Wait time.Duration `help:"Ask again until everything is ready, at most so long."`
}

// check is one part.
type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Run implements the command.
func (d *doctorCmd) Run(a *app) error {
	deadline := time.NewTimer(d.Wait)
	defer deadline.Stop()
	for {
		checks, ok := diagnose(a)
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

func (a *app) showChecks(checks []check, ok bool) error {
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
	}
	if !ok {
		return errFound
	}
	return nil
}

// errBroken: the breaker holds suspensions back.
var errBroken = errors.New("open, new suspensions are held back: see `meterd breaker show`")

// diagnose asks each part once.
func diagnose(a *app) ([]check, bool) {
	ctx, cancel := context.WithTimeout(a.ctx, 4*time.Second)
	defer cancel()
	var list []check
	all := true
	add := func(name string, err error, detail string) bool {
		c := check{Name: name, OK: err == nil, Detail: detail}
		if err != nil {
			c.Detail, all = reasonAway(err).Error(), false
		}
		list = append(list, c)
		return err == nil
	}
	e, done, err := a.open(a.logger(a.err, 8), a.Redis == "")
	if !add("addresses", err, "found") {
		return list, false
	}
	defer done()
	redisOK := add("redis", e.redis.Ping(ctx).Err(), hideSecret(e.info.Redis))
	if redisOK {
		add("redis policy", checkPolicy(ctx, e.redis), "noeviction")
	}
	if add("clickhouse", e.ledger.Ping(ctx), hideSecret(e.info.ClickHouse)) {
		n, err := e.ledger.CatalogNumber(ctx)
		if add("schema", err, fmt.Sprintf("database %s, %d applies", e.ledger.Database(), n)) {
			if id, err := e.ledger.Identity(ctx); err == nil { // or its schema is older
				e.store.OfLedger(id)
			}
			detail, err := checkSecrets(a, e)
			add("webhook secrets", err, detail)
		}
	}
	if redisOK {
		for p := range e.store.Partitions() {
			m, err := e.store.Meta(ctx, p)
			detail := ""
			if err == nil {
				var replid string
				if replid, err = e.store.Replid(ctx, p); err == nil && replid != m.Replid {
					err = balance.ErrReplid
				}
				detail = fmt.Sprintf("epoch %d", m.Epoch)
			}
			add(fmt.Sprintf("projection %d", p), err, detail)
			if at, err := e.store.Broken(ctx, p); err == nil && !at.IsZero() {
				add(fmt.Sprintf("breaker %d", p), errBroken, "")
			}
		}
		detail, err := checkQueues(ctx, e.redis)
		add("queues", err, detail)
	}
	if e.info.HTTP != "" {
		add("worker", readyz(ctx, e.info.HTTP), e.info.HTTP)
	}
	return list, all
}

// checkPolicy makes sure that no node of Redis drops what it holds.
func checkPolicy(ctx context.Context, rdb redis.UniversalClient) error {
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		return cluster.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error {
			if err := checkPolicy(ctx, node); err != nil {
				return fmt.Errorf("%s: %w", node.Options().Addr, err)
			}
			return nil
		})
	}
	policy, err := rdb.ConfigGet(ctx, "maxmemory-policy").Result()
	if err == nil && policy["maxmemory-policy"] != "noeviction" {
		err = fmt.Errorf("maxmemory-policy is %s: set noeviction, or Redis drops money", policy["maxmemory-policy"])
	}
	return err
}

// checkQueues makes sure that a worker serves each ingest queue in which tasks lie.
func checkQueues(ctx context.Context, rdb redis.UniversalClient) (string, error) {
	held, err := jobs.Holding(ctx, rdb, 0)
	if err != nil {
		return "", err
	}
	if len(held) == 0 {
		return "empty", nil
	}
	servers, err := asynq.NewInspectorFromRedisClient(rdb).Servers()
	if err != nil {
		return "", fmt.Errorf("ask which queues are served: %w", err)
	}
	unserved := slices.DeleteFunc(slices.Clone(held), func(q string) bool {
		return slices.ContainsFunc(servers, func(s *asynq.ServerInfo) bool { return s.Queues[q] > 0 })
	})
	if len(unserved) > 0 {
		return "", fmt.Errorf("tasks lie in %s, which no worker serves: start a worker of the role ingest; one that runs finds them within seconds", strings.Join(unserved, ", "))
	}
	return "served: " + strings.Join(held, ", "), nil
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
		return errors.New("not ready")
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
