#!/usr/bin/env python3
"""Remove the raw files and the cctf of one run: logs/<RUN_ID>.

RUN_ID must be given on the command line or in the environment; a live run is refused,
and one that a service writes to."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.errors import TracekitError, UsageError
from tracekit.runs import existing_run
from tracekit.service.state import all_started
from tracekit.settings import ENV_FILE


def main(argv: Sequence[str] | None = None) -> int:
    """Remove one run."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("run_id", nargs="?", metavar="RUN_ID")
    settings = cli.load_settings(RUN_ID=parser.parse_args(argv).run_id)
    if settings.given.get("RUN_ID", ENV_FILE) == ENV_FILE:
        raise UsageError("clean removes one run, and only one that is named: give RUN_ID=")
    run = existing_run(settings)
    if run.holder() is not None:
        raise TracekitError(f"run {run.run_id} is live; stop it first: make stop-collect RUN_ID={run.run_id}")
    if any(one.run == run for one in all_started()):
        raise TracekitError(
            f"a service writes to run {run.run_id}; stop it first: make stop RUN_ID={run.run_id}"
        )
    if run.dir.is_symlink():
        raise TracekitError(f"logs/{run.run_id} is a symbolic link; remove it yourself")
    shutil.rmtree(run.dir)
    shutil.rmtree(run.state, ignore_errors=True)
    cli.out(f"removed logs/{run.run_id}")
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
