#!/usr/bin/env python3
# Summary: more of the host: iowait and steal, each core, available memory, disks, pressure, further NICs.
# Usage: NODE_ID=vm1 IFACE=eth0 tools/collectors/host.py
# Series: host
# Writes: host_extra.jsonl links.jsonl marks.jsonl
# Switch: HOST_EXTRAS
# Environment: NODE_ID; IFACE, the primary NIC, which is left out
# Cost: about 0.7 ms of CPU a second; reads /proc/stat, meminfo, diskstats, pressure/* and net/dev.
# Output: JSON lines, stamped.
"""Samples the host as a whole, once a second: JSON lines on stdout, until SIGTERM."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.collect.host import HostSampler
from tracekit.collect.hostfiles import HostFiles
from tracekit.errors import UsageError

ENDING = (signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """Sample until SIGTERM or SIGINT."""
    cli.parser(__doc__ or "").parse_args(argv)
    settings = cli.load_settings()
    if not settings["NODE_ID"]:
        raise UsageError("NODE_ID is not given: links are named after the node")
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # _is_ending takes them
    sampler = HostSampler(settings["NODE_ID"], HostFiles(settings["IFACE"]), cli.write_rows)
    sampler.run(_is_ending)
    return cli.DONE


def _is_ending(seconds: float) -> bool:
    """Wait so long; whether a signal to end came meanwhile."""
    return signal.sigtimedwait(ENDING, max(seconds, 0.0)) is not None


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
