"""What is told of CPU beside the samples: how much a process had used at its end, and what is no one's."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import UNSET

from tracekit import units
from tracekit.records import Mark, ProcInventory


class Ending(NamedTuple):
    """A process ended at ts_ms; cpu_ms: all that it used, None where nobody knows."""

    ts_ms: int
    pid: int
    starttime: int
    cpu_ms: float | None


class Remainder(NamedTuple):
    """CPU of the target in the dt_ms before ts_ms that no process can be given."""

    ts_ms: int
    cpu_ms: float
    dt_ms: float
    source: str


def remainders(marks: Iterable[Mark]) -> Iterator[Remainder]:
    """What the sampler left unattributed: by the accounts of parents, which are polled, or by a cgroup."""
    for mark in marks:
        dt_ms = _span_ms(mark)
        if mark.kind == "unattributed" and mark.cpu_ms is not UNSET and dt_ms is not None:
            source = "cgroup" if mark.reason == "cgroup" else "poll"
            yield Remainder(mark.ts_ms, mark.cpu_ms, dt_ms, source)


def _span_ms(mark: Mark) -> float | None:
    """The length of a mark's span by the monotonic clock, else by its stamps; None where neither tells."""
    if mark.dt_ms is not UNSET:
        return mark.dt_ms
    if mark.from_ms is None or mark.to_ms is None or mark.to_ms < mark.from_ms:
        return None
    return mark.to_ms - mark.from_ms


def endings(rows: Iterable[ProcInventory], clk_tck: int) -> Iterator[Ending]:
    """The ends that an inventory tells."""
    for row in rows:
        if row.event == "end":
            cpu_ms: float | None = None
            if row.utime is not None and row.stime is not None:
                cpu_ms = (
                    units.ticks_to_ms(row.utime + row.stime, clk_tck) if row.cpu_ms is UNSET else row.cpu_ms
                )
            yield Ending(row.ts_ms, row.pid, row.starttime, cpu_ms)
