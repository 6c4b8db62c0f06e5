#!/bin/sh
# Builds Tactus for GPUs from a clean checkout, on a machine with or without one, and runs the tests. For every night.
#
#   scripts/gpu/build.sh [--fresh] [PATTERN ...]      PATTERN: test binaries to run, as in '*cuda*'; default: all
#
# Set-up, preset `cuda`, build, `--version` of the three programs, tests. Tests that need a GPU and find none are skipped,
# each with its reason, and counted: the last line is "N passed, N failed, N skipped". --fresh first removes build/cuda and
# turns ccache off, to time the build from nothing.
set -eu
cd "$(dirname "$0")/../.."

case "${1:-}" in
  -h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  --fresh)
    rm -rf build/cuda
    CCACHE_DISABLE=1
    export CCACHE_DISABLE
    shift
    ;;
esac

say() { printf 'gpu/build: %s\n' "$*"; }
start=$(date +%s)
scripts/setup.sh --cuda
configured=$(date +%s)
cmake --preset cuda >/dev/null
cmake --build --preset cuda --parallel "$(nproc)"
built=$(date +%s)
say "set-up took $((configured - start)) s, the build $((built - configured)) s on $(nproc) cores"
for program in tactus tactus-learner tactus-actor; do
  "build/cuda/bin/$program" --version
done
exec python3 scripts/run_tests.py --build build/cuda "$@"
