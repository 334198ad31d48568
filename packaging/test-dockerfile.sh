#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the steps of packaging/Dockerfile.cpu without a container tool: every stage is a bare Debian 12
# made by debootstrap, and its instructions are read from the file itself. Needs root, and as long as
# a build from a clean clone takes. Where Docker works, `docker build` says the same.
#   packaging/test-dockerfile.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/chroot.sh
require_debootstrap

file=packaging/Dockerfile.cpu
work=$(mktemp -d /tmp/indexcache-image.XXXXXX)
trap 'rm -rf "$work"' EXIT
root='' folder=/ entry='' stages=0

fail() { echo "error: $file: $*" >&2; exit 1; }

from() {  # from IMAGE [AS NAME]
  case "$1" in
    debian:12 | debian:12-slim) ;;
    *) fail "only stages of Debian 12 can be tried here, not $1" ;;
  esac
  stages=$((stages + 1))
  root=$work/${3:-stage$stages} folder=/
  new_root "$root"
}

copy() {  # copy [--from=STAGE] SOURCE TARGET
  local source=$PWD stage=''
  case "$1" in
    --from=*) stage=${1#--from=} source=$work/$stage; shift ;;
  esac
  local target=$2
  case "$target" in
    /*) target=$root$target ;;
    *) target=$root$folder/$target ;;
  esac
  mkdir -p "$target"
  if [ -n "$stage" ]; then
    cp -a "$source$1". "$target"
  else
    [ "$1" = . ] || fail "only COPY . is known here"
    git ls-files -z | tar --null -T - -cf - | tar -xf - -C "$target"
  fi
}

step() {  # step INSTRUCTION ARGUMENTS
  local begin
  begin=$(date +%s)
  echo "==> $1 $2"
  case "$1" in
    FROM) read -ra words <<<"$2"; from "${words[@]}" ;;
    WORKDIR) folder=$2; mkdir -p "$root$folder" ;;
    COPY) read -ra words <<<"$2"; copy "${words[@]}" ;;
    RUN) in_root "$root" sh -c "cd '$folder' && $2" || fail "a step failed" ;;
    ENTRYPOINT) entry=$(tr -d '[]",' <<<"$2") ;;
    CMD) in_root "$root" sh -c "cd '$folder' && $entry $(tr -d '[]",' <<<"$2")" >/dev/null \
      || fail "the command failed" ;;
    *) fail "unknown instruction $1" ;;
  esac
  echo "    $(seconds_since "$begin")"
}

begin=$(date +%s)
joined=''
while IFS= read -r line; do
  case "$line" in
    '#'* | '') continue ;;
    *\\) joined+="${line%\\} "; continue ;;
  esac
  joined+=$line
  step "${joined%% *}" "${joined#* }"
  joined=''
done <"$file"
[ "$stages" -eq 2 ] || fail "it has $stages stages"
in_root "$root" "$entry" --version
echo "the steps of $file work: $(seconds_since "$begin")"
