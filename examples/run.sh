#!/usr/bin/env bash
# The demo behind `make run`: starts meterd in a temporary folder, funds four
# parents, meters some 22,000 records and shows what became of them.
set -euo pipefail
cd "$(dirname "$0")/.."

meterd=bin/meterd
out=out
if [[ ! -x $meterd ]]; then
  echo "$meterd is missing: run 'make build' first" >&2
  exit 1
fi

METERD_DATA=$(mktemp -d)
export METERD_DATA
log=$METERD_DATA.log
pid=

# Stops the system and removes what it stored; keeps the log after a failure.
cleanup() {
  local code=$? i
  trap - EXIT INT TERM
  if [[ -n $pid ]] && kill -0 "$pid" 2>/dev/null; then
    kill -TERM "$pid" 2>/dev/null || true
    for ((i = 0; i < 300; i++)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  rm -rf -- "$METERD_DATA"
  if ((code == 0)); then
    rm -f -- "$log"
  else
    echo >&2
    echo "The demo stopped early (exit $code). Last lines of $log:" >&2
    tail -n 20 -- "$log" >&2 2>/dev/null || true
  fi
  exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

heading() { printf '\n== %s\n' "$1"; }

# The current month of an account, in its parent's time zone.
period_of() {
  "$meterd" accounts show "$1" --json | tr -d '[:space:]' | sed -n 's/.*"period":"\([0-9]\{4\}-[0-9]\{2\}\)".*/\1/p'
}

# Writes one report and names its files: report PARENT FORMATS [FLAG…]
report() {
  local parent=$1 formats=$2
  shift 2
  "$meterd" report run --parent "$parent" --period "$(period_of "$parent")" --format "$formats" --out "$out" "$@"
}

heading "Starting meterd: ClickHouse and Redis, embedded, in a temporary folder"
"$meterd" up >"$log" 2>&1 &
pid=$!
"$meterd" doctor --wait 60s

heading "Accounts and price plans"
"$meterd" accounts apply -f examples/accounts.yaml

heading "Money: two prepaid wallets, and a budget out of each"
"$meterd" wallet topup acme 1000.00 --ref demo-acme-topup
"$meterd" wallet allocate acme-marketing 150.00 --ref demo-acme-marketing-budget
"$meterd" wallet topup saffron 2700.00 --ref demo-saffron-topup
"$meterd" wallet allocate saffron-pay 1500.00 --ref demo-saffron-pay-budget

heading "Usage: copies, late statuses, refunds and broken lines included"
"$meterd" enqueue examples/usage.jsonl --shift-to-now --wait

for parent in acme globex saffron himal; do
  heading "What $parent's accounts used"
  "$meterd" usage --parent "$parent" --by account,channel
done

heading "Who is suspended, and why"
"$meterd" accounts list

heading "Reports, in $out/"
mkdir -p "$out"
echo "acme, everything:"
report acme csv,json,html,xlsx,pdf
echo "saffron-store, a reseller's customer: no prices, no amounts, no units"
report saffron csv,json,html,xlsx --audience saffron-store
echo "globex without money, for its staff to pass on:"
report globex csv,json,html,xlsx --redacted

heading "Try next"
cat <<EOF
  Open the pages in $out/ with a browser. Or start a system of your own, in .meterd:
    $meterd up
  and in another terminal:
    $meterd accounts apply -f examples/accounts.yaml
    $meterd wallet topup acme 50.00 --ref first
    $meterd gate acme-support --channel sms
    $meterd enqueue examples/usage.jsonl --shift-to-now --wait
    $meterd quarantine list
    $meterd usage --parent saffron --by day,channel --as saffron-store
EOF
