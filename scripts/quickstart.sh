#!/bin/sh
# Sets up, builds, and trains the small policy on Countdown on this machine: one learner, two actors, gRPC on loopback.
#
#   scripts/quickstart.sh [--set path.to.field=value ...]      arguments go to `tactus train`
#
# The run's folder is runs/quickstart-<time>; Ctrl-C checkpoints and stops, and the printed command goes on from there.
set -eu
case "${1:-}" in
  -h | --help)
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
cd "$(dirname "$0")/.."

scripts/setup.sh
cmake --preset release >/dev/null
echo "quickstart: building (some minutes the first time)"
cmake --build --preset release --parallel "$(nproc)" --target tactus tactus-learner tactus-actor

out=runs/quickstart-$(date +%Y%m%d-%H%M%S)
echo "quickstart: training; the run's folder is $out"
code=0
build/release/bin/tactus train --config configs/quickstart.textproto --out "$out" --learners 1 --actors 2 "$@" || code=$?

# A mistake found before the run began leaves no folder, and tactus has said what it was.
[ -d "$out" ] || exit "$code"
cat <<END
quickstart: what the run left in $out
  checkpoints/   newest: $(ls "$out/checkpoints" 2>/dev/null | sort | tail -n 1); its model/ loads in transformers
  report.html    reward curve and samples; made anew by: build/release/bin/tactus report $out
  metrics.jsonl  one line per step; tensorboard/ has the same for TensorBoard
  samples.jsonl  completions with reward and credit
  go on with:    build/release/bin/tactus train --resume $out
END
exit "$code"
