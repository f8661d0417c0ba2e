#!/usr/bin/env bash
# scripts/fuzz.sh [TIME]: runs every fuzz test for a while (2s each unless given). What a fuzz test has found before runs with the
# ordinary tests as well; this looks for more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=${1:-2s}

git grep --untracked -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | while IFS=: read -r file name; do
    name=${name#func }
    printf '%s\n' "fuzz: $name for $time"
    # Minimising an interesting input would eat the time.
    if ! output=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 1x "./$(dirname "$file")" 2>&1 </dev/null); then
        printf '%s\n' "$output"
        exit 1
    fi
done
