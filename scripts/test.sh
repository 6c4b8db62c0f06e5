#!/bin/sh
# Sets up, builds everything and runs every test. Ends with the line "N passed, N failed" (and ", N skipped").
#
#   scripts/test.sh [--preset release|dev|asan|tsan] [PATTERN ...]      PATTERN: test binaries to run, as in 'ledger_*'
#
# Besides the GoogleTest binaries it checks the include layers, the size limits, the locks, dashboards and manifests, the
# formatting of changed files and, under CI=true, clang-tidy on a few of them. What these checks need is installed too
# (scripts/setup.sh --lint); where that cannot be, as without root, they are skipped, and the end says which and why.
set -eu
cd "$(dirname "$0")/.."

preset=release
case "${1:-}" in
  -h | --help)
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  --preset)
    [ -n "${2:-}" ] || { echo "test: --preset needs a name from CMakePresets.json" >&2; exit 2; }
    preset=$2
    shift 2
    ;;
esac

scripts/setup.sh
scripts/setup.sh --lint || echo "test: going on without: what needs it is skipped" >&2
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" --parallel "$(nproc)"
exec python3 scripts/run_tests.py --build "build/$preset" "$@"
