#!/usr/bin/env bash
# Summary: write requirements/*.txt anew: the newest packages that pyproject.toml allows, with hashes.
# Usage: tools/lock.sh
# Needs: the uv tool, which it installs into a folder of its own and removes.

# shellcheck source=tools/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
no_arguments "$@"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() {
  "$1/bin/uv" pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.10 \
    --custom-compile-command 'make lock' pyproject.toml -o "requirements/$2.txt" "${@:3}"
}

main() {
  local folder
  folder=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder is known now, and gone from scope later
  trap "rm -rf '$folder'" EXIT
  python3 -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet uv
  compile "$folder" base
  compile "$folder" dev --extra dev
  # The service runs without Tracekit: its image holds nothing of ours.
  compile "$folder" app --extra app --no-emit-package msgspec --no-emit-package psutil
  compile "$folder" bench-app --extra bench-app --constraint requirements/app.txt
  compile "$folder" bench --extra bench
  compile "$folder" sim --extra sim
  compile "$folder" spark --extra spark
  # The tests have both in one environment: one protobuf.
  compile "$folder" perfetto --extra perfetto --constraint requirements/dev.txt
  compile "$folder" fleet --extra fleet
  compile "$folder" browser --extra browser
}

main "$@"
