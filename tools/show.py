#!/usr/bin/env python3
"""Show a cctf directory in the terminal: node, samples got of expected, series, top processes, gaps.

DIR comes as argument or from the environment; without it logs/<RUN_ID>/cctf of the chosen run is taken.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.errors import TracekitError
from tracekit.runs import existing_run
from tracekit.summary import summarise
from tracekit.validate import find_problems


def main(argv: Sequence[str] | None = None) -> int:
    """Show one directory."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("dir", nargs="?", metavar="DIR")
    settings = cli.load_settings(DIR=parser.parse_args(argv).dir)
    folder = Path(settings["DIR"]) if settings["DIR"] else existing_run(settings).dir / "cctf"
    if next(find_problems(folder), None):
        raise TracekitError(f"{cli.shown(folder)}: not valid; `make validate DIR=...` says why")
    for line in summarise(folder, cli.shown(folder)):
        cli.out(line)
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
