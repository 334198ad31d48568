#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run the GPU tests under compute-sanitizer, each test case in a process of its own and as many at
# the same time as there are cores, but at most 16. Prints a line per case, and the output of those
# that fail. On 16 cores and an H200, 270 of the 272 runs took seven and a half minutes.
#   scripts/sanitize-gpu.sh TEST [TOOL…]
# TEST is build/dev/tests/test_cuda; by default it runs under all three tools.
set -euo pipefail

export test=${1:?usage: scripts/sanitize-gpu.sh TEST [memcheck|initcheck|racecheck …]} logs
tools=("${@:2}")
[ ${#tools[@]} -gt 0 ] || tools=(memcheck initcheck racecheck)

# The pattern of the test cases that a tool runs.
pattern() {
  # [search] repeats the same operations thousands of times, and [clock] compares times.
  local all="~[search]~[clock]"
  case $1 in
    memcheck) echo "$all" ;;
    # Kernels read what cuBLAS wrote through the Tensor Memory Accelerator, which it does not see,
    # and it may forget what kernels wrote if several threads allocate memory.
    initcheck) echo "$all~[cublas]~[threads]" ;;
    # It reports hazards inside cuBLAS, needs minutes for a [large] launch, and looks at one device.
    racecheck) echo "$all~[cublas]~[large]~[devices]" ;;
    *) echo "error: no tool $1; try memcheck, initcheck or racecheck" >&2; return 2 ;;
  esac
}

# Test cases that a pattern matches, one per line. Catch2 2 and 3 have different options for it.
names() {
  "$test" --list-tests --verbosity quiet "$1" >"$logs/names" 2>&1 || true
  ! grep -q "test cases:$" "$logs/names" ||
    { "$test" --list-test-names-only "$1" >"$logs/names" || true; }
  cat "$logs/names"
}

# Lines of TOOL, CASE and, if only one section of the case is to run, SECTION, separated by tabs.
runs() {
  local tool section
  for tool in "${tools[@]}"; do
    names "$(pattern "$tool")" | sed "s/^/$tool\t/"
    [ "$tool" = racecheck ] || continue
    for section in "20 heads of 512 + 64" "4 heads of 96 + 32"; do
      printf '%s\t%s\t%s\n' "$tool" "GPU attention of queries that share tiles" "$section"
    done
  done
}

check() {
  local tool name section log begin=$SECONDS verdict=ok output=""
  IFS=$'\t' read -r tool name section <<<"$1"
  log=$(mktemp -p "$logs")
  local command=("$test" "$(sed 's/[][\\,"*~]/\\&/g' <<<"$name")")
  [ -z "$section" ] || command+=(-c "$section")
  compute-sanitizer --tool "$tool" --error-exitcode 1 "${command[@]}" >"$log" 2>&1 || verdict=FAILED
  # Catch2 is content with cases and sections that do not exist.
  ! grep -q "No test cases matched" "$log" || verdict=FAILED
  [ -z "$section" ] || ! grep -q "assertions: - none -" "$log" || verdict=FAILED
  [ $verdict = ok ] || output=$'\n'$(cat "$log")
  printf '%s\n' "$verdict  $((SECONDS - begin)) s  $tool: $name${section:+, $section}$output"
  [ $verdict = ok ]
}
export -f check

for tool in "${tools[@]}"; do pattern "$tool" >/dev/null; done
command -v compute-sanitizer >/dev/null || {
  echo "error: no compute-sanitizer on the PATH; it is a part of the CUDA toolkit" >&2
  exit 1
}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
processes=$(nproc)
[ "$processes" -le 16 ] || processes=16
runs | xargs -d '\n' -n 1 -P "$processes" bash -c 'check "$0"' && echo "no findings"
