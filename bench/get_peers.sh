#!/usr/bin/env bash
# Summary: fetch the peers of bench-collect that this machine lacks and unpack them; nothing is installed or started.
# Usage: bench/get_peers.sh DIRECTORY   (then: PEERS=DIRECTORY make bench-collect)
# Needs: apt-get, dpkg, python3 with venv; some 60 MB. `rm -r DIRECTORY` removes all of it.

set -euo pipefail

PACKAGES=(pcp prometheus-node-exporter)

main() {
  local folder
  [[ $# -eq 1 && $1 != -* ]] || {
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
  }
  mkdir -p "$1/archives/partial"
  folder=$(cd "$1" && pwd)
  apt-get install --yes --no-install-recommends --download-only \
    -o Dir::Cache::archives="$folder/archives" "${PACKAGES[@]}"
  local package
  for package in "$folder"/archives/*.deb; do
    dpkg -x "$package" "$folder"
  done
  python3 -m venv "$folder/dool"
  "$folder/dool/bin/python" -m pip install --quiet --no-deps dool==1.3.8
}

main "$@"
