#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what is missing, build, and run every test. Arguments go to ctest (-LE slow leaves out the
# comparison with the reference search, which takes minutes).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

install_packages "${build_packages[@]}" "${test_packages[@]}"
# CI checks the format, looks at the report in a browser and completes in other shells than bash;
# elsewhere these tests are skipped if the programs are missing.
if [ "${CI:-}" = true ]; then
  install_packages "${shell_packages[@]}"
  ! apt-cache show "${format_packages[@]}" >/dev/null 2>&1 || install_packages "${format_packages[@]}"
  ! apt-cache show chromium-driver >/dev/null 2>&1 || install_packages "${browser_packages[@]}"
fi
# In CI warnings are errors; elsewhere a newer compiler's new warning must not stop anyone.
preset=dev
[ "${CI:-}" != true ] || preset=ci
configure_and_build "$preset"
ctest --preset "$preset" --parallel "$(nproc)" "$@"
