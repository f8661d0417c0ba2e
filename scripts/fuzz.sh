#!/usr/bin/env bash
# scripts/fuzz.sh [HOW LONG]: runs every fuzz test for so many inputs or so long (3000x each unless given, or 1m). What a fuzz test has
# found before runs with the ordinary tests as well; this looks for more. Go before 1.27 may report "context deadline exceeded" at the
# end of a time, where nothing was found (https://go.dev/issue/75804): a number of inputs has no such end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=${1:-3000x}

git grep --untracked -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | while IFS=: read -r file name; do
    name=${name#func }
    printf '%s\n' "fuzz: $name for $time"
    # Minimising an interesting input would eat the time.
    if ! output=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 1x "./$(dirname "$file")" 2>&1 </dev/null); then
        printf '%s\n' "$output"
        exit 1
    fi
done
