#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build, check that 1, 2, 4, 8, … GPUs of this machine (as many as are visible) give equal results,
# and print how a search and a training scale: within ten minutes, with about 15 GB in a temporary
# folder. Nothing is installed; INDEXCACHE_PREFIX as in scripts/test-gpu.sh.
#   scripts/scaling.sh [OPTIONS]                    see scripts/scaling.py --help
#   INDEXCACHE_PROGRAM=build/dev/indexcache-search scripts/scaling.sh    does not build
#   scripts/scaling.sh --tiny                       a tiny model on the processor, which checks the
#                                                   script
set -euo pipefail
cd "$(dirname "$0")/.."

options=("$@")
if [ "${1:-}" = --tiny ]; then
  options=(--kind cpu --counts 1,2,3 --config tests/golden/deepseek_v32_tiny/config.json --layers 6
    --length 96 --train-length 64 --mini-length 160 --steps 4 --precision fp32 "${@:2}")
fi
program=${INDEXCACHE_PROGRAM:-}
if [ -z "$program" ]; then
  prefix=()
  [ -z "${INDEXCACHE_PREFIX:-}" ] || prefix+=("-DCMAKE_PREFIX_PATH=$INDEXCACHE_PREFIX")
  cmake --preset dev "${prefix[@]}"
  cmake --build --preset dev --parallel "$(nproc)" --target indexcache-search
  program=build/dev/indexcache-search
fi
exec python3 scripts/scaling.py "$program" "${options[@]}"
