"""The sampled series of the host and the NIC, from raw rows to the rows of the cctf; rows of one time stand
together, so that a duplicate is told among its neighbours."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from tracekit.files.sorting import OutOfOrderError
from tracekit.files.writing import LinesFile
from tracekit.parse.grid import Grid
from tracekit.parse.timeline import Timeline
from tracekit.records import Count, HostMetric, LinkMetric, MonoMs, Percent, Pid, Ticks, TimeMs

_RECENT = 20_000  # rows that a doubled one is looked for among, where the clock went back


class RawResource(Struct, frozen=True, gc=False):
    """A line of resources.jsonl."""

    ts_ms: TimeMs
    cpu_util: Percent | UnsetType = UNSET
    mem_free_mb: Count | UnsetType = UNSET
    mono_ms: MonoMs | None = None


class RawLink(Struct, frozen=True, gc=False):
    """A line of links.jsonl."""

    ts_ms: TimeMs
    link: Annotated[str, Meta(min_length=1)]
    rx_Bps: Count
    tx_Bps: Count
    mono_ms: MonoMs | None = None


class RawProc(Struct, frozen=True, gc=False):
    """A line of proc_metrics.jsonl."""

    ts_ms: TimeMs
    pid: Pid
    rss_kb: Count
    utime: Ticks
    stime: Ticks
    starttime: Ticks


def check_resource(row: RawResource) -> str | None:
    """A row has one figure, not none and not two."""
    if (row.cpu_util is UNSET) == (row.mem_free_mb is UNSET):
        return "type: wanted either cpu_util or mem_free_mb"
    return None


class Seen:
    """Which rows have come before, of those with the same time."""

    def __init__(self, clock_goes_back: bool) -> None:
        """clock_goes_back: rows of the same time may stand apart, and time may decrease."""
        self._goes_back = clock_goes_back
        self._at_ms = -1
        self._seen: dict[tuple[int, object], None] = {}  # the oldest first

    def is_new(self, ts_ms: int, series: object) -> bool:
        """Whether no row had this time and series. Raises OutOfOrderError where the time went back."""
        if ts_ms != self._at_ms and not self._goes_back:
            if ts_ms < self._at_ms:
                raise OutOfOrderError
            self._seen.clear()
        self._at_ms = ts_ms
        if (ts_ms, series) in self._seen:
            return False
        self._seen[ts_ms, series] = None
        if len(self._seen) > _RECENT:
            del self._seen[next(iter(self._seen))]
        return True


class HostSeries:
    """resources.jsonl -> host_metrics.jsonl."""

    def __init__(
        self, name: tuple[str, str], out: LinesFile, timeline: Timeline, grids: dict[str, Grid], seen: Seen
    ) -> None:
        """name: node and stage. grids: of "cpu" and "mem"."""
        self._node, self._stage = name
        self._out, self._timeline, self._grids, self._seen = out, timeline, grids, seen
        self.duplicates = 0  # same ts_ms, same series

    def take(self, rows: Sequence[RawResource]) -> list[int]:
        """Write rows; their times. Raises OutOfOrderError where they are not in the order of time."""
        kept = []
        for row in rows:
            series = "mem" if row.cpu_util is UNSET else "cpu"
            if not self._seen.is_new(row.ts_ms, series):
                continue
            self._grids[series].add(self._timeline.place(row.ts_ms, row.mono_ms))
            kept.append(
                HostMetric(
                    ts_ms=row.ts_ms,
                    node=self._node,
                    stage=self._stage,
                    cpu_util=row.cpu_util,
                    mem_free_mb=row.mem_free_mb,
                )
            )
        self._out.write(kept)
        self.duplicates += len(rows) - len(kept)
        return [row.ts_ms for row in rows]

    def finish(self) -> None:
        """Nothing is left to write."""


class LinkSeries:
    """links.jsonl -> link_metrics.jsonl."""

    def __init__(self, node: str, out: LinesFile, timeline: Timeline, grid: Grid, seen: Seen) -> None:
        self._node, self._out, self._timeline = node, out, timeline
        self._grid, self._seen = grid, seen
        self.links: set[str] = set()  # that rows name
        self.duplicates = 0  # same ts_ms, same link

    def take(self, rows: Sequence[RawLink]) -> list[int]:
        """Write rows; their times. Raises OutOfOrderError where they are not in the order of time."""
        kept = []
        for row in rows:
            if not self._seen.is_new(row.ts_ms, row.link):
                continue
            self.links.add(row.link)
            if row.link == f"{self._node}.nic":
                self._grid.add(self._timeline.place(row.ts_ms, row.mono_ms))
            kept.append(
                LinkMetric(
                    ts_ms=row.ts_ms, node=self._node, link=row.link, rx_Bps=row.rx_Bps, tx_Bps=row.tx_Bps
                )
            )
        self._out.write(kept)
        self.duplicates += len(rows) - len(kept)
        return [row.ts_ms for row in rows]

    def finish(self) -> None:
        """Nothing is left to write."""
