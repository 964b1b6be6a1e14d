#!/usr/bin/env bash
# Summary: install what is missing, and say so; with nothing missing it changes nothing.
# Usage: tools/setup.sh [--check] [dev] [app] [sim] [spark] [bench] [bench-app] [fleet] [browser] [vegeta] [uplot]
#                       [tools/exporters/NAME.py]
#   --check    only tell what is missing and the command that would install it; exit 1 if anything is
#   dev        also what `make test` and `make lint` need
#   app        also what the reference service needs
#   sim        also what writes Parquet: exporters, merge
#   spark      also what tools/spark_merge.py needs, Java included
#   bench      also the peers that `make bench-parse` measures against
#   bench-app  also what `make bench-app` puts beside it
#   fleet      also what the fleet targets drive VMs with
#   browser    also what drives Chromium in the tests of the report
#   vegeta     also the load generator: with go, else from its release archive
#   uplot      also the charting library of the report: its npm package, without npm
#   tools/exporters/NAME.py  also what that exporter names in its header, as "# Needs: requirements/EXTRA.txt"
# Needs: root or sudo for system packages (apt); no right at all where none is missing.

# shellcheck source=tools/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VEGETA=12.13.0 VEGETA_ARCHIVE=12.12.0 # the last release with an archive is not the last version

# "program package" a line: what the collectors say in their headers, and what the rest needs.
needs() {
  sed -n 's/^# Needs: //p' tools/collectors/*.* | grep -oE '[[:alnum:]._-]+ \(package [[:alnum:].-]+\)' |
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

has_vegeta() {
  command -v vegeta >/dev/null || [[ -x .venv/bin/vegeta ]]
}

# The archive is held against the hashes of its release before anything of it is used.
download_vegeta() {
  local machine folder base=https://github.com/tsenart/vegeta/releases/download/v$VEGETA_ARCHIVE
  case $(uname -m) in
  x86_64) machine=amd64 ;;
  aarch64) machine=arm64 ;;
  *) return 1 ;;
  esac
  command -v curl >/dev/null || return 1
  folder=$(mktemp -d)
  if ( # a condition: set -e does not hold in it
    cd "$folder" &&
      curl -fsSL --max-time 120 -O "$base/vegeta_${VEGETA_ARCHIVE}_linux_$machine.tar.gz" \
        -O "$base/vegeta_${VEGETA_ARCHIVE}_checksums.txt" &&
      sha256sum --check --ignore-missing --status ./*_checksums.txt &&
      tar -xzf ./*.tar.gz vegeta
  ); then
    mv "$folder/vegeta" .venv/bin/vegeta
  fi
  rm -rf "$folder"
  [[ -x .venv/bin/vegeta ]]
}

install_vegeta() {
  has_vegeta && return
  if command -v go >/dev/null; then
    printf 'setup: installing vegeta v%s into .venv with go\n' "$VEGETA"
    GOBIN=$PWD/.venv/bin go install "github.com/tsenart/vegeta/v12@v$VEGETA" && return
  fi
  printf 'setup: installing vegeta v%s into .venv from its release\n' "$VEGETA_ARCHIVE"
  download_vegeta ||
    die 1 "vegeta could not be installed: put it on the PATH (https://github.com/tsenart/vegeta/releases), or install go"
}

has_uplot() {
  [[ -f .venv/share/uplot/LICENSE ]]
}

install_uplot() {
  has_uplot && return
  printf 'setup: getting uPlot, the charting library of the report\n'
  .venv/bin/python -I tools/lib/fetch_uplot.py .venv/share/uplot
}

check_only() {
  local code=0 extra command what
  local -a packages
  mapfile -t packages < <(missing_packages | sort -u)
  if ((${#packages[@]})); then
    printf 'missing system packages: %s\n  install with: apt-get install %s\n' "${packages[*]}" "${packages[*]}"
    code=1
  fi
  for extra in base "$@"; do
    case $extra in
    vegeta) has_vegeta && continue || what=vegeta ;;
    uplot) has_uplot && continue || what=uPlot ;;
    *) venv_works && is_installed "$extra" && continue || what="packages of requirements/$extra.txt in .venv" ;;
    esac
    command='make setup'
    [[ $extra == base ]] || command="tools/setup.sh $extra"
    printf 'missing: %s\n  install with: %s\n' "$what" "$command"
    code=1
  done
  ((code)) || printf 'nothing is missing\n'
  return "$code"
}

# The arguments, an exporter replaced by the extra that its header names, if any.
expand_arguments() {
  local one
  for one in "$@"; do
    case $one in
    tools/exporters/*.py) sed -n 's|^# Needs: requirements/\(.*\)\.txt$|\1|p' "$one" ;;
    *) printf '%s\n' "$one" ;;
    esac
  done
}

check_arguments() {
  local one
  for one in "$@"; do
    [[ $one == vegeta || $one == uplot || -f requirements/$one.txt ]] || die 2 "unknown argument '$one'; see --help"
  done
}

main() {
  local extra
  local -a packages extras
  mapfile -t extras < <(expand_arguments "$@")
  set -- "${extras[@]}"
  case ${1-} in
  -h | --help)
    show_manual
    return
    ;;
  --check)
    check_arguments "${@:2}"
    check_python
    has_vegeta || printf 'vegeta is not there: only load targets need it, and install it\n'
    check_only "${@:2}"
    return
    ;;
  esac
  check_arguments "$@"
  check_python
  mapfile -t packages < <(missing_packages | sort -u)
  ((${#packages[@]} == 0)) || install_packages "${packages[@]}"
  make_venv
  for extra in base "$@"; do
    case $extra in
    vegeta) install_vegeta ;;
    uplot) install_uplot ;;
    *) install_locked "$extra" ;;
    esac
  done
}

main "$@"
