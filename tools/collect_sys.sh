#!/usr/bin/env bash
# Summary: start, stop or show the collectors of one run on this VM.
# Usage: RUN_ID=x [NODE_ID=...] tools/collect_sys.sh start | stop | status
# Environment: the variables that `make help` lists; also read from run_id.env.
#   Without RUN_ID, start invents one; stop and status take the live or the last run.
# Exit codes: 0 done, 1 failed, 2 wrong usage
# Example: RUN_ID=r1 PROC_MATCH=ffmpeg bash tools/collect_sys.sh start

# shellcheck source=tools/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

main() {
  local here python
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
  case ${1-} in
  start | stop | status) ;;
  -h | --help)
    show_manual
    exit 0
    ;;
  *) die 2 "wanted start, stop or status; see --help" ;;
  esac
  python=$here/../.venv/bin/python
  [[ -x $python ]] || die 1 "the Python environment is missing: run 'make setup'"
  exec "$python" -I "$here/lib/collect_sys.py" "$@"
}

main "$@"
