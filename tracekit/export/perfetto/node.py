"""The trace of one node: counters of the host and of each process, lives of processes, marks and gaps.

A rate or a utilisation is about the time that ends at its stamp, and a counter of Perfetto holds from its
stamp on: each such value stands where its interval begins.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from tracekit.export.perfetto.tracks import TrackFile
from tracekit.records import (
    HostExtra,
    HostMetric,
    LinkMetric,
    Mark,
    PlacementEvent,
    ProcCpu,
    ProcInventory,
    ProcRss,
    Quality,
    SystemStat,
)

_TICK_MS = 1000  # of mpstat, vmstat and ifstat
_KB = 1024
Figure = tuple[str, str, float, float | None]  # track, unit, ms of the wall clock, value


@dataclass
class _Process:
    track: int
    counters: dict[str, int] = field(default_factory=dict)
    is_open: bool = False
    ended_ms: int | None = None


class NodeTrace:
    """Takes the records of one node, in any order of the series, and writes them to its file."""

    def __init__(self, file: TrackFile) -> None:
        self._file = file
        self._tracks: dict[tuple[str, str | None], int] = {}
        self._processes: dict[tuple[int, int], _Process] = {}
        self.written: dict[str, int] = defaultdict(int)

    def take(self, record: Any) -> None:
        """One record of a series."""
        if isinstance(record, ProcInventory):
            self._life(record)
        elif isinstance(record, (ProcCpu, ProcRss)):
            self._process_figure(record)
        elif isinstance(record, Mark):
            self._mark(record)
        elif isinstance(record, PlacementEvent):
            self._instant("placement", record.ts, record.event, {"instance": record.instance_id})
        else:
            for name, unit, ts_ms, value in _figures(record):
                if value is not None:
                    self._count(self._track(name, unit), ts_ms, value)

    def finish(self) -> None:
        """A process that has ended uses nothing any more."""
        for process in self._processes.values():
            if process.ended_ms is not None:
                for track in process.counters.values():
                    self._count(track, process.ended_ms, 0)

    def gaps(self, quality: Quality) -> None:
        """The times in which a series has no sample, as slices on a track of that series."""
        for series, account in quality.collectors.items():
            for gap in account.gaps:
                track = self._track(f"gaps of {series}", None)
                self._file.begin(track, gap.from_ms * 1_000_000, gap.reason, "gap", {"series": series})
                self._file.end(track, gap.to_ms * 1_000_000)
                self.written["gaps"] += 1

    def _track(self, name: str, unit: str | None) -> int:
        if (name, unit) not in self._tracks:
            self._tracks[name, unit] = self._file.track(name, unit=unit)
            self.written["counter tracks"] += unit is not None
        return self._tracks[name, unit]

    def _count(self, track: int, ts_ms: float, value: float) -> None:
        self._file.count(track, round(ts_ms * 1e6), value)
        self.written["counter values"] += 1

    def _mark(self, mark: Mark) -> None:
        more = {"reason": mark.reason, "detail": mark.detail, "from_ms": mark.from_ms, "to_ms": mark.to_ms}
        self._instant(f"marks of {mark.collector}", mark.ts_ms, mark.kind, more)

    def _instant(self, track: str, ts_ms: int, name: str, arguments: dict[str, Any]) -> None:
        self._file.instant(self._track(track, None), ts_ms * 1_000_000, name, "mark", arguments)
        self.written["marks"] += 1

    # --- processes

    def _process(self, pid: int, starttime: int, name: str = "?", command: str | None = None) -> _Process:
        if (pid, starttime) not in self._processes:
            self._processes[pid, starttime] = _Process(self._file.process(pid, name, command))
            self.written["processes"] += 1
        return self._processes[pid, starttime]

    def _life(self, row: ProcInventory) -> None:
        """A slice from when the process was seen to when it ended; an instant where it was never seen."""
        name = row.comm or "?"
        process = self._process(row.pid, row.starttime, name, row.cmdline)
        ts_ns = row.ts_ms * 1_000_000
        more: dict[str, Any] = {"starttime": row.starttime, "ppid": row.ppid, "cmdline": row.cmdline}
        if row.event == "seen":
            if not process.is_open:
                self._file.begin(process.track, ts_ns, name, "process", more)
                process.is_open = True
            return
        ended = {"exit_code": row.exit_code, "signal": row.signal}
        self._file.instant(process.track, ts_ns, f"{name} ended", "process", more | ended)
        if process.is_open:
            self._file.end(process.track, ts_ns)
            process.is_open = False
        process.ended_ms = row.ts_ms

    def _process_figure(self, row: ProcCpu | ProcRss) -> None:
        if isinstance(row, ProcRss):
            figure: Figure = ("RSS", "B", row.ts_ms, row.rss_kb * _KB)
        else:
            value = 100 * row.cpu_ms / row.dt_ms if row.dt_ms else None
            figure = ("CPU", "% of a core", row.ts_ms - row.dt_ms, value)
        name, unit, ts_ms, value = figure
        if value is None:
            return
        if row.pid is None or row.starttime is None:
            self._count(self._track("unattributed CPU", unit), ts_ms, value)
            return
        process = self._process(row.pid, row.starttime)
        if name not in process.counters:
            process.counters[name] = self._file.track(name, process.track, unit)
            self.written["counter tracks"] += 1
        self._count(process.counters[name], ts_ms, value)


def _figures(record: Any) -> Iterator[Figure]:
    if isinstance(record, HostMetric):
        if record.cpu_util is not UNSET:
            yield "CPU", "%", record.ts_ms - _TICK_MS, record.cpu_util
        if record.mem_free_mb is not UNSET:
            yield "free memory", "MB", record.ts_ms, record.mem_free_mb
    elif isinstance(record, LinkMetric):
        link = record.link.removeprefix(f"{record.node}.")
        yield f"{link} in", "B/s", record.ts_ms - _TICK_MS, record.rx_Bps
        yield f"{link} out", "B/s", record.ts_ms - _TICK_MS, record.tx_Bps
    elif isinstance(record, SystemStat):
        yield f"{record.metric} {record.instance_id or ''}".rstrip(), "", record.ts_ms, record.value
    elif isinstance(record, HostExtra):
        yield from _extras(record)


def _extras(record: HostExtra) -> Iterator[Figure]:
    begins = record.ts_ms - (record.dt_ms or 0)
    yield "iowait", "%", begins, record.iowait_pct
    yield "steal", "%", begins, record.steal_pct
    yield "available memory", "MB", record.ts_ms, record.mem_available_mb
    for number, share in enumerate(record.core_util_pct or []):
        yield f"core {number}", "%", begins, share
    for disk in record.disks or []:
        yield f"{disk.dev} read", "B/s", begins, disk.read_Bps
        yield f"{disk.dev} write", "B/s", begins, disk.write_Bps
        yield f"{disk.dev} busy", "%", begins, disk.busy_pct
    for name in record.psi.__struct_fields__ if record.psi else ():
        yield f"stalled: {name.removesuffix('_ms_per_s')}", "ms/s", begins, getattr(record.psi, name)
