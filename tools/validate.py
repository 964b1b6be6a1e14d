#!/usr/bin/env python3
"""Check a cctf directory: every line against its record, every file against the manifest, the laws.

DIR comes as argument or from the environment; without it logs/<RUN_ID>/cctf of the chosen run is taken.
"""

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.runs import chosen_cctf
from tracekit.validate import find_problems, read_manifest

SHOWN = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Validate one directory; 0 where it holds, 1 where it does not."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("dir", nargs="?", metavar="DIR")
    settings = cli.load_settings(DIR=parser.parse_args(argv).dir)
    folder = chosen_cctf(settings)
    problems = find_problems(folder)
    shown = list(islice(problems, SHOWN))
    for problem in shown:
        cli.warn(problem)
    more = sum(1 for _ in problems)
    if shown:
        cli.warn(f"{cli.shown(folder)}: not valid" + (f"; {more} more problems" if more else ""))
        return cli.FAILED
    manifest = read_manifest(folder)
    lines = [file for file in manifest.files if file.name.endswith(".jsonl")]
    records = sum(file.records for file in lines if file.name != "rejected.jsonl")
    cli.out(f"{cli.shown(folder)}: valid, {len(manifest.files)} files, {records} records")
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
