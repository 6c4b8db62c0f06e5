#!/bin/sh
# Trains while processes, network, disk and clock are disturbed at random, and checks that nothing was lost.
#
#   scripts/chaos.sh [--short | --minutes M] [--actors N] [--seed S] ...      default: an hour with 8 actors, for every night
#
# --short is what scripts/test.sh runs: 20 s of faults with 3 actors. The rest, and --help, is scripts/chaos/chaos.py's. Root is asked for
# by some faults of network and disk alone: without it they are left out, each with its reason.
set -eu
cd "$(dirname "$0")/.."
if [ "${1:-}" = --short ]; then
  shift
  set -- --minutes 0.33 --actors 3 "$@"
fi
exec python3 scripts/chaos/chaos.py "$@"
