package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/meterd/meterd/internal/embedded"
	"github.com/meterd/meterd/internal/httpd"
	"github.com/meterd/meterd/internal/notify"
	"github.com/meterd/meterd/metering"
	"github.com/meterd/meterd/metering/admin"
	"github.com/meterd/meterd/worker"
	"github.com/meterd/meterd/worker/reporting"
)

// serveFlags are those of up and worker.
type serveFlags struct {
	Listen           string        `help:"Address of /healthz, /readyz and /metrics." default:"127.0.0.1:0" env:"METERD_LISTEN"`
	Concurrency      int           `help:"Tasks of one ingest queue in hand; most wait for their rows to be stored. More: more small tasks a second." default:"64" env:"METERD_CONCURRENCY"`
	WaitMax          time.Duration `help:"How long a refund waits for its message." default:"24h" env:"METERD_WAIT_MAX"`
	StatusWaitMax    time.Duration `help:"How long a failing status waits for its message, from its arrival, to have it refunded; a message that comes later, and more than an hour after it occurred, is looked at all the same. At least 2h." default:"24h" env:"METERD_STATUS_WAIT_MAX"`
	CloseGrace       time.Duration `help:"How long after its end a month takes late records, before it is closed for ever. Not less than the dedup window." default:"72h" env:"METERD_CLOSE_GRACE"`
	BreakerAccounts  int           `help:"Hold suspensions back once more accounts of a partition than this would be suspended within a minute of the clock, until meterd breaker release. 0: never." default:"0" env:"METERD_BREAKER_ACCOUNTS"`
	BreakerShare     int           `help:"The same as a share of a partition's accounts, in percent, at most 100. 0: never." default:"0" env:"METERD_BREAKER_SHARE"`
	SMTP             string        `name:"smtp" help:"Mail server for alerts and reports: smtp://user@host:587 (STARTTLS), smtps://user@host:465 or smtp://host:25?tls=none." env:"METERD_SMTP"`
	SMTPPasswordEnv  string        `name:"smtp-password-env" help:"Environment variable that holds the mail server's password." default:"METERD_SMTP_PASSWORD" env:"METERD_SMTP_PASSWORD_ENV"`
	SMTPPasswordFile string        `name:"smtp-password-file" help:"File that holds it, instead." env:"METERD_SMTP_PASSWORD_FILE"`
	MailFrom         string        `help:"Sender of mail." env:"METERD_MAIL_FROM"`
	MailAttachMax    int           `help:"Megabytes of attachments that one mail may have, at most 1000; larger files are named with where they lie. More: more servers refuse it." default:"10" env:"METERD_MAIL_ATTACH_MAX"`
	DeliverTimeout   time.Duration `help:"How long one delivery of a report may take, from 1s to 20m. Longer: larger files and slower links get through, a server that hangs is noticed later." default:"1m" env:"METERD_DELIVER_TIMEOUT"`
	RetainRows       int           `help:"Days that rows of records are kept, in whole months of closed bills; what comes for a time without rows is quarantined as too_old. At least 62; 0: for good." default:"0" env:"METERD_RETAIN_ROWS"`
	RetainNumbers    int           `help:"Days that senders and receivers are kept. 0: for good." default:"0" env:"METERD_RETAIN_NUMBERS"`
	ReconcileEvery   time.Duration `help:"Time between two comparisons of projection and ledger." default:"5m" env:"METERD_RECONCILE_EVERY"`
}

// upCmd is the embedded system.
type upCmd struct{ serveFlags }

func (f *serveFlags) smtpPassword() notify.Secret {
	if f.SMTPPasswordFile != "" {
		return notify.Secret{File: f.SMTPPasswordFile}
	}
	return notify.Secret{Env: f.SMTPPasswordEnv}
}

// check is what can be told of the flags before anything is made or waited for.
func (f *serveFlags) check(a *app) error {
	o := f.options(a)
	if bad, ok := errors.AsType[*worker.OptionError](o.Validate(a.Window)); ok {
		return wrongInput("%s: %s", optionFlag(bad.Option), bad.May)
	}
	_, err := f.mail()
	return err
}

// optionFlag is the flag that sets a worker's option.
func optionFlag(option string) string {
	return map[string]string{
		"Shards": "--shards", "Concurrency": "--concurrency", "WaitMax": "--wait-max", "StatusWaitMax": "--status-wait-max",
		"ReconcileEvery": "--reconcile-every", "CloseGrace": "--close-grace", "BreakerAccounts": "--breaker-accounts", "BreakerShare": "--breaker-share",
		"Retention.Rows": "--retain-rows", "Retention.Numbers": "--retain-numbers",
		"Reports.AttachMax": "--mail-attach-max", "Reports.DeliverTimeout": "--deliver-timeout",
	}[option]
}

// options are the worker's as far as flags say them.
func (f *serveFlags) options(a *app) worker.Options {
	return worker.Options{
		Shards: a.Shards, Concurrency: f.Concurrency, WaitMax: f.WaitMax, StatusWaitMax: f.StatusWaitMax, ReconcileEvery: f.ReconcileEvery, CloseGrace: f.CloseGrace,
		BreakerAccounts: f.BreakerAccounts, BreakerShare: f.BreakerShare,
		Reports:   reporting.Options{AttachMax: megabytes(f.MailAttachMax), DeliverTimeout: f.DeliverTimeout},
		Retention: admin.Retention{Rows: days(f.RetainRows), Numbers: days(f.RetainNumbers)},
	}
}

func (f *serveFlags) mail() (*notify.Mail, error) {
	m, err := notify.NewMail(notify.MailOptions{Server: f.SMTP, Password: f.smtpPassword(), From: f.MailFrom})
	if err != nil {
		return nil, wrongInput("--smtp, --mail-from: %w", err)
	}
	return m, nil
}

