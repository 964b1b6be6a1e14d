#!/usr/bin/env python3
"""Normalise the raw files of a run: logs/<RUN_ID>/ -> logs/<RUN_ID>/cctf/.

RUN_ID comes as argument, from the environment or from run_id.env; without it the live or the last run
is taken. Every line that cannot be taken is counted in cctf/quality.json and kept in cctf/rejected.jsonl.
With STRICT=1 the first bad line ends it instead (a torn last line does not). An older cctf/ stays until the
new one is whole.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.parse.build import Result, build
from tracekit.runs import existing_run


def _tell(result: Result, run_id: str) -> int:
    cli.out(f"logs/{run_id}/cctf: {result.records} records")
    if result.unknown:
        cli.warn(f"left where they are, for they are no part of the format: {', '.join(result.unknown)}")
    if result.torn:
        cli.warn(f"{result.torn} torn last lines (their writer was killed) are in cctf/rejected.jsonl")
    bad = result.rejected - result.torn
    if not bad:
        return cli.DONE
    for one in result.first_bad:
        cli.warn(f"{one} [{one.reason}]")
    cli.warn(f"exit 3: cctf is complete, {bad} lines rejected; all of them are in cctf/rejected.jsonl")
    return cli.REJECTED


def main(argv: Sequence[str] | None = None) -> int:
    """Parse one run."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("run_id", nargs="?", metavar="RUN_ID")
    arguments = parser.parse_args(argv)
    settings = cli.load_settings(RUN_ID=arguments.run_id)
    run = existing_run(settings)
    with cli.Progress() as progress:
        result = build(run.dir, is_strict=settings["STRICT"] == "1", progress=progress)
    return _tell(result, run.run_id)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
