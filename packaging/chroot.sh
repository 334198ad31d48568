# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts of this folder: bare systems of Debian 12 to build and install in. Needs root
# and debootstrap. INDEXCACHE_MIRROR names another mirror.

mirror=${INDEXCACHE_MIRROR:-http://deb.debian.org/debian}

require_debootstrap() {
  [ "$(id -u)" -eq 0 ] || { echo "error: a chroot needs root" >&2; return 1; }
  command -v debootstrap >/dev/null || {
    echo "error: debootstrap is missing; try: apt-get install debootstrap" >&2
    return 1
  }
}

# new_root FOLDER: a bare Debian 12. The first one is kept as an archive beside the build folder.
new_root() {
  local root=$1 archive=$PWD/build/debian-12.tar
  rm -rf "$root"
  mkdir -p "$root" build
  if [ ! -f "$archive" ]; then
    debootstrap --variant=minbase bookworm "$root" "$mirror" >"$archive.log" \
      || { tail -n 5 "$archive.log" >&2; return 1; }
    tar -C "$root" -cf "$archive.part" .
    mv "$archive.part" "$archive"
  else
    tar -C "$root" -xpf "$archive"
  fi
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod +x "$root/usr/sbin/policy-rc.d"
  echo 'Dpkg::Use-Pty "0";' >"$root/etc/apt/apt.conf.d/no-terminal"
}

# in_root FOLDER COMMAND…: with a small environment, as a fresh login has.
in_root() {
  local root=$1
  shift
  env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    ${http_proxy:+http_proxy="$http_proxy"} chroot "$root" "$@"
}

seconds_since() { echo "$(($(date +%s) - $1)) s"; }
