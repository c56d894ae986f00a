#!/usr/bin/env bash
# setup.sh: fetch what meterd runs on: the ClickHouse library and redis-server.
# It may be run again at any time; what is there already is left alone.
#   setup.sh          set up whatever is missing
#   setup.sh --fonts  and fonts for names in any script, which PDFs are set in
#   setup.sh --tests  and what only the tests need: these fonts, a C compiler,
#                     Chromium, and what the documents' programs for Node import
#   setup.sh --check  change nothing, and say whether something is missing
set -euo pipefail

version=26.7.3-stable.1

# What the programs that the documents print for Node import.
programs="ioredis@6.0.0 protobufjs@8.8.1"

# What Debian calls the fonts of all scripts.
font_packages="fonts-noto-core fonts-noto-cjk"

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# Only what is in PATH counts: a function of this script is no command.
have() { type -P "$1" >/dev/null; }

# missing TEXT... says with --check what is missing; without, it is set up.
missing() {
  [ "$check" = yes ] || return 1
  printf 'setup: %s\n' "$@" >&2
  complete=no
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
  if have sha256sum; then
    sha256sum <"$1"
  elif have shasum; then
    shasum -a 256 <"$1"
  else
    fail "neither sha256sum nor shasum is in PATH: install one, the ClickHouse library can't be verified without."
  fi | cut -d' ' -f1
}

# right FILE tells whether the file is the one on record. Its sum is in got.
right() {
  got="$(checksum "$1")" || exit 1
  if [ -z "$sum" ]; then
    say "no SHA-256 is on record for $package; the file's is $got"
    return
  fi
  [ "$got" = "$sum" ]
}

# Reading 566 MB takes seconds, so a sum that was right is remembered together
# with the file's size and time.
identity() {
  if stat -c '%s %Y' -L "$1" 2>/dev/null; then return; fi
  stat -L -f '%z %m' "$1"
}

