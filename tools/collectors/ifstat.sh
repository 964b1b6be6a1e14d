#!/usr/bin/env bash
# Summary: bytes a second through the primary NIC, once a second.
# Usage: IFACE=eth0 tools/collectors/ifstat.sh
# Series: nic
# Writes: links.jsonl
# Needs: ifstat (package ifstat)
# Environment: IFACE, the network interface
# Cost: about 0.2 ms of CPU a second; reads /proc/net/dev.
# Output: the text of `ifstat -i IFACE 1`; tracekit/sources/ifstat.py reads it.

# shellcheck source=tools/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
no_arguments "$@"

exec ifstat -i "${IFACE:?}" 1
