"""The sampled series: host, NIC and processes, from raw rows to the rows of the cctf.

Process CPU is the difference of the kernel's counters between two samples of one process, told by
(pid, starttime). A process born in the run counts from its birth; one that is older than the run has
no row for its first sample, for nobody saw what it used before.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tracekit import units
from tracekit.parse.grid import Grid
from tracekit.parse.timeline import Timeline
from tracekit.parse.writing import LinesFile
from tracekit.records import (
    Count,
    HostMetric,
    LinkMetric,
    MonoMs,
    Percent,
    Pid,
    ProcCpu,
    ProcMetric,
    ProcRss,
    QualityMark,
    Ticks,
    TimeMs,
)

Source = Literal["poll", "exit"]


class RawResource(Struct, frozen=True):
    """A line of resources.jsonl."""

    ts_ms: TimeMs
    cpu_util: Percent | UnsetType = UNSET
    mem_free_mb: Count | UnsetType = UNSET
    mono_ms: MonoMs | None = None


class RawLink(Struct, frozen=True):
    """A line of links.jsonl."""

    ts_ms: TimeMs
    link: Annotated[str, Meta(min_length=1)]
    rx_Bps: Count
    tx_Bps: Count
    mono_ms: MonoMs | None = None


class RawProc(Struct, frozen=True):
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


class HostSeries:
    """resources.jsonl -> host_metrics.jsonl."""

    def __init__(
        self, node: str, stage: str, out: LinesFile, timeline: Timeline, grids: dict[str, Grid]
    ) -> None:
        self._node, self._stage, self._out = node, stage, out
        self._timeline, self._grids = timeline, grids
        self._seen: set[tuple[str, int]] = set()

    def take(self, rows: Sequence[RawResource]) -> int:
        """Write rows; returns how many were duplicates: same ts_ms, same series."""
        kept = []
        for row in rows:
            series = "mem" if row.cpu_util is UNSET else "cpu"
            if (series, row.ts_ms) in self._seen:
                continue
            self._seen.add((series, row.ts_ms))
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
        return len(rows) - len(kept)


class LinkSeries:
    """links.jsonl -> link_metrics.jsonl."""

    def __init__(self, node: str, out: LinesFile, timeline: Timeline, grid: Grid) -> None:
        self._node, self._out, self._timeline, self._grid = node, out, timeline, grid
        self.links: set[str] = set()
        self._seen: set[tuple[str, int]] = set()

    def take(self, rows: Sequence[RawLink]) -> int:
        """Write rows; returns how many were duplicates: same ts_ms, same link."""
        kept = []
        for row in rows:
            if (row.link, row.ts_ms) in self._seen:
                continue
            self._seen.add((row.link, row.ts_ms))
            self.links.add(row.link)
            if row.link == f"{self._node}.nic":
                self._grid.add(self._timeline.place(row.ts_ms, row.mono_ms))
            kept.append(
                LinkMetric(
                    ts_ms=row.ts_ms, node=self._node, link=row.link, rx_Bps=row.rx_Bps, tx_Bps=row.tx_Bps
                )
            )
        self._out.write(kept)
        return len(rows) - len(kept)


class _Last(Struct):
    """A process's sample before: its identity, own time, and the CPU that it had used by then, ms."""

    starttime: int
    ts_ms: int
    own_ms: int
    cpu_ms: float


