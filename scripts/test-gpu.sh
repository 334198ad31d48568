#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build on a machine with a GPU and the CUDA toolkit, run the GPU tests and a short benchmark: a few
# minutes on 16 cores. Nothing is installed: libraries are the system's, and where some are missing
# INDEXCACHE_PREFIX names a folder that has their include/, lib/ and share/ (packages unpacked with
# dpkg -x, say). --sanitize also runs the GPU tests under compute-sanitizer, which takes more minutes
# (scripts/sanitize-gpu.sh).
set -euo pipefail
cd "$(dirname "$0")/.."

sanitize=false
[ "${1:-}" != --sanitize ] || sanitize=true
command -v cmake >/dev/null || { echo "error: cmake is needed" >&2; exit 1; }

options=()
[ -z "${INDEXCACHE_PREFIX:-}" ] || options+=("-DCMAKE_PREFIX_PATH=$INDEXCACHE_PREFIX")
cmake --preset dev "${options[@]}"
grep -q indexcache_kernels build/dev/build.ninja || {
  echo "error: no CUDA toolkit was found; nvcc must be on the PATH or in /usr/local/cuda" >&2
  exit 1
}
cmake --build --preset dev --parallel "$(nproc)" \
  --target test_cuda indexcache-search bench_precision
ctest --preset dev -L gpu

! $sanitize || scripts/sanitize-gpu.sh build/dev/tests/test_cuda

tool=build/dev/indexcache-search
tokens=tests/golden/dsa-mini/calibration.h5
"$tool" bench search data/dsa-mini -c "$tokens" --keep 1/8 --whole --device cuda
"$tool" bench search data/dsa-mini -c "$tokens" --keep 1/8 --whole --device cuda --precision bf16
# Losses of a released shape: an error if one is not finite.
for precision in bf16 fp8; do
  "$tool" bench search --synthetic configs/dsa-30b.yaml --context 8192 --keep 46 --device cuda \
    --precision "$precision" --indexer-precision fp8
done
"$tool" bench ops --synthetic configs/glm-5.yaml --device cuda \
  --precision bf16 --indexer-precision fp8 --repeat 3
build/dev/bench_precision data/dsa-mini "$tokens"