// days and megabytes are as many as a flag says; of more than there is room for, or fewer
// than none, as many as tell that.
func days(n int) time.Duration { return time.Duration(min(max(n, -1), 100_000)) * 24 * time.Hour }

func megabytes(n int) int64 { return int64(min(max(n, -1), 1<<20)) << 20 }

// stopMax is how long a stop may take.
const stopMax = 40 * time.Second

// Run implements the command.
func (u *upCmd) Run(a *app) error {
	if err := u.check(a); err != nil {
		return err
	}
	if _, err := embedded.ReadRunFile(a.Data); err != nil { // else who runs there has the address too, and Start says so
		if err := httpd.Free(a.ctx, u.Listen); err != nil {
			return err
		}
	}
	log, flush := a.quietLogger(a.err)
	defer flush()
	sys, err := embedded.Start(a.ctx, a.Data, embedded.SystemOptions{})
	if err != nil {
		return err
	}
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), stopMax)
		defer cancel()
		return sys.Stop(ctx)
	}
	info := sys.Info()
	e, done, err := a.openAt(info, sys.ClickHouse.Transport(), log, true)
	if err != nil {
		return errors.Join(err, stop())
	}
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	go func() { // an engine that dies ends the system; ends with ctx
		select {
		case <-sys.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	err = u.serve(ctx, a, e, nil, true, func(url string) error {
		info.HTTP = url
		if err := embedded.WriteRunFile(a.Data, info); err != nil {
			return err
		}
		return a.showReady(&info)
	})
	if sys.Err() != nil && a.ctx.Err() == nil {
		err = errors.Join(err, fmt.Errorf("the embedded redis ended: %w", sys.Err()))
	}
	done()
	return errors.Join(err, stop())
}

// showReady says that the system serves, where it is, and what may come next.
func (a *app) showReady(info *embedded.RunInfo) error {
	folder, err := filepath.Abs(a.Data)
	if err != nil {
		folder = a.Data
	}
	with := ""
	if a.Data != ".meterd" {
		with = " --data " + a.Data
	}
	_, err = fmt.Fprintf(a.out, `ready
  data        %s
  redis       %s
  clickhouse  %s, database %s
  health      %s/readyz, /metrics
  passwords   %s
Next, in another terminal: meterd doctor%[7]s, then meterd accounts apply -f FILE%[7]s. Ctrl-C stops it.
`, folder, info.Redis, info.ClickHouse, info.Database, info.HTTP, filepath.Join(a.Data, "run.json"), with)
	return err
}

// workerCmd is a worker against real servers.
type workerCmd struct {
	serveFlags

	Roles []string `help:"What this worker does: ingest, suspensions, reports, scheduler. Default: everything." enum:"ingest,suspensions,reports,scheduler" env:"METERD_ROLES"`
}

// Run implements the command.
func (w *workerCmd) Run(a *app) error {
	if a.Redis == "" || a.ClickHouse == "" { // meterd up counts on being alone on its data
		return wrongInput("a worker runs against real servers: give both --redis and --clickhouse; the embedded system, `meterd up`, has a worker of its own")
	}
	if err := w.check(a); err != nil {
		return err
	}
	log, flush := a.quietLogger(a.err)
	defer flush()
	e, done, err := a.open(log, false)
	if err != nil {
		return err
	}
	defer done()
	if err := waitFor(a.ctx, e); err != nil {
		return err
	}
	return w.serve(a.ctx, a, e, w.Roles, false, func(url string) error {
		_, err := fmt.Fprintf(a.out, "ready %s\n", url)
		return err
	})
}

// waitFor the engines: a worker that starts beside them is patient, but not
// with a password that they refuse.
func waitFor(ctx context.Context, e *engines) error {
	const patience = 60
	var err error
	for i := range patience {
		if err = e.ping(ctx); err == nil {
			return nil
		}
		var away *awayError
		if errors.As(err, &away) && away.refused() {
			return err
		}
		if i == 0 {
			e.log.WarnContext(ctx, "waiting for the engines", slog.Any("error", err))
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
	return err
}

// heapSoft is from where on a worker collects its garbage more often than costs least,
// unless GOMEMLIMIT says another: all that it may have in hand takes less.
const heapSoft = 1 << 30

// serve runs a worker and its HTTP server until ctx ends.
func (f *serveFlags) serve(ctx context.Context, a *app, e *engines, roles []string, alone bool, ready func(url string) error) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapSoft)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var hooks []metering.Hook
	if a.file != nil {
		for _, h := range a.file.Hooks {
			hooks = append(hooks, metering.Hook{URL: h.URL, SecretEnv: h.SecretEnv, Events: h.Events})
		}
	}
	mail, err := f.mail()
	if err != nil {
		return err
	}
	o := f.options(a)
	o.Alone, o.Roles, o.Hooks, o.Mail = alone, roles, hooks, mail
	o.Reports.AttachMax = max(o.Reports.AttachMax, 1) // 0 megabytes are none
	w, err := worker.New(worker.Deps{
		Redis: e.redis, Store: e.store, Ledger: e.ledger, Snapshots: e.snapshots, Projector: e.projector,
		Clock: e.clock, Log: e.log, Metrics: reg,
	}, o)
	if err != nil {
		return err
	}
	srv, err := httpd.Listen(ctx, f.Listen, reg, func(ctx context.Context) error {
		select {
		case <-w.Ready():
			return a.system(e).Ready(ctx)
		default:
			return errors.New("starting")
		}
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return srv.Run(ctx) })
	g.Go(func() error { return w.Run(ctx) })
	g.Go(func() error {
		select {
		case <-w.Ready():
			return ready(srv.URL())
		case <-ctx.Done():
			return nil
		}
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
