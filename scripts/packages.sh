# SPDX-License-Identifier: Apache-2.0
# Sourced by the other scripts: Debian 12 and Ubuntu 24.04 packages, installed only if missing.

build_packages=(cmake g++ ninja-build libcli11-dev libeigen3-dev libfmt-dev libhdf5-dev libpcre2-dev
  libpng-dev libssl-dev libutf8proc-dev libyaml-cpp-dev libzstd-dev nlohmann-json3-dev zlib1g-dev)
test_packages=(catch2 libopenmpi-dev openmpi-bin python3 python3-jsonschema python3-yaml)

# What decides how sources are formatted: the version of Debian 12. With libLLVM it takes 165 MB, so
# only CI installs it; elsewhere its test is skipped if it is missing.
format_packages=(clang-format-14)

# What scripts/tidy.sh needs.
tidy_packages=(clang-tidy-14)

# What the test of the report's page needs; Ubuntu has Chromium only as a snap.
browser_packages=(chromium chromium-driver python3-selenium fonts-dejavu-core)

# What the tests of completions and manual pages need; without them these tests look at less.
shell_packages=(zsh fish groff-base)

install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' \
      || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "error: apt-get was not found; install these packages: ${missing[*]}" >&2
    return 1
  fi
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  echo "installing: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# configure_and_build PRESET: configures once; the build itself does only what changed.
configure_and_build() {
  [ -f "build/$1/build.ninja" ] || cmake --preset "$1"
  cmake --build --preset "$1"
}
