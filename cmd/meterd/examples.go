package main

import (
	"fmt"

	"github.com/alecthomas/kong"
)

// examples of each command, which end its help. They name the accounts of
// examples/accounts.yaml.
func examples() map[string][]string {
	return map[string][]string{
		"meterd up":                 {"meterd up", "meterd up --data /var/lib/meterd --listen 127.0.0.1:8480"},
		"meterd worker":             {"meterd worker --redis redis.internal:6379 --clickhouse http://meterd@clickhouse.internal:8123", "meterd worker --roles ingest --concurrency 32"},
		"meterd doctor":             {"meterd doctor", "meterd doctor --wait 30s"},
		"meterd migrate":            {"meterd migrate"},
		"meterd accounts apply":     {"meterd accounts apply -f examples/accounts.yaml --dry-run --impact 30d", "meterd accounts apply -f examples/accounts.yaml"},
		"meterd accounts list":      {"meterd accounts list", "meterd accounts list --as acme"},
		"meterd accounts show":      {"meterd accounts show acme-marketing"},
		"meterd accounts export":    {"meterd accounts export > accounts.yaml", "meterd accounts export --parent acme"},
		"meterd accounts close":     {"meterd accounts close acme-marketing"},
		"meterd wallet topup":       {"meterd wallet topup acme 500.00 --ref invoice-4711"},
		"meterd wallet allocate":    {"meterd wallet allocate acme-marketing 150.00 --ref marketing-november"},
		"meterd wallet reclaim":     {"meterd wallet reclaim acme-marketing 20.00 --ref marketing-november-back"},
		"meterd wallet adjust":      {`meterd wallet adjust acme -12.50 --ref correction-17 --reason "double top-up"`},
		"meterd wallet show":        {"meterd wallet show acme"},
		"meterd wallet history":     {"meterd wallet history acme"},
		"meterd suspend":            {`meterd suspend globex-shop --note "unpaid invoice"`},
		"meterd resume":             {"meterd resume globex-shop", "meterd resume globex-shop --actor globex"},
		"meterd breaker show":       {"meterd breaker show"},
		"meterd breaker release":    {`meterd breaker release --note "prices are right"`},
		"meterd gate":               {"meterd gate acme-marketing --channel sms", "meterd gate acme-marketing --channel sms --exit-code"},
		"meterd record show":        {"meterd record show acme-marketing msg-000001"},
		"meterd enqueue":            {"meterd enqueue usage.jsonl --wait", "zcat usage-*.jsonl.gz | meterd enqueue -"},
		"meterd import":             {"meterd import --from twilio-csv --account acme-support log.csv --dry-run", "meterd import --from kaleyra-csv --account-map map.yaml log.csv.gz --wait"},
		"meterd usage":              {"meterd usage --parent acme --by account,day", "meterd usage --parent acme --from 2026-11-01 --to 2026-12-01 --by country"},
		"meterd report run":         {"meterd report run --parent acme --period 2026-11 --out out", "meterd report run --parent globex --audience globex-shop --period 2026-11 --format pdf --out out"},
		"meterd report list":        {"meterd report list --parent acme", "meterd report list --state failed"},
		"meterd report schedule":    {"meterd report schedule --parent globex --next 2"},
		"meterd report resend":      {"meterd report resend RUN --failed"},
		"meterd export":             {"meterd export --period 2026-11 --format csv --out usage.csv", "meterd export --period 2026-11 --format focus --check --out focus.csv"},
		"meterd period list":        {"meterd period list --parent acme"},
		"meterd period close":       {"meterd period close acme 2026-10"},
		"meterd rerate":             {"meterd rerate --parent acme --period 2026-10 --plan standard-eur", `meterd rerate --parent acme --period 2026-10 --plan standard-eur --apply --ref fix-9 --reason "wrong price"`},
		"meterd quarantine list":    {"meterd quarantine list --by reason", "meterd quarantine list --reason no_price --limit 20"},
		"meterd quarantine show":    {"meterd quarantine show ENTRY"},
		"meterd quarantine replay":  {"meterd quarantine replay --reason unknown_account", "meterd quarantine replay ENTRY"},
		"meterd quarantine discard": {`meterd quarantine discard ENTRY --reason "a test message"`},
		"meterd reconcile":          {"meterd reconcile"},
		"meterd findings list":      {"meterd findings list"},
		"meterd findings show":      {"meterd findings show FINDING"},
		"meterd findings ack":       {`meterd findings ack FINDING --note "looked at: ticket 4711"`},
		"meterd rebuild":            {"meterd rebuild"},
		"meterd backup":             {"meterd backup /backups/meterd-2026-11-30", "meterd backup --data /var/lib/meterd /backups/today"},
		"meterd restore":            {"meterd restore --data /var/lib/meterd-restored /backups/meterd-2026-11-30"},
		"meterd bench":              {"meterd bench", "meterd bench --only ingest --runs 1"},
		"meterd config":             {"meterd config"},
		"meterd completion":         {"meterd completion bash > /etc/bash_completion.d/meterd"},
		"meterd version":            {"meterd version"},
	}
}

// helpWithExamples prints kong's help, and after a command's its examples.
func helpWithExamples(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return fmt.Errorf("print the help: %w", err)
	}
	command := ctx.Selected()
	if command == nil {
		return nil
	}
	list := examples()[command.FullPath()]
	if len(list) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(ctx.Stdout, "\nExamples:")
	for _, line := range list {
		_, _ = fmt.Fprintln(ctx.Stdout, "  "+line)
	}
	return nil
}
