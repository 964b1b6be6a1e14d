"""The processes of a data set: who started whom, what each used, and to which task each belongs."""

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from tracekit.dataset import Dataset

Process = tuple[str, int, int]  # node, pid, starttime: one process in a data set of many nodes
Row = tuple[int, float, float]  # end of the interval (ms since the epoch), its length in ms, CPU in ms


@dataclass
class Family:
    """Parents by proc_inventory; a parent is named by its pid, and is the youngest of that pid born before.

    maxrss_kb: what the kernel told of those that ended, kB of 1024 bytes."""

    parent: dict[Process, Process] = field(default_factory=dict)
    name: dict[Process, str] = field(default_factory=dict)
    maxrss_kb: dict[Process, int] = field(default_factory=dict)

    def owner(self, process: Process, roots: Collection[Process]) -> Process | None:
        """The process itself or its nearest ancestor that is one of roots."""
        seen: set[Process] = set()
        current: Process | None = process
        while current is not None and current not in seen:
            if current in roots:
                return current
            seen.add(current)
            current = self.parent.get(current)
        return None


def read_family(dataset: Dataset) -> Family:
    """All processes that came into sight."""
    family = Family()
    ppid: dict[Process, int] = {}
    births: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in dataset.read("proc_inventory.jsonl"):
        process = (row.node, row.pid, row.starttime)
        births[row.node, row.pid].append(row.starttime)
        if row.ppid:
            ppid[process] = row.ppid
        family.name[process] = row.comm or family.name.get(process, "")
        if row.maxrss_kb is not None:
            family.maxrss_kb[process] = row.maxrss_kb
    for times in births.values():
        times.sort()
    for process, pid in ppid.items():
        node, _, born = process
        times = births.get((node, pid), [])
        place = bisect_right(times, born)
        if place:
            family.parent[process] = (node, pid, times[place - 1])
    return family


@dataclass
class Usage:
    """What owners used. peak_rss_kb: the most that the processes of one held at one tick.

    free_ms: CPU of processes without an owner; no_process_ms: CPU of no known process."""

    peak_rss_kb: dict[Process, int] = field(default_factory=dict)
    free_ms: float = 0.0
    no_process_ms: float = 0.0
    _rows: dict[Process, "array[float]"] = field(default_factory=lambda: defaultdict(lambda: array("d")))

    def add(self, owner: Process, row: Row) -> None:
        """A row of one of its processes: 24 bytes of memory."""
        self._rows[owner].extend(row)

    def owners(self) -> list[Process]:
        """Those that anything is known of."""
        return sorted(self._rows.keys() | self.peak_rss_kb.keys())

    def rows(self, owner: Process) -> list[Row]:
        """Its rows, in the order of their ends; none where it has none."""
        flat = iter(self._rows[owner]) if owner in self._rows else iter(())
        return [
            (int(end), length_ms, cpu_ms) for end, length_ms, cpu_ms in zip(flat, flat, flat, strict=True)
        ]


def read_usage(dataset: Dataset, family: Family, roots: Collection[Process] | None) -> Usage:
    """What each of roots used, with the processes below it; roots None: each process by itself."""
    owners: dict[Process, Process | None] = {}

    def owner(process: Process) -> Process | None:
        if process not in owners:
            owners[process] = process if roots is None else family.owner(process, roots)
        return owners[process]

    usage = Usage()
    for row in dataset.read("proc_cpu.jsonl"):
        if row.pid is None:
            usage.no_process_ms += row.cpu_ms
            continue
        root = owner((row.node, row.pid, row.starttime))
        if root is None:
            usage.free_ms += row.cpu_ms
        else:
            usage.add(root, (row.ts_ms, row.dt_ms, row.cpu_ms))
    now: dict[Process, tuple[int, int]] = {}  # owner -> tick, kB at it so far
    for row in dataset.read("proc_rss.jsonl"):
        root = owner((row.node, row.pid, row.starttime))
        if root is not None:
            tick, held = now.get(root, (row.ts_ms, 0))
            held = held + row.rss_kb if tick == row.ts_ms else row.rss_kb
            now[root] = (row.ts_ms, held)
            usage.peak_rss_kb[root] = max(usage.peak_rss_kb.get(root, 0), held)
    for process, peak_kb in family.maxrss_kb.items():
        root = owner(process)
        if root is not None:
            usage.peak_rss_kb[root] = max(usage.peak_rss_kb.get(root, 0), peak_kb)
    return usage
