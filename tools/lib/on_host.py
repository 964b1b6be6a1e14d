#!/usr/bin/env python3
"""What the fleet's plays run on a host. idle: fail while a run is live. run [--at SECOND] COMMAND...

run reads "settings {...}" from stdin: {"run_id", "given": {NAME: value}, "host": {NAME: value}}; what is
given comes first, an empty value of the host's is none. It becomes the command with these in its environment,
so that no value ever stands on a command line. --at: it waits for that second of this host's clock (Unix
time) before, and prints {"let_go_ms": ...}, the ms by which it was late.
"""

import json
import os
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.errors import TracekitError
from tracekit.runs import live_runs

LONGEST_WAIT_S = 60.0


def _wait_until(second: int) -> None:
    wait_s = second - time.time()
    if wait_s > LONGEST_WAIT_S:
        raise TracekitError(f"this host's clock is {wait_s:.0f} s behind the common second: set it")
    while (wait_s := second - time.time()) > 0:
        select.select([], [], [], wait_s)
    cli.out(json.dumps({"let_go_ms": round(-wait_s * 1000, 3)}))


def _environment(told: str) -> dict[str, str]:
    settings = json.loads(told.partition(" ")[2])
    of_host = {name: str(value) for name, value in settings["host"].items() if value != ""}
    return {**os.environ, **of_host, **settings["given"], "RUN_ID": settings["run_id"]}


def _refuse_live() -> None:
    names = ", ".join(run.run_id for run in live_runs())
    if names:
        raise TracekitError(f"run {names} is live here, and needs the files that are here: stop it first")


def main(argv: Sequence[str] | None = None) -> int:
    """Refuse, or become the command."""
    parser = cli.parser(__doc__ or "")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("idle")
    run = verbs.add_parser("run")
    run.add_argument("--at", type=int, metavar="SECOND")
    run.add_argument("command", nargs="...")
    arguments = parser.parse_args(argv)
    if arguments.verb == "run":
        environment = _environment(sys.stdin.read())
        if arguments.at is not None:
            _wait_until(arguments.at)
        os.execvpe(arguments.command[0], arguments.command, environment)
    _refuse_live()
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
