#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run the GPU tests under compute-sanitizer, each test case as a process of its own and as many at
# the same time as there are cores. Prints a line per case, and the findings of those that fail.
#   scripts/sanitize-gpu.sh TEST [TOOL…]     TEST: build/dev/tests/test_cuda; all three tools
set -euo pipefail

export test=$1 logs
tools=("${@:2}")
[ ${#tools[@]} -gt 0 ] || tools=(memcheck initcheck racecheck)
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# Tests that a tool leaves out. [search] repeats the same operations thousands of times, and [clock]
# compares times. cuBLAS writes its results with the copy engine (TMA), which initcheck does not
# see, and racecheck reports hazards inside of cuBLAS. [large] launches take racecheck minutes.
left_out() {
  case $1 in
    memcheck) echo "~[search]~[clock]" ;;
    initcheck) echo "~[search]~[clock]~[cublas]" ;;
    racecheck) echo "~[search]~[clock]~[cublas]~[large]~[devices]" ;;
    *)
      echo "error: no tool $1; try memcheck, initcheck or racecheck" >&2
      exit 2
      ;;
  esac
}

# Test cases that a pattern matches, one per line. Catch2 2 and 3 have different options for it.
names() {
  "$test" --list-tests --verbosity quiet "$1" >"$logs/names" 2>&1 || true
  ! grep -q "test cases:$" "$logs/names" ||
    { "$test" --list-test-names-only "$1" >"$logs/names" || true; }
  cat "$logs/names"
}

# TOOL, CASE and, if only one section of it is to run, SECTION, separated by tabs.
runs() {
  for tool in "${tools[@]}"; do
    names "$(left_out "$tool")" | sed "s/^/$tool\t/"
    if [ "$tool" = racecheck ]; then
      for section in "20 heads of 512 + 64" "4 heads of 96 + 32"; do
        printf '%s\t%s\t%s\n' racecheck "GPU attention of queries that share tiles" "$section"
      done
    fi
  done
}

check() {
  IFS=$'\t' read -r tool name section <<<"$1"
  local log begin=$SECONDS verdict=ok
  log=$(mktemp -p "$logs")
  local command=("$test" "$(sed 's/[][\\,"*~]/\\&/g' <<<"$name")")
  [ -z "$section" ] || command+=(-c "$section")
  compute-sanitizer --tool "$tool" --error-exitcode 1 "${command[@]}" >"$log" 2>&1 || verdict=FAILED
  ! grep -q "No test cases matched" "$log" || verdict=FAILED
  echo "$verdict  $((SECONDS - begin)) s  $tool: $name${section:+, $section}"
  [ $verdict = ok ] || { cat "$log"; return 1; }
}
export -f check

for tool in "${tools[@]}"; do left_out "$tool" >/dev/null; done
runs | xargs -d '\n' -n 1 -P "$(nproc)" bash -c 'check "$0"' && echo "no findings"
