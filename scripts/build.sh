#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what is missing and build only the program: build/release/indexcache-search. It runs on any
# x86-64-v2 processor and, if nvcc is found, on GPUs of 80, 89, 90 and 100.
#   scripts/build.sh [--this-gpu]
# --this-gpu: CUDA code only for the GPU of this machine, or none without one. That is faster to build.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

options=()
case "${1:-}" in
  "") ;;
  --this-gpu) options+=(-DCMAKE_CUDA_ARCHITECTURES=native) ;;
  *) echo "usage: scripts/build.sh [--this-gpu]" >&2; exit 2 ;;
esac
install_packages "${build_packages[@]}"
# Configured every time: the folder may have been built for other GPUs.
cmake --preset release "${options[@]}"
cmake --build --preset release
