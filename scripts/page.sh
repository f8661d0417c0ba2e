#!/usr/bin/env bash
# scripts/page.sh: builds the page of Projects into web/dist, unless what is there is newer than all it is made of.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../web"

[ -d node_modules ] || {
    echo "web/node_modules is missing: scripts/deps.sh run installs it" >&2
    exit 1
}
if [ -e dist/index.html ] && [ -z "$(find . -path ./node_modules -prune -o -path ./dist -prune -o -type f -newer dist/index.html -print -quit)" ]; then
    exit 0
fi
echo "building the page"
if ! output=$(npm run --silent build 2>&1); then
    printf '%s\n' "$output" >&2
    exit 1
fi
printf '%s\n' "$output" | tail -n 3
touch dist/index.html
