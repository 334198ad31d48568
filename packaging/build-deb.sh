#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds a Debian package and tries it in a bare Debian 12: install, use, upgrade, remove, purge.
#   packaging/build-deb.sh cpu|cuda [--no-test]
# The package is left in build/packages/. Build it on Debian 12: dependencies are those of the system
# at hand. cuda needs nvcc.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh
. packaging/chroot.sh

kind=${1:-}
case "$kind" in
  cpu) cuda=OFF ;;
  cuda) cuda=ON ;;
  *) echo "usage: packaging/build-deb.sh cpu|cuda [--no-test]" >&2; exit 2 ;;
esac
test=true
[ "${2:-}" != --no-test ] || test=false

folder=build/package-$kind
begin=$(date +%s)
install_packages "${build_packages[@]}" dpkg-dev
options=(-DINDEXCACHE_ENABLE_CUDA="$cuda" -DINDEXCACHE_DEBIAN=ON)
[ -z "${DEBEMAIL:-}" ] \
  || options+=("-DINDEXCACHE_PACKAGE_MAINTAINER=${DEBFULLNAME:-$DEBEMAIL} <$DEBEMAIL>")
cmake --preset release -B "$folder" "${options[@]}"
cmake --build "$folder"
rm -f "$folder"/*.deb
(cd "$folder" && cpack -B "$PWD")
mkdir -p build/packages
package=$(ls "$folder"/*.deb)
cp "$package" build/packages/
package=build/packages/$(basename "$package")
echo "built $package in $(seconds_since "$begin")"
dpkg-deb --info "$package"
if command -v lintian >/dev/null; then
  # This is no upload to Debian, so no bug of its tracker is closed; the rest is to be read.
  lintian --suppress-tags initial-upload-closes-no-bugs "$package" || true
fi
if [ "$kind" = cuda ]; then
  dpkg-deb --field "$package" Depends | grep -q libcublas \
    || { echo "error: the package does not name cuBLAS" >&2; exit 1; }
fi
! $test || packaging/test-deb.sh "$package"
