"""CPU of each node's processes, stacked: those that used most, the rest, and what none can be given."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tracekit.dataset import Dataset
from tracekit.records import ProcCpu
from tracekit.report.grid import Grid, Spread, Values

TOP = 7  # processes of a node with a band of their own
NODES = 12  # nodes with a chart of their own
Key = tuple[int | None, int | None]  # pid and starttime; both None: unattributed
_UNATTRIBUTED: Key = (None, None)


@dataclass
class Usage:
    """What the processes of a node used in all, ms of CPU."""

    cpu_ms: Counter[Key] = field(default_factory=Counter)

    @property
    def top(self) -> list[Key]:
        """The processes that used most, unattributed aside; equal ones by pid."""
        named = [(-ms, key) for key, ms in self.cpu_ms.items() if key[0] is not None and ms > 0]
        return [key for _, key in sorted(named)[:TOP]]


def read_processes(dataset: Dataset, grid: Grid, host_pct: dict[str, Values]) -> dict[str, Any]:
    """A stack for each of the nodes that used most CPU, in cores, one value a bucket."""
    nodes: dict[str, Usage] = {}
    for row in dataset.read("proc_cpu.jsonl"):
        nodes.setdefault(row.node, Usage()).cpu_ms[row.pid, row.starttime] += row.cpu_ms
    shown = sorted(nodes, key=lambda node: (-nodes[node].cpu_ms.total(), node))[:NODES]
    tops = {node: nodes[node].top for node in shown}
    bands, peaks = _bands(dataset, grid, tops)
    told = _told(dataset, tops)
    cores = {node.node_id: node.cpu_cores for node in dataset.nodes()}
    stacks = []
    for node in sorted(shown):
        usage = nodes[node].cpu_ms
        parts = [
            {
                "name": "",
                "pid": key[0],
                **told.get((node, key), {}),
                "cpu_ms": round(usage[key]),
                "values": bands[node, key].per_ms(),
            }
            for key in tops[node]
        ]
        others = [ms for key, ms in usage.items() if key not in tops[node] and key != _UNATTRIBUTED]
        if others:
            name = "1 other" if len(others) == 1 else f"{len(others)} others"
            parts.append({"name": name, "cpu_ms": round(sum(others)), "values": bands[node, None].per_ms()})
        if _UNATTRIBUTED in usage:
            parts.append(
                {
                    "name": "unattributed",
                    "cpu_ms": round(usage[_UNATTRIBUTED]),
                    "values": bands[node, _UNATTRIBUTED].per_ms(),
                }
            )
        stacks.append(
            {
                "node": node,
                "parts": parts,
                "peaks": peaks.get(node),
                "host": _cores(host_pct.get(node), cores.get(node)),
            }
        )
    return {"stacks": stacks, "left_out": len(nodes) - len(shown)}


def _cores(percent: Values | None, cores: int | None) -> Values | None:
    if percent is None or not cores:
        return None
    return [None if one is None else round(one * cores / 100, 3) for one in percent]


def _bands(
    dataset: Dataset, grid: Grid, tops: dict[str, list[Key]]
) -> tuple[dict[tuple[str, Key | None], Spread], dict[str, Values]]:
    """CPU by node and process, None for all others; and by node the most that all used in one tick, cores."""
    bands: dict[tuple[str, Key | None], Spread] = {}
    peaks = {node: Peaks(grid) for node in tops} if grid.width_ms > 1000 else {}
    for row in dataset.read("proc_cpu.jsonl"):
        if row.node not in tops:
            continue
        key: Key | None = (row.pid, row.starttime)
        if key not in tops[row.node] and key != _UNATTRIBUTED:
            key = None
        if (row.node, key) not in bands:
            bands[row.node, key] = Spread(grid)
        bands[row.node, key].add(row.ts_ms - row.dt_ms, row.ts_ms, row.cpu_ms)
        if row.node in peaks:
            peaks[row.node].add(row)
    return bands, {node: one.values() for node, one in peaks.items()}


class Peaks:
    """The most that the rows of one tick add up to, cores, in each bucket."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._most: Values = [None] * grid.count
        self._tick_ms, self._cores = -1, 0.0

    def add(self, row: ProcCpu) -> None:
        """Take a row, in the order of time. What ran for less than a second counts as if for one."""
        if row.ts_ms != self._tick_ms:
            self._tick_ms, self._cores = row.ts_ms, 0.0
        self._cores += row.cpu_ms / max(row.dt_ms, 1000.0)
        at = self._grid.bucket(row.ts_ms)
        if at is not None:
            self._most[at] = max(self._most[at] or 0.0, round(self._cores, 3))

    def values(self) -> Values:
        """By bucket; None where no row fell."""
        return self._most


def _told(dataset: Dataset, tops: dict[str, list[Key]]) -> dict[tuple[str, Key], dict[str, Any]]:
    """Name, command line and peak resident memory (kB of 1024 bytes) of the shown processes."""
    told: dict[tuple[str, Key], dict[str, Any]] = {
        (node, key): {"rss_kb": None} for node, keys in tops.items() for key in keys
    }
    for node, key, names in _names(dataset):
        if (node, key) in told:
            told[node, key].update({name: text for name, text in names.items() if text})
    for row in dataset.read("proc_rss.jsonl"):
        one = told.get((row.node, (row.pid, row.starttime)))
        if one is not None:
            one["rss_kb"] = max(one["rss_kb"] or 0, row.rss_kb)
    return told


def _names(dataset: Dataset) -> Iterator[tuple[str, Key, dict[str, str | None]]]:
    for row in dataset.read("proc_inventory.jsonl"):
        yield row.node, (row.pid, row.starttime), {"name": row.comm, "command": (row.cmdline or "")[:500]}
