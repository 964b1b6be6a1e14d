#!/usr/bin/env python3
"""Merge the cctf directories of the nodes of one run into unified_cctf/<RUN_ID>.

Each input is a cctf directory, a directory that holds cctf/, a .tar.gz of either, or a pattern; they come as
arguments or in IN. The order in which they are named changes nothing. Whatever is refused, an older
unified_cctf/<RUN_ID> stays as it was. PARQUET=1 also makes unified_cctf/<RUN_ID>.parquet, ALIGN=1 corrects
stamps by the measured offsets of the clocks.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import ROOT, cli
from tracekit.errors import TracekitError, UsageError
from tracekit.merge.build import Result, merge
from tracekit.merge.inputs import paths_of


def _tell(result: Result) -> None:
    for told in result.twice:
        cli.warn(told)
    for node, name in result.unknown:
        cli.warn(f"{node}: {name} is left out: it is no file of the format that its manifest lists")
    for node in result.unaligned:
        cli.warn(f"{node}: nobody knows how far its clock was off (PEERS, or chrony): its stamps stay")
    nodes = f"{len(result.nodes)} nodes ({', '.join(result.nodes)})" if result.nodes[1:] else result.nodes[0]
    cli.out(f"{cli.shown(result.folder)}: {result.records} records of {nodes}")


def _parquet(folder: Path) -> Path:
    try:
        from tracekit.merge.parquet import write_parquet  # noqa: PLC0415 - needs pyarrow, which few have
    except ModuleNotFoundError as error:
        raise TracekitError(f"{error.name} is not installed: tools/setup.sh sim") from error
    return write_parquet(folder, folder.with_name(f"{folder.name}.parquet"))


def main(argv: Sequence[str] | None = None) -> int:
    """Merge one run."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("inputs", nargs="*", metavar="INPUT")
    words = parser.parse_args(argv).inputs
    settings = cli.load_settings(IN=shlex.join(words) if words else None)
    paths = paths_of(settings["IN"])
    if not settings["RUN_ID"]:
        raise UsageError("RUN_ID is not given: the merge of a run goes to unified_cctf/<RUN_ID>")
    final = ROOT / "unified_cctf" / settings["RUN_ID"]
    final.parent.mkdir(mode=0o750, exist_ok=True)
    with cli.Progress() as progress:
        result = merge(paths, final, progress, is_aligned=settings["ALIGN"] == "1")
    _tell(result)
    if settings["PARQUET"] == "1":
        cli.out(f"{cli.shown(_parquet(result.folder))}: the same as Parquet")
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