verified() {
  [ -f "$file" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(identity "$file")" ]
}

library() {
  if [ -n "${METERD_CHDB_LIB:-}" ]; then
    [ -f "$METERD_CHDB_LIB" ] || fail "METERD_CHDB_LIB names $METERD_CHDB_LIB, which is no file."
    return
  fi
  platform
  [ -n "${XDG_CACHE_HOME:-${HOME:-}}" ] || fail "HOME is not set: set it, or XDG_CACHE_HOME to the folder for the ClickHouse library."
  cache="${XDG_CACHE_HOME:-${HOME:-}/.cache}/meterd/$version"
  file="$cache/node_modules/@chdb/$package/libchdb.so"
  stamp="$cache/$package.checked"
  if verified; then return; fi
  if missing "the ClickHouse library is missing, or was never verified: run \`make setup\`."; then return; fi
  { mkdir -p "$cache" && [ -w "$cache" ]; } ||
    fail "can't write to $cache, where the ClickHouse library goes: make it yours, or set XDG_CACHE_HOME to another folder."
  # Two set-ups at once would write the same file. What is started below must
  # not inherit the lock, or it would hold it for as long as it lives.
  if have flock; then
    exec 9>"$cache/setup.lock"
    if ! flock -n 9; then
      say "waiting for another set-up, which fetches the ClickHouse library"
      flock 9
    fi
  fi
  if ! verified; then
    if [ -f "$file" ] && ! right "$file"; then
      say "the ClickHouse library has SHA-256 $got, but should have $sum: it is removed and fetched again"
      rm -rf "${file%/*}"
    fi
    if [ ! -f "$file" ]; then fetch; fi
    identity "$file" >"$stamp"
  fi
  exec 9>&-
}

# fetch puts the library into its place once it is whole and verified: meterd
# may be looking for it meanwhile, and set-up may be interrupted.
fetch() {
  have npm || fail "npm is needed to fetch the ClickHouse library: install Node.js, or set METERD_CHDB_LIB to a libchdb.so."
  local aside="$cache/fetching"
  local fetched="$aside/node_modules/@chdb/$package/libchdb.so"
  say "fetching the ClickHouse library $version (566 MB) into $cache"
  rm -rf "$aside"
  mkdir -p "$aside"
  if ! npm install --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
    --fetch-retries=4 --fetch-timeout=1800000 \
    --prefix "$aside" "@chdb/$package@$version" >&2 9>&-; then
    rm -rf "$aside"
    fail "npm could not install @chdb/$package@$version: see its message above, and run \`make setup\` again."
  fi
  [ -f "$fetched" ] ||
    fail "npm installed @chdb/$package, but $fetched is not there: set METERD_CHDB_LIB to a libchdb.so of version $version."
  if ! right "$fetched"; then
    rm -rf "$aside"
    fail "the ClickHouse library has SHA-256 $got, but should have $sum." \
      "It was removed: run \`make setup\` again."
  fi
  rm -rf "${file%/*}"
  mkdir -p "${file%/*/*}"
  mv "${fetched%/*}" "${file%/*}"
  rm -rf "$aside"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_get waits for another one's lock and tries a download again. It asks
# nothing, for its questions wouldn't be seen. RUNLEVEL=1 asks a package not to
# start its service.
apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 \
    -o Dpkg::Options::=--force-confold "$@" </dev/null >/dev/null
}

# packages NAME... installs Debian packages, as root or through sudo. need says
# what for, instead what else would do.
packages() {
  have apt-get || fail "$need is missing: install it${instead:+, or $instead}."
  if [ "$(id -u)" != 0 ]; then
    # sudo may ask for a password only where someone can answer.
    if ! have sudo || { ! sudo -n true 2>/dev/null && [ ! -t 0 ]; }; then
      fail "$need is missing, and installing it takes root: run \`apt-get install $*\` as root${instead:+, or $instead}."
    fi
  fi
  say "installing $*"
  # One list that can't be had needn't be the one that is needed.
  local pause
  for pause in 5 15 none; do
    if apt_get update; then break; fi
    if [ "$pause" = none ]; then
      say "apt-get update failed three times: trying with the lists that are there"
    else
      say "apt-get update failed: trying again in $pause seconds"
      sleep "$pause"
    fi
  done
  apt_get install -y --no-install-recommends "$@" ||
    fail "apt-get could not install $*: see its message above, and run \`apt-get install $*\` as root${instead:+, or $instead}."
}

# recent fails unless the redis-server at a path runs and is one for meterd.
recent() {
  local text
  text="$("$1" --version)" || fail "$1 doesn't run: mend it, or $instead."
  if [[ "$text" =~ v=([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -lt 7 ]; then
    fail "$1 is older than 7.0: install a later redis-server, or $instead."
  fi
}

# meterd runs a redis-server of its own: the package's service is stopped.
redis() {
  local instead="set METERD_REDIS_SERVER to the path of one"
  if [ -n "${METERD_REDIS_SERVER:-}" ]; then
    { [ -f "$METERD_REDIS_SERVER" ] && [ -x "$METERD_REDIS_SERVER" ]; } ||
      fail "METERD_REDIS_SERVER names $METERD_REDIS_SERVER, which can't be run."
    recent "$METERD_REDIS_SERVER"
    return
  fi
  if ! have redis-server; then
    if missing "redis-server is missing: run \`make setup\`."; then return; fi
    local need="redis-server (7.0 or later)"
    packages redis-server
    if [ -d /run/systemd/system ]; then
      as_root systemctl disable --now redis-server >/dev/null 2>&1 || true
    else
      as_root service redis-server stop >/dev/null 2>&1 || true
    fi
    have redis-server || fail "apt-get installed redis-server, but it is not in PATH: add its folder, or $instead."
  fi
  recent "$(type -P redis-server)"
}

# compiles tells whether there is a C compiler with the headers of the C library,
# which is a package of its own.
compiles() {
  have "$1" && "$@" -E -xc - <<<'#include <pthread.h>' >/dev/null 2>&1
}

# The race detector, and nothing else, needs a C compiler.
compiler() {
  local cc # with its flags
  read -ra cc <<<"$(go env CC)"
  if compiles "${cc[@]}"; then return; fi
  if missing "a C compiler with its headers is missing: run \`deploy/setup.sh --tests\`."; then return; fi
  local need="a C compiler with its headers (for the race detector)" instead="set CC to the name of one"
  case "${cc[0]}" in
    gcc | cc) packages gcc libc6-dev ;;
    *) fail "Go's C compiler (\`go env CC\`) is \`${cc[*]}\`, which compiles nothing here: install it with its headers, or $instead." ;;
  esac
  compiles "${cc[@]}" || fail "apt-get installed gcc and libc6-dev, but \`${cc[*]}\` (\`go env CC\`) compiles nothing: $instead that does."
}

# Reports are opened in a browser. These are the names that their tests look for.
chromium_names="chromium chromium-browser google-chrome chrome"

has_browser() {
  local name
  for name in $chromium_names; do
    if have "$name"; then return; fi
  done
  return 1
}

browser() {
  if has_browser; then return; fi
  if missing "Chromium is missing: run \`deploy/setup.sh --tests\`."; then return; fi
  local need="Chromium (for the tests of reports)"
  local instead="install Google Chrome (Ubuntu has Chromium only as a snap)"
  packages chromium
  has_browser || fail "apt-get installed chromium, but none of these is in PATH: $chromium_names. Add its folder, or $instead."
}

has_fonts() {
  have dpkg-query || return 1
  local name
  for name in $font_packages; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || return 1
  done
}

# A PDF brings a font for the scripts of Europe, Arabic and Hebrew.
fonts() {
  local instead="set METERD_FONTS to a folder with fonts of the scripts that names are in" names
  if [ -n "${METERD_FONTS:-}" ]; then
    [ -d "$METERD_FONTS" ] || fail "METERD_FONTS names $METERD_FONTS, which is no folder."
    return
  fi
  if has_fonts; then return; fi
  if missing "fonts of all scripts are missing: run \`deploy/setup.sh --fonts\`, or $instead."; then return; fi
  local need="a set of fonts for all scripts"
  read -ra names <<<"$font_packages"
  packages "${names[@]}"
  has_fonts || fail "apt-get installed $font_packages, but dpkg-query doesn't list them: $instead."
}

# node_programs puts it into a folder of its own, as a whole.
node_programs() {
  local dir="${XDG_CACHE_HOME:-${HOME:-}/.cache}/meterd/documents"
  if [ -f "$dir/installed" ] && [ "$(cat "$dir/installed")" = "$programs" ]; then return; fi
  if missing "what the documents' programs for Node import is missing: run \`deploy/setup.sh --tests\`."; then return; fi
  have npm || fail "npm is needed for the tests of the documents' programs: install Node.js."
  local aside="$dir.$$" names
  read -ra names <<<"$programs"
  say "installing ${names[*]}"
  mkdir -p "$aside"
  if ! npm install --no-save --no-package-lock --no-audit --no-fund --loglevel=error --ignore-scripts \
    --fetch-retries=4 --prefix "$aside" "${names[@]}" >&2; then
    rm -rf "$aside"
    fail "npm could not install ${names[*]}: see its message above, and run \`deploy/setup.sh --tests\` again."
  fi
  printf '%s\n' "$programs" >"$aside/installed"
  rm -rf "$dir"
  mv "$aside" "$dir"
}

check=no
fonts=no
tests=no
complete=yes
for argument in "$@"; do
  case "$argument" in
    --check) check=yes ;;
    --fonts) fonts=yes ;;
    --tests) tests=yes fonts=yes ;;
    *) fail "usage: setup.sh [--check] [--fonts] [--tests]" ;;
  esac
done

have go || fail "Go 1.26 or later is missing: see https://go.dev/doc/install."
library
redis
if [ "$fonts" = yes ]; then fonts; fi
if [ "$tests" = yes ]; then
  compiler
  browser
  node_programs
fi
[ "$complete" = yes ]
