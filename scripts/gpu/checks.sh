#!/bin/sh
# Everything there is to check on a machine with a GPU, in one go and within a time; for packs of scripts/gpu/pack.sh.
#
#   scripts/gpu/checks.sh [--pack FILE] [--results DIR] [--minutes M] [STAGE ...]
#
# STAGES, in this order by default: machine (driver, --version), tests, train (a short run on the GPU), benches, memcheck
# and racecheck (compute-sanitizer on the kernels' tests). A stage that runs out of its share of M minutes (9) is ended and
# said to be; the others go on. Logs and a summary lie in DIR (bench/results/gpu-DATE). Needs python3 with torch
# 2.11.0+cu130, for its libraries; TACTUS_SITE_PACKAGES names another environment. Exit code 1 when a stage failed.
set -u
cd "$(dirname "$0")/../.." || exit 2

pack=dist/tactus-cuda.tar.gz
results=bench/results/gpu-$(date -u +%Y%m%d)
minutes=9
die() {
  printf 'gpu/checks: error: %s\n' "$*" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      sed -n '2,11s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --pack | --results | --minutes)
      [ $# -ge 2 ] || die "$1 needs a value"
      case "$1" in
        --pack) pack=$2 ;;
        --results) results=$2 ;;
        --minutes) minutes=$2 ;;
      esac
      shift 2
      ;;
    -*) die "unknown option '$1'; --help lists them" ;;
    *) break ;;
  esac
done
stages=${*:-machine tests train benches memcheck racecheck}

[ -f "$pack" ] || die "$pack is not there: scripts/gpu/pack.sh makes it"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
python3 -m tarfile -e "$pack" "$root" || die "$pack can't be unpacked"
kit=$root/tactus-cuda
site=${TACTUS_SITE_PACKAGES:-$(python3 -c 'import torch, os; print(os.path.dirname(os.path.dirname(torch.__file__)))')}
[ -e "$site/torch/lib/libtorch_cuda.so" ] || die "there is no torch with CUDA under '$site': set TACTUS_SITE_PACKAGES"
LD_LIBRARY_PATH=$kit/lib:$site/torch/lib
for folder in "$site"/nvidia/*/lib; do LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$folder; done
export LD_LIBRARY_PATH

# Tests read goldens and configurations below the folder they were built in.
source_folder=$(cat "$kit/source_folder")
if [ ! -e "$source_folder" ]; then
  mkdir -p "$(dirname "$source_folder")" && ln -s "$PWD" "$source_folder" || die "can't make $source_folder, which tests read"
fi
mkdir -p "$results" || die "can't make $results"
summary=$results/summary.txt
: >"$summary"
end=$(($(date +%s) + minutes * 60))
failures=0

# note NAME CODE SECONDS
note() {
  case "$2" in
    0) verdict=ok ;;
    124 | 137) verdict="out of time" ;;
    *) verdict="FAILED (exit code $2)" ;;
  esac
  [ "$2" = 0 ] || failures=$((failures + 1))
  printf '%-40s %s, %s s\n' "$1" "$verdict" "$3" | tee -a "$summary"
}

# bounded NAME SECONDS COMMAND ...: at most so long, and not past the end.
bounded() {
  name=$1 limit=$2
  shift 2
  left=$((end - $(date +%s)))
  [ "$left" -lt "$limit" ] && limit=$left
  if [ "$limit" -le 5 ]; then
    note "$name" 124 0
    return
  fi
  began=$(date +%s)
  timeout -k 5 "$limit" "$@" >"$results/$name.log" 2>&1
  note "$name" $? $(($(date +%s) - began))
}

# The tests that start kernels of ours, small enough for a sanitizer.
kernel_tests() { find "$kit/tests" -type f -printf '%f\n' | sort | grep -E 'cuda|gpu|kernel' | grep -vE 'engine|train|e2e|collective'; }

for stage in $stages; do
  case "$stage" in
    machine)
      bounded nvidia-smi 20 nvidia-smi
      bounded version 60 "$kit/bin/tactus" --version
      cat "$results/version.log"
      ;;
    tests)
      bounded tests 240 python3 scripts/run_tests.py --build "$kit" '*'
      sed -n '/^skipped:/,$p' "$results/tests.log" | tee -a "$summary"
      ;;
    train)
      rm -rf "$root/run"
      bounded train 120 "$kit/bin/tactus" train --config configs/quickstart.textproto --out "$root/run" --actors 1 \
        --set learner.device=cuda:0 --set actor.device=cuda:0 --set learner.steps=20 --set eval.max_prompts=0
      [ -e "$root/run/metrics.jsonl" ] && cp "$root/run/metrics.jsonl" "$results/train-metrics.jsonl"
      ;;
    benches)
      for bench in "$kit"/bin/*bench*; do
        [ -x "$bench" ] && bounded "bench-$(basename "$bench")" 90 "$bench"
      done
      ;;
    memcheck | racecheck)
      command -v compute-sanitizer >/dev/null || {
        printf '%-40s skipped: compute-sanitizer is not installed\n' "$stage" | tee -a "$summary"
        continue
      }
      for test in $(kernel_tests); do
        bounded "$stage-$test" 90 compute-sanitizer --tool "$stage" --error-exitcode 9 \
          "$kit/tests/$test"
      done
      ;;
    *) die "unknown stage '$stage'; --help lists them" ;;
  esac
done
printf 'gpu/checks: %s failed; logs in %s\n' "$failures" "$results" | tee -a "$summary"
[ "$failures" = 0 ]
