#!/usr/bin/env bash
# Summary: CPU utilisation of the host, once a second.
# Usage: tools/collectors/mpstat.sh
# Series: cpu
# Writes: resources.jsonl
# Needs: mpstat (package sysstat)
# Cost: about 0.2 ms of CPU a second; reads /proc/stat.
# Output: the text of `mpstat 1`; tracekit/sources/mpstat.py reads it.

# shellcheck source=tools/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
no_arguments "$@"

export S_COLORS=never S_TIME_FORMAT=ISO
exec mpstat 1
