#!/usr/bin/env bash
# Summary: free memory of the host in MB of 10^6 bytes, once a second.
# Usage: tools/collectors/vmstat.sh
# Series: mem
# Writes: resources.jsonl
# Needs: vmstat (package procps)
# Cost: about 0.2 ms of CPU a second; reads /proc/meminfo, /proc/stat and /proc/vmstat.
# Output: the text of `vmstat -Sm -t 1`; tracekit/sources/vmstat.py reads it.

# shellcheck source=tools/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
no_arguments "$@"

exec vmstat -Sm -t 1
