#!/bin/sh
# Trains the quick start for as long as asked, and measures whether memory, threads, open files or the run folder grow.
#
#   scripts/soak.sh [--minutes M] [--actors N] [--keep DIR] [--curve FILE]      default: two hours, for every night
#   scripts/soak.sh --table FILE                                                the curve of a run as a table
#
# The rest, and --help, is scripts/chaos/soak.py's. Build first: scripts/test.sh, or the preset `release`.
set -eu
cd "$(dirname "$0")/.."
exec python3 scripts/chaos/soak.py "$@"
