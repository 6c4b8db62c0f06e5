#!/bin/sh
# Prints the C++ files that differ from the branch point with main, one per line, uncommitted ones included.
# On main itself: those of the last commit. Without history (a shallow clone): every one.
set -eu
cd "$(dirname "$0")/../.."

head=$(git rev-parse HEAD)
base=""
for main in origin/main main; do
  base=$(git merge-base HEAD "$main" 2>/dev/null) && [ "$base" != "$head" ] && break
  base=""
done
[ -n "$base" ] || base=$(git rev-parse --verify --quiet HEAD~1) || base=$(git hash-object -t tree /dev/null)
{
  git diff --name-only --diff-filter=d "$base" -- '*.h' '*.cc' '*.cu'
  git ls-files --others --exclude-standard -- '*.h' '*.cc' '*.cu'
} | sort -u
