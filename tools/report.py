#!/usr/bin/env python3
"""Make one HTML page of a data set, that needs no network: nodes, processes, requests, traces, gaps.

DIR comes as argument or from the environment; without it unified_cctf/<RUN_ID>, where the run is merged, else
logs/<RUN_ID>/cctf of the chosen run. The page is report.html in the merged run's directory, else in
logs/<RUN_ID>/.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import ROOT, cli
from tracekit.dataset import open_dataset
from tracekit.errors import TracekitError
from tracekit.report import write_page
from tracekit.runs import chosen_cctf
from tracekit.validate import find_problems

LIBRARY = ROOT / ".venv" / "share" / "uplot"  # where tools/setup.sh puts it


def main(argv: Sequence[str] | None = None) -> int:
    """Make the page of one data set."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("dir", nargs="?", metavar="DIR")
    settings = cli.load_settings(DIR=parser.parse_args(argv).dir)
    folder = chosen_cctf(settings)
    dataset = open_dataset(folder)
    if next(find_problems(folder), None):
        name = cli.shown(folder)
        raise TracekitError(f"{name}: not valid; `make validate DIR={name}` says why")
    path = write_page(dataset, LIBRARY)
    cli.out(f"{cli.shown(path)}: {path.stat().st_size / 1000:.0f} kB, opens in any browser")
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
