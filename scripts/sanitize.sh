#!/bin/sh
# Builds the tests under sanitizers and runs them: ASan with UBSan (preset asan), then TSan (preset tsan). For every night.
#
#   scripts/sanitize.sh [--short] [--jobs N] [asan] [tsan]      default: both, every test binary
#
# --short  what each change can afford: files, wire formats, and what runs many threads, without the model's arithmetic
# --jobs   compilers at once [all cores]
#
# What a sanitizer reports ends the test, so each report is a failure; scripts/sanitize/tsan.supp names the libraries that TSan
# cannot see into. For TSan an instrumented Abseil is built first (scripts/sanitize/abseil.sh): some minutes, once.
# Last line of each part: "N passed, N failed[, N skipped]".
set -eu
cd "$(dirname "$0")/.."

short="base_test codec_test group_collective_test ledger_test rollout_test"
targets="" patterns="" jobs=$(nproc) parts=""
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --short) targets=$short patterns=$short ;;
    --jobs)
      case "${2:-}" in '' | *[!0-9]*) echo "sanitize: --jobs needs a whole number" >&2; exit 2 ;; esac
      jobs=$2
      shift
      ;;
    asan | tsan) parts="$parts $1" ;;
    *) echo "sanitize: unknown argument '$1'; expected --short, --jobs N, asan or tsan" >&2; exit 2 ;;
  esac
  shift
done

root=$PWD
failed=0
for part in ${parts:-asan tsan}; do
  echo "sanitize: $part"
  case "$part" in
    asan) export UBSAN_OPTIONS=print_stacktrace=1 ;;
    tsan)
      code=0
      scripts/sanitize/abseil.sh --jobs "$jobs" || code=$?
      if [ "$code" = 77 ]; then echo "sanitize: no TSan here, without an instrumented Abseil"; continue; fi
      [ "$code" = 0 ] || exit "$code"
      export LD_LIBRARY_PATH="$root/.cache/tsan-abseil/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
      export TSAN_OPTIONS="suppressions=$root/scripts/sanitize/tsan.supp:second_deadlock_stack=1:history_size=4"
      ;;
  esac
  cmake --preset "$part" >/dev/null
  # shellcheck disable=SC2086
  cmake --build "build/$part" --parallel "$jobs" ${targets:+--target} $targets
  # shellcheck disable=SC2086
  python3 scripts/run_tests.py --build "build/$part" ${patterns:-'*'} || failed=1
done
exit "$failed"
