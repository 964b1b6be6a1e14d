#!/usr/bin/env python3
"""Check a cctf directory, of one node or merged: records, hashes, order, laws, and names across files.

DIR comes as argument or from the environment; without it unified_cctf/<RUN_ID>, where the run is merged, else
logs/<RUN_ID>/cctf of the chosen run.
JSON=1 prints the whole report as one JSON object on stdout.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.errors import TracekitError
from tracekit.runs import chosen_cctf
from tracekit.validate import COUNTED, ERRORS, Group, Report, check, unreadable


def _tell(report: Report, name: str) -> None:
    """The report for people: errors on stderr, what is counted and the last line on stdout."""
    for kind, group in report.errors.items():
        _tell_group(f"{kind}: {ERRORS[kind]}", group)
    for kind, group in report.counted.items():
        cli.out(f"counted: {group.count} {COUNTED[kind]}, first {group.first[0]}")
    if report.valid:
        cli.out(f"{name}: valid, {report.files} files, {report.records} records")
    else:
        count = sum(group.count for group in report.errors.values())
        cli.warn(f"{name}: not valid, {count} errors (exit {cli.FAILED})")


def _tell_group(title: str, group: Group) -> None:
    cli.warn(title)
    for finding in group.first:
        cli.warn(f"  {finding}")
    more = group.count - len(group.first)
    if more:
        cli.warn(f"  and {more} more")


def _checked(folder: Path, is_for_programs: bool) -> Report:
    try:
        return check(folder)
    except TracekitError as error:
        if not is_for_programs:
            raise
        return unreadable(folder, str(error))


def main(argv: Sequence[str] | None = None) -> int:
    """Validate one directory; 0 where it holds, 1 where it does not."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("dir", nargs="?", metavar="DIR")
    settings = cli.load_settings(DIR=parser.parse_args(argv).dir)
    is_for_programs = settings["JSON"] == "1"
    folder = chosen_cctf(settings)
    report = _checked(folder, is_for_programs)
    if is_for_programs:
        cli.out(report.as_json())
    else:
        _tell(report, cli.shown(folder))
    return cli.DONE if report.valid else cli.FAILED


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
