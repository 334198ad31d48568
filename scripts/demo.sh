#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what is missing, build a release, and search the small trained model in data/dsa-mini.
# Run again, it repeats the result at once.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

install_packages "${build_packages[@]}"
configure_and_build release

tool=build/release/indexcache-search
echo
"$tool" run data/dsa-mini --calibration data/dsa-mini/calibration.h5 \
  --holdout data/dsa-mini/heldout.h5 --keep 1/4 --output run
cat <<END

Try next, for example the paper's uniform pattern beside the one just found:
  $tool eval data/dsa-mini run/pattern.yaml uniform:4 -c data/dsa-mini/heldout.h5
END
