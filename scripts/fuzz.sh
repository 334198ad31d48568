#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fuzzes every reader of foreign files with libFuzzer under AddressSanitizer, UBSan and
# LeakSanitizer (docs/reliability.md).
#
#   scripts/fuzz.sh [EXECUTIONS]     over all targets, 1,000,000 by default
#
# New inputs go to build/fuzz/found/TARGET; a finding stays there as crash-…, leak-… or timeout-….
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

install_packages "${build_packages[@]}" clang libclang-rt-dev libomp-dev
configure_and_build fuzz
executions=${1:-1000000}

# Shares in thousandths, about in inverse proportion to what an execution costs.
shares=(safetensors:220 shard_index:220 journal:190 config:140 gate:70 tokenizer:50 documents:20 pattern:40 result:25 drift:20
  calibration:5)
total=0
for share in "${shares[@]}"; do
  target=${share%:*}
  found=build/fuzz/found/$target
  mkdir -p "$found"
  begin=$SECONDS
  # Ten seconds for a few kilobytes is a hang, 2 GiB for one allocation a size that was trusted.
  build/fuzz/tests/fuzz/fuzz_"$target" -runs=$((executions * ${share#*:} / 1000)) -max_len=8192 \
    -timeout=10 -seed=1 -malloc_limit_mb=2048 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="$found/" "$found" "tests/fuzz/corpus/$target" >"$found.log" 2>&1 \
    || { tail -40 "$found.log"; echo "error: $target found something, see $found" >&2; exit 1; }
  done_here=$(sed -n 's/^stat::number_of_executed_units: *//p' "$found.log")
  total=$((total + done_here))
  printf '%-12s %9d executions in %5d s, %s edges\n' "$target" "$done_here" \
    $((SECONDS - begin)) "$(grep -o 'cov: [0-9]*' "$found.log" | tail -1 | cut -d' ' -f2)"
done
echo "$total executions in $SECONDS s, nothing found"
