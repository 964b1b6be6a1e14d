#!/usr/bin/env python3
# Summary: CPU ticks and resident memory of each process of PROC_MATCH or CONTAINER, and of tasks of run_task.
# Usage: PROC_MATCH='ffmpeg|nginx' tools/collectors/proc.py
# Series: proc
# Writes: proc_metrics.jsonl proc_inventory.jsonl marks.jsonl
# Adds: cgroup_metrics.jsonl (with CONTAINER)
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
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.collect.ending import ending_signals
from tracekit.collect.proc.engine import Engines
from tracekit.collect.proc.events import EndTimes, ExecListener
from tracekit.collect.proc.lines import Output
from tracekit.collect.proc.own import Own
from tracekit.collect.proc.sampler import Listeners, Sampler
from tracekit.collect.proc.target import Target
from tracekit.collect.proc.tasks import Tasks
from tracekit.collect.proc.taskstats import ExitListener
from tracekit.runs import Run
from tracekit.tasks import spool_of

START_S = 0.02  # a program may end soon after it started
END_S = 0.1  # exit records wait so long for others, where nobody tells the moment of an end
DRAIN_S = 1.0  # and at most so long, for the kernel keeps only so many


def main(argv: Sequence[str] | None = None) -> int:
    """Sample until SIGTERM or SIGINT."""
    cli.parser(__doc__ or "").parse_args(argv)
    settings = cli.load_settings()
    ending = ending_signals()
    starters = [int(pid) for pid in os.environ.get("TRACEKIT_STARTERS", "").split()]
    listeners = _listeners()
    output = Output(cli.write_rows, cli.warn)
    sampler = Sampler(
        Target(
            settings["PROC_MATCH"],
            settings["CONTAINER"],
            is_ours=Own({os.getpid(), os.getppid()}, starters),
            resolve=Engines(output.say_once),
            tasks=_tasks(settings["RUN_ID"]),
        ),
        interval_ms=int(settings["PROC_INTERVAL_MS"]),
        refresh=settings["PROC_REFRESH"] == "1",
        output=output,
        listeners=listeners,
    )
    sampler.leave_out(starters)
    sampler.run(lambda seconds: _wait(seconds, ending, listeners))
    return cli.DONE


def _tasks(run_id: str) -> Tasks:
    """Where run_task tells of tasks; the folder says that somebody listens."""
    if not run_id:
        return Tasks()
    folder = spool_of(Run(run_id))
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:  # run by hand, without a recorder
        return Tasks()
    return Tasks(folder)


def _listeners() -> Listeners:
    try:
        exits = ExitListener()
    except OSError as error:
        cli.warn(
            f"no exit records ({error}): CPU of processes that end between two samples is known by their "
            "parents' accounts only; `unattributed` marks hold it"
        )
        return Listeners()
    try:
        return Listeners(exits, ExecListener(), EndTimes())
    except OSError as error:
        cli.warn(f"no exec events ({error}): a process is found at the next look, a second later")
        return Listeners(exits)


def _wait(seconds: float, ending: int, listeners: Listeners) -> str:
    """What ends the wait; events are taken some at a time, for each waking costs more than it holds.

    Ends need no waking where their moment is told: their records are read with the next tick."""
    seconds = max(seconds, 0.0)
    deadline = time.monotonic() + seconds
    execs = [listeners.execs.fileno()] if listeners.execs else []
    exits = [listeners.exits.fileno()] if listeners.exits and not listeners.ends else []
    at_most_s = min(seconds, DRAIN_S) if listeners.ends else seconds
    ready, _, _ = select.select([ending, *execs, *exits], [], [], at_most_s)
    if (not ready and at_most_s == seconds) or (seconds == 0 and ending not in ready):
        return "tick"

    def gather(watched: list[int], at_most_s: float) -> list[int]:
        left_s = max(deadline - time.monotonic(), 0.0)
        return select.select([ending, *watched], [], [], min(at_most_s, left_s))[0]

    if set(exits) & set(ready) and not {ending, *execs} & set(ready):
        ready = gather(execs, END_S)  # a program that starts meanwhile does not wait as long
    if ending not in ready and set(execs) & set(ready):
        ready = gather([], START_S)
    return "end" if ending in ready else "events"


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
