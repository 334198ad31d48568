#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what is missing and build the program alone: build/release/indexcache-search.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

install_packages "${build_packages[@]}"
configure_and_build release
