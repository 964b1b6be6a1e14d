#!/usr/bin/env python3
# Summary: delay to each peer, and how far its clock is from ours, twice a second.
# Usage: NODE_ID=vm1 RUN_ID=run1 PEERS='10.0.0.2 vm3=10.0.0.3' tools/collectors/probe.py
# Series: probe
# Writes: clock_probes.jsonl
# Switch: PEERS
# Environment: NODE_ID, RUN_ID, PEERS, PEER_PORT
# Cost: about 0.3 ms of CPU a second for each peer; 4 packets of 112 bytes a second.
# Output: JSON lines, stamped.
"""Asks the peers for their time and answers them, over UDP: JSON lines on stdout, until SIGTERM.

Needs PEER_PORT (UDP) open between the VMs, and PEERS on both."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.collect.ending import ending_signals
from tracekit.collect.probe import Prober
from tracekit.errors import UsageError
from tracekit.settings import peers_of


def main(argv: Sequence[str] | None = None) -> int:
    """Probe until SIGTERM or SIGINT."""
    cli.parser(__doc__ or "").parse_args(argv)
    settings = cli.load_settings()
    for name in ("NODE_ID", "RUN_ID", "PEERS"):
        if not settings[name]:
            raise UsageError(f"{name} is not given")
    prober = Prober(
        (settings["RUN_ID"], settings["NODE_ID"]),
        peers_of(settings["PEERS"]),
        int(settings["PEER_PORT"]),
        cli.write_rows,
        cli.warn,
    )
    prober.run(ending_signals())
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
