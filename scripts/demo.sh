#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds the program for this machine, turns documents into calibration
# sequences, and searches the small trained model in data/dsa-mini. If run again, it repeats the result
# at once.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/build.sh --this-machine
tool=build/release/indexcache-search
echo
"$tool" prepare --input data/dsa-mini/calibration.jsonl --tokenizer data/dsa-mini \
  --seq-len 1024 --min-length 1024 --sequences 16 --holdout 0.5 --output build/calibration.h5
echo
"$tool" run data/dsa-mini --calibration build/calibration.h5 --keep 1/4 --output run
cat <<END

Try next, for example the paper's uniform pattern next to the one just found:
  $tool eval data/dsa-mini run/pattern.yaml uniform:4 -c data/dsa-mini/heldout.h5
END
