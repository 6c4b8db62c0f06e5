#!/bin/sh
# Builds the targets of tests/fuzz with clang, libFuzzer, ASan and UBSan, and lets each make up inputs.
#
#   scripts/fuzz.sh [--seconds S | --runs N] [--jobs J] [TARGET ...]      default: each target, 30 s
#
# --runs  N executions of each, however long that takes
# --jobs  how many targets run at once, and how many compilers [all cores]
#
# A target starts from tests/fuzz/corpus/TARGET and from what earlier calls found new (build/fuzz/corpus). An input that is
# objected to is kept in build/fuzz/found, its report printed, and the exit code is 1: mend the fault and add a unit test.
# The last line counts executions. In every other build fuzz_corpus_test runs the same targets in seconds, without clang.
set -eu
cd "$(dirname "$0")/.."

limit=-max_total_time=30
jobs=$(nproc)
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --seconds | --runs | --jobs)
      case "${2:-}" in '' | *[!0-9]*) echo "fuzz: $1 needs a whole number" >&2; exit 2 ;; esac
      case "$1" in --seconds) limit=-max_total_time=$2 ;; --runs) limit=-runs=$2 ;; --jobs) jobs=$2 ;; esac
      shift
      ;;
    -*) echo "fuzz: unknown argument '$1'" >&2; exit 2 ;;
    *) break ;;
  esac
  shift
done

runtime=$(clang++ -print-runtime-dir 2>/dev/null)/libclang_rt.fuzzer-x86_64.a || runtime=""
if [ ! -e "$runtime" ]; then
  echo "fuzz: no clang++ with libFuzzer here: scripts/setup.sh --lint installs clang and libclang-rt-dev" >&2
  exit 2
fi
[ $# -gt 0 ] || set -- $(ls tests/fuzz/corpus)
build=build/fuzz
cmake --preset fuzz >/dev/null
# shellcheck disable=SC2046
cmake --build "$build" --parallel "$jobs" --target $(printf '%s_fuzz ' "$@")
found=$build/found logs=$build/fuzz-logs
mkdir -p "$found" "$logs"

# One target; its log's last statistics say how often it ran.
cat >"$build/fuzz-one.sh" <<'END'
target=$1 limit=$2 found=$3 logs=$4
mkdir -p "build/fuzz/corpus/$target"
if "build/fuzz/fuzz/$target" "$limit" -max_len=4096 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
  -artifact_prefix="$found/$target-" "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target" >"$logs/$target" 2>&1
then verdict=ok
else verdict=FAILED; touch "$logs/$target.failed"
fi
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target")
rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$logs/$target")
covered=$(sed -n 's/.* cov: *\([0-9]*\) .*/\1/p' "$logs/$target" | tail -n 1)
printf '%-6s %-16s %12s executions, %s a second, %s edges\n' "$verdict" "$target" "${runs:-?}" "${rate:-?}" "${covered:-?}"
END
rm -f "$logs"/*
printf '%s\n' "$@" | xargs -P "$jobs" -I{} sh "$build/fuzz-one.sh" {} "$limit" "$found" "$logs"
failed=0
for target in "$@"; do
  [ -e "$logs/$target.failed" ] || continue
  failed=$((failed + 1))
  echo "---- $target"
  tail -n 60 "$logs/$target"
done
total=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs"/* | awk '{s += $1} END {print s + 0}')
echo "$# targets, $failed failed, $total executions"
[ "$failed" = 0 ]
