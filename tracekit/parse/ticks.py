"""Rows of processes, as the sampler wrote them, put together by the tick that they were sampled at.

Whatever can be told of a row by itself is made here, in any process: its lines in two files of the cctf, and
its columns. What needs the rows before it is left to ProcSeries.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from tracekit import units
from tracekit.parse.series import RawProc
from tracekit.records import ProcMetric, ProcRss, Record

_ENCODER = msgspec.json.Encoder()
_TIME = attrgetter("ts_ms")

# (pid, starttime) of each, as columns.
Who = tuple[list[int], list[int]]
# Stamp, ms; which processes, None where they are those of the tick before; CPU that each has used so far, ms.
Tick = tuple[int, Who | None, list[int]]


class Ticks(NamedTuple):
    """Rows that follow each other: their lines of proc_metrics.jsonl and of proc_rss.jsonl, and the ticks.

    Of plain values, so that another process can make them. The first and the last tick may lack rows, which
    are the neighbours'."""

    metrics: bytes
    rss: bytes
    ticks: list[Tick]

    def without(self, doubled: Collection[int]) -> "Ticks":
        """The same but for the lines of some rows, which are counted from 0."""
        return self._replace(metrics=_without(self.metrics, doubled), rss=_without(self.rss, doubled))


def positional(record: type[Record]) -> Any:
    """The record's twin that is made from positions, in half of the time, and unknown to the collector."""
    fields = [(one.name, one.type) for one in msgspec.structs.fields(record) if one.required]
    return msgspec.defstruct(record.__name__, fields, gc=False)


_METRIC, _RSS = positional(ProcMetric), positional(ProcRss)


def ticks_of(rows: Sequence[RawProc], node: str, clk_tck: int) -> Ticks:
    """The ticks of rows in the order in which they were written."""
    metrics = [
        _METRIC(row.ts_ms, node, row.pid, row.rss_kb, row.utime, row.stime, row.starttime) for row in rows
    ]
    rss = [_RSS(row.ts_ms, node, row.pid, row.rss_kb, row.starttime) for row in rows]
    ticks = list(_ticks(rows, clk_tck))
    return Ticks(_ENCODER.encode_lines(metrics), _ENCODER.encode_lines(rss), ticks)


def _ticks(rows: Sequence[RawProc], clk_tck: int) -> Iterator[Tick]:
    pids = [row.pid for row in rows]
    starttimes = [row.starttime for row in rows]
    cpu_ms = units.all_ticks_to_ms([row.utime + row.stime for row in rows], clk_tck)
    before: Who | None = None
    begin = 0
    for ts_ms, same in groupby(map(_TIME, rows)):
        end = begin + len(list(same))
        who = pids[begin:end], starttimes[begin:end]
        yield ts_ms, None if who == before else who, cpu_ms[begin:end]
        before, begin = who, end


def _without(text: bytes, doubled: Collection[int]) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join([line for at, line in enumerate(lines) if at not in doubled])
