#!/usr/bin/env python3
# Summary: CPU ticks and resident memory of each process of PROC_MATCH or CONTAINER.
# Usage: PROC_MATCH='ffmpeg|nginx' tools/collectors/proc.py
# Series: proc
# Writes: proc_metrics.jsonl proc_inventory.jsonl marks.jsonl
# Switch: PROC_SAMPLING
# Errors: procmon.err
# Environment: PROC_MATCH, CONTAINER, PROC_REFRESH, PROC_INTERVAL_MS; TRACEKIT_STARTERS (pids left out)
# Cost: about 13 us of CPU for each process and tick.
# Output: JSON lines, stamped.
"""The process sampler as a program: JSON lines on stdout, messages on stderr; runs until SIGTERM.

The collector itself is never sampled: neither this process, nor its parent (the recorder) and what that
started, nor the commands that started the run.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.collect.sampler import Sampler
from tracekit.collect.target import Target


def main(argv: Sequence[str] | None = None) -> int:
    """Sample until SIGTERM or SIGINT."""
    cli.parser(__doc__ or "").parse_args(argv)
    settings = cli.load_settings()
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # they are waited for between the ticks
    collecting = {os.getpid(), os.getppid()}
    ours = collecting | {int(pid) for pid in os.environ.get("TRACEKIT_STARTERS", "").split()}
    sampler = Sampler(
        Target(
            settings["PROC_MATCH"],
            settings["CONTAINER"],
            is_ours=lambda pid, ppid: pid in ours or ppid in collecting,
        ),
        interval_ms=int(settings["PROC_INTERVAL_MS"]),
        refresh=settings["PROC_REFRESH"] == "1",
        write=_write_all,
        say=cli.warn,
    )
    sampler.run(lambda seconds: signal.sigtimedwait(ends, seconds) is not None)
    return cli.DONE


def _write_all(lines: bytes) -> None:
    while lines:
        lines = lines[os.write(1, lines) :]


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
