#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes docs/heatmap.png and docs/report.png anew from a run on data/dsa-mini, as README and docs show
# them. Needs chromium; takes about two minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh
tool=build/release/indexcache-search
run=build/docs-run
SOURCE_DATE_EPOCH=1767225600 "$tool" run data/dsa-mini -c data/dsa-mini/calibration.h5 \
  --holdout data/dsa-mini/heldout.h5 --keep 1/2,1/4 --output "$run" --restart --quiet
cp "$run/heatmap.png" docs/heatmap.png
chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,1360 \
  --screenshot="$PWD/docs/report.png" "file://$PWD/$run/report.html"