class ProcSeries:
    """proc_metrics.jsonl -> proc_metrics.jsonl, proc_cpu.jsonl and proc_rss.jsonl."""

    def __init__(
        self,
        node: str,
        clk_tck: int,
        outs: tuple[LinesFile, LinesFile, LinesFile],
        timeline: Timeline,
        grid: Grid,
        ends: dict[tuple[int, int], tuple[int, float]],
    ) -> None:
        """clk_tck: ticks a second. outs: metrics, cpu, rss. ends: identity -> (ts_ms, final CPU in ms)."""
        self._node, self._clk_tck = node, clk_tck
        self._metrics, self._cpu, self._rss = outs
        self._timeline, self._grid, self._ends = timeline, grid, ends
        self.resets: list[QualityMark] = []
        self._last: dict[int, _Last] = {}
        self._tick_ms: int | None = None
        self._seen: set[tuple[int, int, int]] = set()

    def take(self, rows: Sequence[RawProc]) -> int:
        """Write rows; returns how many were duplicates: same ts_ms, pid and starttime."""
        kept: list[RawProc] = []
        cpu: list[ProcCpu] = []
        for row in rows:
            if row.ts_ms != self._tick_ms:
                self._pass_tick(row.ts_ms)
            identity = (row.ts_ms, row.pid, row.starttime)
            if identity in self._seen:
                continue
            self._seen.add(identity)
            kept.append(row)
            last = self._last.get(row.pid)
            before = last if last and last.starttime == row.starttime else self._birth(row.starttime)
            own_ms = row.ts_ms - self._timeline.steps.total
            # The rounded sum, so that its differences add up to the whole.
            cpu_ms = units.ticks_to_ms(row.utime + row.stime, self._clk_tck)
            now = _Last(row.starttime, row.ts_ms, own_ms, cpu_ms)
            cpu.extend(self._used(row.pid, before, now, "poll"))
            self._replace(row.pid, last, now)
        self._metrics.write([_metric(self._node, row) for row in kept])
        self._rss.write([_rss(self._node, row) for row in kept])
        self._cpu.write(cpu)
        return len(rows) - len(kept)

    def _pass_tick(self, ts_ms: int) -> None:
        self._timeline.steps.pass_row(ts_ms)
        self._grid.add(ts_ms - self._timeline.steps.total)
        self._tick_ms = ts_ms
        if not self._timeline.steps.goes_back:  # then equal times stand together
            self._seen.clear()

    def _replace(self, pid: int, last: "_Last | None", now: "_Last") -> None:
        """Another process has the pid by now: what the old one used at its end is due."""
        if last and last.starttime != now.starttime and (pid, last.starttime) in self._ends:
            self._cpu.write(list(self._closing(pid, last.starttime, last)))
        self._last[pid] = now

    def finish(self) -> None:
        """Write the closing rows of the processes whose final CPU the inventory knows."""
        for pid, starttime in sorted(self._ends):
            last = self._last.get(pid)
            is_same = last is not None and last.starttime == starttime
            self._cpu.write(list(self._closing(pid, starttime, last if is_same else None)))

    def _closing(self, pid: int, starttime: int, last: "_Last | None") -> Iterator[ProcCpu]:
        """Final minus last sampled; all of it for a process of this run that was never sampled."""
        ts_ms, cpu_ms = self._ends.pop((pid, starttime))
        now = _Last(starttime, ts_ms, ts_ms - self._timeline.steps.total, cpu_ms)
        yield from self._used(pid, last or self._birth(starttime), now, "exit")

    def _birth(self, starttime: int) -> _Last | None:
        """A sample of zero at the process's birth, where it was born in the run."""
        started_mono_ms = self._timeline.started_mono_ms
        if started_mono_ms is None:
            return None
        age_ms = units.ticks_to_ms(starttime, self._clk_tck) - started_mono_ms
        own_ms = self._timeline.started_ms + age_ms
        return _Last(starttime, own_ms, own_ms, 0) if age_ms >= 0 else None

    def _used(self, pid: int, before: _Last | None, now: _Last, source: Source) -> Iterator[ProcCpu]:
        if before is None:
            return
        used_ms = now.cpu_ms - before.cpu_ms
        # The final figure is counted in another way: it may be up to two ticks less than the last sample.
        if used_ms < (0 if source == "poll" else -2000 / self._clk_tck):
            detail = f"CPU of pid {pid} went back from {before.cpu_ms:.0f} to {now.cpu_ms:.0f} ms"
            self.resets.append(QualityMark(ts_ms=now.ts_ms, kind="reset", detail=detail))
            return
        yield ProcCpu(
            ts_ms=now.ts_ms,
            node=self._node,
            pid=pid,
            cpu_ms=_number(max(used_ms, 0)),
            dt_ms=max(now.own_ms - before.own_ms, 0),
            starttime=now.starttime,
            source=source,
        )


def _number(value_ms: float) -> float:
    """Microseconds kept; a whole number without its ".0", as the kernel's ticks give it."""
    rounded = round(value_ms, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def _metric(node: str, row: RawProc) -> ProcMetric:
    return ProcMetric(
        ts_ms=row.ts_ms,
        node=node,
        pid=row.pid,
        rss_kb=row.rss_kb,
        utime=row.utime,
        stime=row.stime,
        starttime=row.starttime,
    )


def _rss(node: str, row: RawProc) -> ProcRss:
    return ProcRss(ts_ms=row.ts_ms, node=node, pid=row.pid, rss_kb=row.rss_kb, starttime=row.starttime)
