#!/usr/bin/env bash
# Summary: ruff, mypy --strict, shellcheck and shfmt over the whole tree; set-up comes before.
# Usage: tools/lint.sh

# shellcheck source=tools/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
no_arguments "$@"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

main() {
  local bin=.venv/bin
  local -a scripts
  mapfile -t scripts < <(find tools tests bench .ci -type f \( -name '*.sh' -o -path '.ci/run' \) | sort)
  printf 'ruff\n' # on lines of their own: set -e does not see a failure before an &&
  "$bin/python" -m ruff check .
  "$bin/python" -m ruff format --check .
  printf 'mypy\n'
  "$bin/python" -m mypy
  printf 'shellcheck\n'
  "$bin/shellcheck" -x "${scripts[@]}"
  printf 'shfmt\n'
  "$bin/shfmt" -d -i 2 "${scripts[@]}"
}

main "$@"
