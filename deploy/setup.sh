#!/usr/bin/env bash
# setup.sh: fetch what meterd runs on: the ClickHouse library and redis-server.
# It may be run again at any time; what is there already is left alone.
#   setup.sh          set up whatever is missing
#   setup.sh --tests  and what only the tests need
#   setup.sh --check  only say whether something is missing
set -euo pipefail

version=26.7.3-stable.1
cache="${XDG_CACHE_HOME:-$HOME/.cache}/meterd/$version"

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# The packages and their sums. A platform without a sum was never tried by us:
# the sum of what came is printed, to be compared by hand.
platform() {
  case "$(uname -s)/$(uname -m)" in
    Linux/x86_64)
      package=lib-linux-x64-gnu
      sum=36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5
      ;;
    Linux/aarch64 | Linux/arm64)
      package=lib-linux-arm64-gnu
      sum=
      ;;
    Darwin/arm64)
      package=lib-darwin-arm64
      sum=
      ;;
    Darwin/x86_64)
      package=lib-darwin-x64
      sum=
      ;;
    *)
      fail "no ClickHouse library is published for $(uname -s) on $(uname -m)." \
        "Use real servers there (--clickhouse, --redis), or set METERD_CHDB_LIB to a libchdb.so of your own."
      ;;
  esac
}

checksum() {
  if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1
}

# Reading 566 MB takes seconds, so a sum that was right is remembered together
# with the file's size and time.
identity() {
  if stat -c '%s %Y' -L "$1" 2>/dev/null; then return; fi
  stat -L -f '%z %m' "$1"
}

library() {
  if [ -n "${METERD_CHDB_LIB:-}" ]; then
    [ -f "$METERD_CHDB_LIB" ] || fail "METERD_CHDB_LIB names $METERD_CHDB_LIB, which is no file."
    return
  fi
  platform
  local file="$cache/node_modules/@chdb/$package/libchdb.so" stamp="$cache/$package.checked"
  if [ -f "$file" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(identity "$file")" ]; then
    return
  fi
  [ "$check" = no ] || fail "the ClickHouse library is missing: run \`make setup\`."
  mkdir -p "$cache"
  # Two set-ups at once would write the same file.
  if command -v flock >/dev/null; then
    exec 9>"$cache/setup.lock"
    flock 9
  fi
  if [ ! -f "$file" ]; then fetch "$file"; fi
  local got
  got="$(checksum "$file")"
  if [ -z "$sum" ]; then
    say "no SHA-256 is on record for $package; the file's is $got"
  elif [ "$got" != "$sum" ]; then
    rm -rf "$cache/node_modules/@chdb/$package"
    fail "the ClickHouse library has SHA-256 $got, but should have $sum." \
      "It was removed: run \`make setup\` again."
  fi
  identity "$file" >"$stamp"
}

fetch() {
  command -v npm >/dev/null || fail "npm is needed to fetch the ClickHouse library: install Node.js, or set METERD_CHDB_LIB to a libchdb.so."
  say "fetching the ClickHouse library $version (566 MB) into $cache"
  npm install --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
    --prefix "$cache" "@chdb/$package@$version" >&2 ||
    fail "npm could not install @chdb/$package@$version: see its message above."
  [ -f "$1" ] || fail "npm installed @chdb/$package, but $1 is not there."
}

# apt PACKAGE... installs Debian packages, as root or through sudo.
apt() {
  command -v apt-get >/dev/null || fail "$need is missing: install it${instead:+, or set $instead}."
  local root=()
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null || { ! sudo -n true 2>/dev/null && [ ! -t 0 ]; }; then
      fail "$need is missing, and installing it takes root: run \`apt-get install $*\` as root${instead:+, or set $instead}."
    fi
    root=(sudo)
  fi
  say "installing $*"
  # RUNLEVEL=1 asks the package not to start its service.
  if ! { "${root[@]}" apt-get update -qq &&
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
      apt-get install -y -qq --no-install-recommends "$@"; } >/dev/null; then
    fail "apt-get could not install $*: see its message above${instead:+. Or set $instead}."
  fi
}

# meterd runs a redis-server of its own: the package's service is stopped.
redis() {
  if [ -n "${METERD_REDIS_SERVER:-}" ]; then
    [ -x "$METERD_REDIS_SERVER" ] || fail "METERD_REDIS_SERVER names $METERD_REDIS_SERVER, which can't be run."
    return
  fi
  if command -v redis-server >/dev/null; then return; fi
  [ "$check" = no ] || fail "redis-server is missing: run \`make setup\`."
  need="redis-server (7.0 or later)" instead="METERD_REDIS_SERVER to the path of one"
  apt redis-server
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  if [ -d /run/systemd/system ]; then
    "${root[@]}" systemctl disable --now redis-server >/dev/null 2>&1 || true
  elif [ -x /etc/init.d/redis-server ]; then
    "${root[@]}" /etc/init.d/redis-server stop >/dev/null 2>&1 || true
  fi
  command -v redis-server >/dev/null || fail "apt-get installed redis-server, but it is not in PATH."
}

# The race detector, and nothing else, needs a C compiler.
compiler() {
  if command -v "${CC:-gcc}" >/dev/null; then return; fi
  [ "$check" = no ] || fail "a C compiler is missing: run \`deploy/setup.sh --tests\`."
  need="a C compiler (for the race detector)" instead="CC to the name of one"
  apt gcc libc6-dev
}

# Reports are opened in a browser.
browser() {
  if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then return; fi
  [ "$check" = no ] || fail "Chromium is missing: run \`deploy/setup.sh --tests\`."
  need="Chromium (for the tests of reports)" instead=""
  apt chromium
}

check=no
tests=no
for argument in "$@"; do
  case "$argument" in
    --check) check=yes ;;
    --tests) tests=yes ;;
    *) fail "usage: setup.sh [--check] [--tests]" ;;
  esac
done

command -v go >/dev/null || fail "Go 1.26 or later is missing: see https://go.dev/doc/install."
library
redis
if [ "$tests" = yes ]; then
  compiler
  browser
fi
