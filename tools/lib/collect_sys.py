#!/usr/bin/env python3
"""start, stop or show the collectors of one run; tools/collect_sys.sh is the way in."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.collect.start import start
from tracekit.collect.status import status
from tracekit.collect.stop import stop
from tracekit.runs import Run, awaited_run, chosen_run, existing_run, new_run
from tracekit.settings import Settings


def _start(settings: Settings) -> None:
    run = Run(settings["RUN_ID"]) if settings["RUN_ID"] else awaited_run() or new_run()
    node_meta, was_live = start(run, settings, os.environ)
    if was_live:
        cli.out(f"RUN_ID={run.run_id} was live: its collectors were stopped, and are started again")
    cli.out(
        f"started RUN_ID={run.run_id} "
        f"node={node_meta['node']} stage={node_meta['stage']} iface={node_meta['iface']}"
    )
    if settings["PROC_SAMPLING"] == "1" and not settings["PROC_MATCH"] and not settings["CONTAINER"]:
        cli.out("no process rows but of tasks (run_task): neither PROC_MATCH nor CONTAINER is given")
    if node_meta["clock"]["source"] is None:
        cli.out("neither chrony nor timedatectl gives an answer: the error of the clock is not known")
    cli.out(f"raw files: logs/{run.run_id}/   end it with: make stop-collect RUN_ID={run.run_id}")


def _stop(settings: Settings) -> None:
    run = chosen_run(settings)
    notes = stop(run)
    cli.out(f"stopped RUN_ID={run.run_id}")
    for note in notes:
        cli.warn(note)


def _status(settings: Settings) -> None:
    for line in status(existing_run(settings)):
        cli.out(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the one argument says."""
    verbs = {"start": _start, "stop": _stop, "status": _status}
    parser = cli.parser(__doc__ or "")
    parser.add_argument("verb", choices=verbs)
    verb = parser.parse_args(argv).verb
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) == signal.SIG_DFL:  # nohup(1) has it ignored
            signal.signal(signum, signal.default_int_handler)  # as SIGINT: what is half-made is undone
    verbs[verb](cli.load_settings())
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
