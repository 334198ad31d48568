#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a release build on processors of the past, which QEMU emulates (Debian: qemu-user): a Nehalem of
# 2008 has x86-64-v2 and nothing more, a Haswell of 2013 x86-64-v3. An instruction that they lack ends
# the program with SIGILL. Not part of the tests: QEMU takes minutes.
#   packaging/test-old-cpu.sh [PROGRAM]     (default: build/release/indexcache-search)
set -euo pipefail
cd "$(dirname "$0")/.."

tool=${1:-build/release/indexcache-search}
qemu=$(command -v qemu-x86_64 || command -v qemu-x86_64-static) || {
  echo "error: qemu-x86_64 is missing; try: apt-get install qemu-user" >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=tests/golden/deepseek_v32_tiny
for sequence in 1 2; do
  echo "{\"input_ids\": [$(seq -s , "$sequence" 3 300 | cut -d , -f 1-40)]}"
done >"$work/tokens.jsonl"

on() {  # on CPU ARGUMENTS…; warnings are of QEMU about features that it does not emulate
  local cpu=$1
  shift
  OMP_NUM_THREADS=1 "$qemu" -cpu "$cpu" "$tool" "$@" 2> >(grep -v '^qemu.*warning' >&2)
}

search() {  # search CPU FOLDER
  on "$1" run "$model" --calibration "$work/tokens.jsonl" --holdout 0 --keep 4 --device cpu \
    --output "$work/$2" --quiet >/dev/null
}

expect_device() {  # expect_device FOLDER NAME
  grep -q "\"device\": *\"cpu $2\"" "$work/$1/run.json" || {
    echo "error: $1 did not run with $2" >&2
    exit 1
  }
}

on Nehalem inspect "$model" >/dev/null
search Nehalem nehalem
expect_device nehalem x86-64-v2
search Haswell haswell
expect_device haswell x86-64-v3

# What the processor lacks is refused, not attempted.
code=0
INDEXCACHE_CPU_ISA=v3 search Nehalem refused 2>"$work/error" || code=$?
[ "$code" -eq 4 ] && grep -q "processor lacks" "$work/error" || {
  echo "error: v3 on a Nehalem gave exit code $code" >&2
  exit 1
}
# And so is a processor that has none of them.
code=0
search core2duo refused 2>"$work/error" || code=$?
[ "$code" -eq 4 ] && grep -q "too old" "$work/error" || {
  echo "error: a Core 2 gave exit code $code" >&2
  exit 1
}
echo "inspect and run work on a Nehalem (x86-64-v2) and a Haswell (x86-64-v3)"
