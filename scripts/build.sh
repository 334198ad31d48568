#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what is missing and build only the program: build/release/indexcache-search. It runs on any
# x86-64-v2 processor and, if nvcc is found, on GPUs of 80, 89, 90 and 100.
#   scripts/build.sh [--this-machine]
# --this-machine: only for the processor and the GPU (if there is one) of this machine. That is faster
# to build.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

options=()
case "${1:-}" in
  "") ;;
  --this-machine) options+=(-DCMAKE_CUDA_ARCHITECTURES=native -DINDEXCACHE_CPU_ARCH=native) ;;
  *) echo "usage: scripts/build.sh [--this-machine]" >&2; exit 2 ;;
esac
install_packages "${build_packages[@]}"
# Configured every time: the folder may have been built for other machines.
cmake --preset release "${options[@]}"
cmake --build --preset release
