#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tries a package in a bare Debian 12 made by debootstrap: install, use, upgrade, remove, purge. The
# CUDA package is tried on the CPU; it gets cuBLAS from the toolkit at hand, as a package with the name
# that NVIDIA's repository uses.
#   packaging/test-deb.sh build/packages/indexcache-search[-cuda]_VERSION_amd64.deb
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/chroot.sh
require_debootstrap

package=${1:?usage: packaging/test-deb.sh PACKAGE.deb}
root=$(mktemp -d /tmp/indexcache-deb.XXXXXX)
trap 'rm -rf "$root"' EXIT
begin=$(date +%s)
new_root "$root"
echo "bare Debian 12: $(seconds_since "$begin")"

fail() { echo "error: $*" >&2; exit 1; }

name=$(dpkg-deb --field "$package" Package)

# What the CUDA package depends on: libcublas-MAJOR-MINOR with the toolkit's own libraries.
add_cublas() {  # add_cublas PACKAGE_NAME
  local nvcc toolkit folder=$root/tmp/cublas libraries=/usr/lib/x86_64-linux-gnu
  nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
  toolkit=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
  mkdir -p "$folder/DEBIAN" "$folder$libraries"
  cp -L "$toolkit"/lib64/libcublas{,Lt}.so.[0-9]* "$folder$libraries/" \
    || fail "there is no cuBLAS in $toolkit"
  printf 'Package: %s\nVersion: 0\nArchitecture: amd64\nMaintainer: test\nDescription: cuBLAS\n' \
    "$1" >"$folder/DEBIAN/control"
  dpkg-deb --root-owner-group -Znone -b "$folder" "$root/tmp/cublas.deb" >/dev/null
  rm -rf "$folder"
  in_root "$root" apt-get install -y -qq --no-install-recommends /tmp/cublas.deb >/dev/null
  rm "$root/tmp/cublas.deb"
}

# The same files as version 0.0.1, to be upgraded from.
old=$root/tmp/old
dpkg-deb -R "$package" "$old"
sed -i 's/^Version: .*/Version: 0.0.1/' "$old/DEBIAN/control"
echo "only in the old version" >"$old/usr/share/indexcache-search/old"
dpkg-deb --root-owner-group -b "$old" "$root/tmp/old.deb" >/dev/null
rm -rf "$old"
cp "$package" "$root/tmp/new.deb"
mkdir "$root/tmp/model"
cp tests/golden/deepseek_v32_tiny/{config.json,model.safetensors} "$root/tmp/model/"
for sequence in 1 2 3 4; do
  echo "{\"input_ids\": [$(seq -s , "$sequence" 3 300 | cut -d , -f 1-80)]}"
done >"$root/tmp/tokens.jsonl"

begin=$(date +%s)
in_root "$root" apt-get update -qq
cublas=$(dpkg-deb --field "$package" Depends | grep -o 'libcublas-[0-9-]*' || true)
[ -z "$cublas" ] || add_cublas "$cublas"
in_root "$root" apt-get install -y -qq --no-install-recommends /tmp/old.deb >/dev/null
echo "installed with what it needs: $(seconds_since "$begin")"
in_root "$root" apt-get install -y -qq --no-install-recommends /tmp/new.deb >/dev/null
version=$(in_root "$root" dpkg-query -W -f '${Version}' "$name")
[ "$version" = "$(dpkg-deb --field "$package" Version)" ] || fail "upgraded to version $version"
[ ! -e "$root/usr/share/indexcache-search/old" ] || fail "the upgrade left a file of the old version"
echo "upgraded to $version"

tool=/usr/bin/indexcache-search
in_root "$root" "$tool" --version
in_root "$root" "$tool" inspect /tmp/model >/dev/null
in_root "$root" "$tool" run /tmp/model --calibration /tmp/tokens.jsonl --holdout 0.5 --keep 1/2 \
  --device cpu --output /tmp/run --quiet >/dev/null
for output in run.json pattern.yaml report.html heatmap.png overlap.h5; do
  [ -s "$root/tmp/run/$output" ] || fail "run left no $output"
done
# A random model passes no gate worth having: both verdicts are right, an error is not.
share=/usr/share/indexcache-search/configs
code=0
in_root "$root" "$tool" check /tmp/run --gate "$share/ci-gate.yaml" >/dev/null || code=$?
[ "$code" -le 1 ] || fail "check ended with exit code $code"
printf 'schema: indexcache-gate/1\nguards:\n  max_kept_ratio: 0.5\n' >"$root/tmp/gate.yaml"
in_root "$root" "$tool" check /tmp/run --gate /tmp/gate.yaml
echo "inspect, run and check work"

# Files are owned by one package each, so its list is what must be gone; folders may be others', too.
in_root "$root" dpkg -L "$name" | sort >"$root/tmp/files"
in_root "$root" apt-get purge -y -qq "$name" >/dev/null
while read -r path; do
  if [ -e "$root$path" ] && ! in_root "$root" dpkg -S "$path" >/dev/null 2>&1; then
    fail "left after purge: $path"
  fi
done < <(grep -v '^/\.$' "$root/tmp/files")
[ -z "$(in_root "$root" dpkg -l 'indexcache*' 2>/dev/null | grep '^[a-z]')" ] || fail "still listed"
in_root "$root" dpkg --audit
in_root "$root" apt-get install -y -qq --no-install-recommends /tmp/new.deb >/dev/null
in_root "$root" "$tool" --version >/dev/null
echo "removed clean and installed again"
