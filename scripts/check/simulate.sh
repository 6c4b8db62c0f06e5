#!/bin/sh
# Simulates the control plane for many seeds (10,000), for a nightly job; CI does 500 of them in simulation_test. A seed in
# which something does not hold is told with its last events, and tells the same again:
#     scripts/check/simulate.sh [SEEDS [FIRST]]
set -eu
cd "$(dirname "$0")/../.."
cmake --build --preset release --target simulate
exec build/release/simulations/simulate "${2:-0}" "${1:-10000}"
