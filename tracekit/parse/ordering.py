"""The order of process rows in time, and the steps of the clock that may hide it."""

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import UNSET

from tracekit.parse.reading import Batch
from tracekit.parse.series import RawProc
from tracekit.records import Mark

_TIME = re.compile(rb'"ts_ms"\s*:\s*(\d{1,18})')


def steps_of_sampler(marks: list[Mark]) -> Iterator[tuple[int, int, int]]:
    """(from_ms, to_ms, step_ms) of each step of the wall clock that the sampler noticed."""
    for mark in marks:
        is_told = mark.from_ms is not None and mark.to_ms is not None and mark.step_ms is not UNSET
        if mark.collector == "proc" and mark.kind == "clock_step" and is_told:
            yield mark.from_ms, mark.to_ms, mark.step_ms  # type: ignore[misc] # is_told


def in_time_order(path: Path, batches: Iterator[Batch[RawProc]], keep_order: bool) -> Iterator[list[RawProc]]:
    """The rows as they came where that is their order in time (or the clock went back); else sorted."""
    if keep_order or is_in_time_order(path):
        for batch in batches:
            yield batch.records
        return
    rows = [row for batch in batches for row in batch.records]
    rows.sort(key=lambda row: row.ts_ms)
    yield rows


def is_in_time_order(path: Path) -> bool:
    """Whether the stamps of the file, read as text, never decrease."""
    last = 0
    with path.open("rb") as stream:
        while lines := stream.readlines(1 << 18):
            times = [int(found) for found in _TIME.findall(b"".join(lines))]
            if times and (times[0] < last or times != sorted(times)):
                return False
            last = times[-1] if times else last
    return True
