#!/usr/bin/env python3
"""Show a cctf directory in the terminal: node, samples got of expected, series, top processes, gaps.

DIR comes as argument or from the environment; without it unified_cctf/<RUN_ID>, where the run is merged, else
logs/<RUN_ID>/cctf of the chosen run.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.errors import TracekitError
from tracekit.runs import chosen_cctf
from tracekit.summary import summarise
from tracekit.validate import find_problems


def main(argv: Sequence[str] | None = None) -> int:
    """Show one directory."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("dir", nargs="?", metavar="DIR")
    settings = cli.load_settings(DIR=parser.parse_args(argv).dir)
    folder = chosen_cctf(settings)
    name = cli.shown(folder)
    if next(find_problems(folder), None):
        raise TracekitError(f"{name}: not valid; `make validate DIR={name}` says why")
    for line in summarise(folder, name):
        cli.out(line)
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
