#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Print how fast the search is on this machine's CPU: the whole job on data/dsa-mini down to 1/8,
# the first step's sweep against evaluating its candidates one by one, and the tokenizer. Nothing is
# asserted.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

install_packages "${build_packages[@]}" "${test_packages[@]}" time
configure_and_build dev
output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
echo "run to 1/8 on 8 x 1,024 tokens of dsa-mini, $(nproc) cores:"
/usr/bin/time -f '  %e s, %M KiB at the peak' build/dev/indexcache-search run data/dsa-mini --quiet \
  --calibration data/dsa-mini/calibration.h5 --holdout 0 --keep 1/8 --output "$output/run" >/dev/null
OMP_WAIT_POLICY=passive build/dev/bench_sweep data/dsa-mini data/dsa-mini/calibration.h5
OMP_WAIT_POLICY=passive build/dev/bench_attention
echo "tokenizer of dsa-mini over its calibration text, one core:"
build/dev/bench_tokenizer data/dsa-mini data/dsa-mini/calibration.jsonl
