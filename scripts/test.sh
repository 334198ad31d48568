#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what is missing, build, and run every test. Arguments go to ctest (-LE slow leaves out the
# comparison with the reference search, which takes minutes).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

install_packages "${build_packages[@]}" "${test_packages[@]}"
# CI looks at the report in a browser; elsewhere that test is skipped where there is none.
if [ "${CI:-}" = true ] && apt-cache show chromium-driver >/dev/null 2>&1; then
  install_packages "${browser_packages[@]}"
fi
# In CI warnings are errors; elsewhere a newer compiler's new warning must not stop anyone.
preset=dev
[ "${CI:-}" != true ] || preset=ci
configure_and_build "$preset"
ctest --preset "$preset" "$@"
