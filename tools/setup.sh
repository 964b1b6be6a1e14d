#!/usr/bin/env bash
# Summary: install what is missing, and say so; with nothing missing it changes nothing.
# Usage: tools/setup.sh [--check] [dev]
#   --check  only tell what is missing and the command that would install it; exit 1 if anything is
#   dev      also what `make test` and `make lint` need
# Needs: root or sudo for system packages (apt); no right at all where none is missing.

# shellcheck source=tools/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# "program package" a line: what the collectors say in their headers, and what the rest needs.
needs() {
  sed -n 's/^# Needs: //p' tools/collectors/* | grep -oE '[[:alnum:]._-]+ \(package [[:alnum:].-]+\)' |
    sed -E 's/ \(package (.*)\)/ \1/'
  printf '%s\n' 'ps procps' 'ip iproute2' 'ping iputils-ping' 'jq jq'
}

missing_packages() {
  local program package
  while read -r program package; do
    command -v "$program" >/dev/null || printf '%s\n' "$package"
  done < <(needs)
  python3 -c 'import ensurepip, venv' 2>/dev/null || printf 'python3-venv\n'
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

install_packages() {
  local -a apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
  command -v apt-get >/dev/null ||
    die 1 "no apt-get here; install these with your package manager: $* (then run this again)"
  ((EUID == 0)) || command -v sudo >/dev/null ||
    die 1 "neither root nor sudo; ask for: apt-get install $*"
  printf 'setup: installing system packages: %s\n' "$*"
  as_root "${apt[@]}" update -qq
  as_root "${apt[@]}" install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$@" >/dev/null
}

check_python() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die 1 "python3 is $(python3 -V); 3.10 or newer is needed"
}

venv_works() {
  [[ -x .venv/bin/python ]] && .venv/bin/python -I -c '' 2>/dev/null
}

make_venv() {
  venv_works && return
  printf 'setup: making .venv with %s\n' "$(python3 -V)"
  python3 -m venv --clear .venv
}

# The stamp says which lock file was installed.
is_installed() {
  [[ -f .venv/.installed-$1 ]] && cmp -s "requirements/$1.txt" ".venv/.installed-$1"
}

install_locked() {
  is_installed "$1" && return
  printf 'setup: installing the packages of requirements/%s.txt into .venv\n' "$1"
  .venv/bin/python -I -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes -r "requirements/$1.txt"
  cp "requirements/$1.txt" ".venv/.installed-$1"
}

check_only() {
  local code=0 extra
  local -a packages
  mapfile -t packages < <(missing_packages | sort -u)
  if ((${#packages[@]})); then
    printf 'missing system packages: %s\n  install with: apt-get install %s\n' "${packages[*]}" "${packages[*]}"
    code=1
  fi
  for extra in base "$@"; do
    if ! venv_works || ! is_installed "$extra"; then
      printf 'missing: packages of requirements/%s.txt in .venv\n  install with: make setup\n' "$extra"
      code=1
    fi
  done
  ((code)) || printf 'nothing is missing\n'
  return "$code"
}

main() {
  local extra
  local -a packages
  case ${1-} in
  -h | --help)
    show_manual
    return
    ;;
  --check)
    check_python
    [[ ${2-dev} == dev ]] || die 2 "unknown argument '$2'; see --help"
    command -v vegeta >/dev/null || printf 'vegeta is not there: only load targets need it\n'
    check_only "${@:2}"
    return
    ;;
  '' | dev) ;;
  *) die 2 "unknown argument '$1'; see --help" ;;
  esac
  check_python
  mapfile -t packages < <(missing_packages | sort -u)
  ((${#packages[@]} == 0)) || install_packages "${packages[@]}"
  make_venv
  for extra in base "$@"; do
    install_locked "$extra"
  done
}

main "$@"
