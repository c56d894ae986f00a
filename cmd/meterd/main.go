// Command meterd meters, charges and limits the messages of parent accounts and
// their sub-accounts, and reports them. One file holds each command; this one
// only starts and ends.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/redis/go-redis/v9"

	"github.com/meterd/meterd/internal/config"
	"github.com/meterd/meterd/internal/wire"
)

// version is set when it is built.
var version = "dev"

func main() {
	redis.SetLogger(noLog{}) // what it would log comes back as an error
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once, whatever it waits for
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// globals are the flags of every command. Each may also stand in the
// environment, or in meterd.yaml under its name.
type globals struct {
	engineOptions

	Config     string `help:"Configuration file." default:"meterd.yaml" env:"METERD_CONFIG" placeholder:"FILE"`
	Data       string `help:"Where the embedded system lives." default:".meterd" env:"METERD_DATA" placeholder:"DIR"`
	Redis      string `help:"Redis: host:port or redis://user:password@host:port/0; a cluster: host:port,host:port or redis://user:password@host:port,host:port (rediss: with TLS). Empty: the embedded one." env:"METERD_REDIS"`
	ClickHouse string `name:"clickhouse" help:"ClickHouse's HTTP interface: http://user:password@host:8123. Empty: the embedded one." env:"METERD_CLICKHOUSE"`
	Database   string `help:"ClickHouse database." default:"meterd" env:"METERD_DATABASE"`
	Partitions int    `help:"Partitions of the projection: 1 on a single Redis, 64 on a cluster. Changing it: drain, then meterd rebuild." default:"1" env:"METERD_PARTITIONS"`
	Shards     int    `help:"Ingest queues that tasks are spread over, at most 256; the same for workers and clients. More: more small tasks a second, and more work while nothing comes." default:"4" env:"METERD_SHARDS"`
	LogLevel   string `help:"debug, info, warn or error. At debug alone up and worker write every line: else those that say the same are summed up once a minute." default:"info" enum:"debug,info,warn,error" env:"METERD_LOG_LEVEL"`
	JSON       bool   `name:"json" help:"One JSON document, or one object a line where a list may be long."`
}

// Validate is called before anything runs (kong). What bounds shards and
// partitions from above is what each costs while nothing comes.
func (g *globals) Validate() error {
	switch {
	case g.Partitions < 1 || g.Partitions > 1024:
		return wrongInput("--partitions: from 1 to 1024")
	case g.Shards < 1 || g.Shards > wire.ShardsMax:
		return wrongInput("--shards: from 1 to %d", wire.ShardsMax)
	case g.Window <= 0:
		return wrongInput("--dedup-window: more than 0")
	case g.Buckets < 1 || g.Buckets > 1<<20:
		return wrongInput("--dedup-buckets: from 1 to 1048576")
	}
	return nil
}

// cli is every command.
type cli struct {
	globals

	Up         upCmd         `cmd:"" help:"Run the embedded system in the foreground."`
	Worker     workerCmd     `cmd:"" help:"Run a worker against real servers, which --redis and --clickhouse name."`
	Doctor     doctorCmd     `cmd:"" help:"Check every part."`
	Migrate    migrateCmd    `cmd:"" help:"Create or upgrade the schema."`
	Accounts   accountsCmd   `cmd:"" help:"Accounts and plans."`
	Wallet     walletCmd     `cmd:"" help:"Move money, and look at it."`
	Suspend    suspendCmd    `cmd:"" help:"Suspend an account by hand."`
	Resume     resumeCmd     `cmd:"" help:"Lift a suspension made by hand."`
	Breaker    breakerCmd    `cmd:"" help:"The breaker, which holds suspensions back when too many come at once."`
	Gate       gateCmd       `cmd:"" help:"What a channel service would be told."`
	Record     recordCmd     `cmd:"" help:"What became of one message."`
	Enqueue    enqueueCmd    `cmd:"" help:"Send usage records from files of JSON lines."`
	Import     importCmd     `cmd:"" help:"Send the message logs of other platforms as usage records."`
	Usage      usageCmd      `cmd:"" help:"Aggregates over usage, by when it occurred."`
	Report     reportCmd     `cmd:"" help:"Reports: run, list, schedule, resend."`
	Export     exportCmd     `cmd:"" help:"Aggregates for finance: CSV, JSON Lines, Parquet, FOCUS."`
	Period     periodCmd     `cmd:"" help:"Months: list them, close one."`
	Rerate     rerateCmd     `cmd:"" help:"Rate a month's messages by another plan: say what changes, or book it as adjustments."`
	Quarantine quarantineCmd `cmd:"" help:"Records that couldn't be charged."`
	Reconcile  reconcileCmd  `cmd:"" help:"Compare the projection with the ledger, and heal it."`
	Findings   findingsCmd   `cmd:"" help:"What was found that should never be: list, show, acknowledge."`
	Rebuild    rebuildCmd    `cmd:"" help:"Make the projection anew from the ledger."`
	Backup     backupCmd     `cmd:"" help:"Copy the embedded system's data, which must not run meanwhile."`
	Restore    restoreCmd    `cmd:"" help:"Make the embedded system's data folder of a backup."`
	Bench      benchCmd      `cmd:"" help:"Measure this machine: the published figures, with comparisons in the same run."`
	ShowConfig configCmd     `cmd:"" name:"config" help:"Print the configuration, and where each value comes from."`
	Completion completionCmd `cmd:"" help:"What makes a shell complete commands and flags: source <(meterd completion bash)."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// app is what a command works with.
type app struct {
	globals

	ctx    context.Context //nolint:containedctx // of the whole process
	in     io.Reader
	out    io.Writer
	err    io.Writer
	file   *config.File
	parsed *kong.Context
}

// exits carries an exit code out of kong's --help.
type exits int

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, stderr io.Writer) (code int) {
	defer func() {
		if v := recover(); v != nil {
			e, ok := v.(exits)
			if code = int(e); !ok { // a bug; the stack is for whoever looks for it
				code = exitRefused
				_, _ = fmt.Fprintf(stderr, "meterd: internal error: %v (with METERD_LOG_LEVEL=debug: where)\n", v)
				if os.Getenv("METERD_LOG_LEVEL") == "debug" {
					_, _ = stderr.Write(debug.Stack())
				}
			}
		}
	}()
	var c cli
	settings, err := readSettings(args)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "meterd:", err)
		return exitInput
	}
	parser, err := kong.New(&c, kong.Name("meterd"), kong.Description("Usage metering for messaging platforms with parent and sub-accounts."),
		kong.Writers(out, stderr), kong.Exit(func(n int) { panic(exits(n)) }), kong.Resolvers(settings), kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Help(helpWithExamples))
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "meterd:", err)
		return exitInput
	}
	parsed, err := parser.Parse(signed(args))
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "meterd: %v\n(%s)\n", settings.blame(err, args), whereHelp(err))
		return exitInput
	}
	if emptyReader(parsed) {
		_, _ = fmt.Fprintln(stderr, "meterd: --as: give an account's id; without --as you see what the operator sees")
		return exitInput
	}
	a := &app{globals: c.globals, ctx: ctx, in: in, out: out, err: stderr, file: settings.file, parsed: parsed}
	if err := parsed.Run(a); err != nil {
		if !errors.Is(err, errFound) && !errors.Is(err, errGate) {
			_, _ = fmt.Fprintln(stderr, "meterd:", explain(err))
		}
		return exitCode(err)
	}
	return 0
}

// emptyReader tells whether --as is there but names nobody, as a script with an
// unset variable has it: that must not read as the operator.
func emptyReader(parsed *kong.Context) bool {
	for _, p := range parsed.Path {
		if p.Flag != nil && p.Flag.Name == "as" && p.Flag.Target.String() == "" {
			return true
		}
	}
	return false
}

// noLog keeps the Redis client's own lines out of the error stream.
type noLog struct{}

// Printf does nothing.
func (noLog) Printf(context.Context, string, ...any) {}

// versionCmd prints the version.
type versionCmd struct{}

// Run implements the command.
func (versionCmd) Run(a *app) error {
	_, err := fmt.Fprintln(a.out, version)
	return err
}

// whereHelp is where to look after an error in a command line.
func whereHelp(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if command := parse.Context.Selected(); command != nil {
			return command.FullPath() + " --help lists what it takes"
		}
	}
	return "meterd --help lists the commands"
}
