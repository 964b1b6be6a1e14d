#!/usr/bin/env bash
# Summary: makes the base image of the tests that need containers, unless the engine has it; prints its tag.
# Usage: tests/container_image.sh
# Needs: root, docker with its engine, debootstrap. Takes a minute, once; nothing is pulled.
#   The system in it is this machine's release, from the mirror that this machine's apt uses, and it trusts
#   the certificates that this machine trusts.
set -euo pipefail
export LC_ALL=C

packages=(ca-certificates python3 python3-venv)

main() {
  local codename mirror sum tag
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  sum=$(sha256sum <"${BASH_SOURCE[0]}")
  tag=tracekit-test-base:$codename-${sum:0:12} # a changed script makes another image
  if ! docker image inspect "$tag" >/dev/null 2>&1; then
    mirror=$(mirror_of "$codename")
    [[ $mirror ]] || {
      printf '%s: apt knows no mirror of %s; run apt-get update\n' "${0##*/}" "$codename" >&2
      exit 1
    }
    make_image "$codename" "$mirror" "$tag" >&2
  fi
  printf '%s\n' "$tag"
}

# The first source that apt has for the main part of a release.
mirror_of() {
  local release=$1
  apt-get indextargets --format "\$(CODENAME) \$(COMPONENT) \$(REPO_URI)" "Created-By: Packages" |
    awk -v release="$release" '$1 == release && $2 == "main" { print $3; exit }'
}

make_image() {
  local codename=$1 mirror=$2 tag=$3 proxy
  root=$(mktemp -d /var/tmp/tracekit-image.XXXXXX)
  trap 'rm -rf --one-file-system "$root"' EXIT
  proxy=$(apt-config dump --format '%v' Acquire::http::Proxy)
  export http_proxy=${proxy:-${http_proxy-}}
  debootstrap --variant=minbase --include="$(
    IFS=,
    printf '%s' "${packages[*]}"
  )" "$codename" "$root" "$mirror"
  mkdir -p "$root/usr/local/share/ca-certificates"
  cp -a /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
  cp -a /etc/ssl/certs/. "$root/etc/ssl/certs/"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -c . |
    docker import --message "base of the tests" - "$tag"
}

main "$@"
