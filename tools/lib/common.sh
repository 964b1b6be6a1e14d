# shellcheck shell=bash
# The one file that the scripts in tools/ source: strict mode, messages, help.

set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C TZ=UTC

# One line for people on stderr, with the script's name in front.
warn() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# die CODE MESSAGE: say why and leave.
die() {
  local code=$1
  shift
  warn "$*"
  exit "$code"
}

# The script's first comment block is its manual.
show_manual() {
  awk 'NR > 1 && /^#/ { sub(/^# ?/, ""); print; next } NR > 1 { exit }' "$0"
}

# A collector takes no argument but --help: what it needs comes in the environment.
no_arguments() {
  case ${1-} in
  '') ;;
  -h | --help)
    show_manual
    exit 0
    ;;
  *) die 2 "unknown argument '$1'; see --help" ;;
  esac
}
