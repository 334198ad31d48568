#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs clang-tidy with the checks of .clang-tidy; exits with 1 if it finds anything.
#   scripts/tidy.sh [--preset NAME] [FILE…]
# Without files: every C++ source of src/ and apps/ that the preset compiles (cpu-only unless given).
# That takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

preset=cpu-only
if [ "${1:-}" = --preset ]; then
  preset=${2:?--preset needs a name of CMakePresets.json}
  shift 2
fi
tidy=$(command -v clang-tidy-14 || command -v clang-tidy || true)
if [ -z "$tidy" ]; then
  install_packages "${tidy_packages[@]}"
  tidy=clang-tidy-14
fi
# Eight sources at a time, as in a build: most of the time goes into headers that they have in common.
# Files that are named need commands of their own.
commands=build/tidy-$preset
unity=-UCMAKE_UNITY_BUILD
[ $# -eq 0 ] || unity=-DCMAKE_UNITY_BUILD=OFF
cmake --preset "$preset" -B "$commands" "$unity" >/dev/null
# The one header that a build writes; CMake has written the others.
cmake --build "$commands" --target build_info >/dev/null
# Clang does not know this option of g++, and would read nothing of a file that is compiled with it.
sed -i 's/ -fno-gnu-unique//' "$commands/compile_commands.json"

files=("$@")
if [ ${#files[@]} -eq 0 ]; then
  mapfile -t files < <(python3 - "$PWD" "$commands" <<'END'
import json, re, sys
root, commands = sys.argv[1:]
names = {command["file"] for command in json.load(open(f"{commands}/compile_commands.json"))}
ours = re.compile(f"{re.escape(root)}/({re.escape(commands)}/)?(src|apps)/")
print(*sorted(filter(ours.match, names)), sep="\n")
END
)
fi
printf '%s\0' "${files[@]}" \
  | xargs -0 -n 1 -P "$(nproc)" "$tidy" -p "$commands" --quiet 2> >(grep -v "warnings generated" >&2) \
  || { echo "clang-tidy reported problems" >&2; exit 1; }
echo "clang-tidy found no problems"
