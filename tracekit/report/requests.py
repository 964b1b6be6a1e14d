"""Requests: how many at once and a second, how long they took and waited, and which traces were slowest."""

from collections import Counter
from collections.abc import Iterator
from math import floor, log10
from typing import Any

from tracekit.dataset import Dataset
from tracekit.records import ClientEvent, Invocation
from tracekit.report.grid import Grid, Spread, Values
from tracekit.report.histogram import Histogram
from tracekit.report.slowest import Slowest

_CELLS_A_DECADE = 8
_STALE_MS = 2500  # an instance that has said nothing for so long has ended
CLIENT = "client"
SHARES = (0.5, 0.95, 0.99)


class Requests:
    """Sums over all requests of a run; nothing here grows with their number."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self.latency: dict[str, Histogram] = {}  # by node; CLIENT: as the load generator saw it
        self.wait: dict[str, Histogram] = {}
        self.busy: dict[str, Spread] = {}
        self.done: dict[str, Spread] = {}
        self.density: Counter[tuple[int | None, int | None]] = Counter()
        self.slowest = Slowest()
        self.failed: Counter[str] = Counter()
        self.stamped = 0

    def add(self, one: Invocation) -> None:
        """Take what a node served."""
        start, end = span_ms(one)
        _spread(self.busy, one.node, self._grid).add(start, end, end - start)
        _spread(self.done, one.node, self._grid).add(end, end, 1)
        if one.status is not None and one.status >= 400:
            self.failed[f"{one.node} answered {one.status}"] += 1
        if one.rt_ms is not None:
            self.latency.setdefault(one.node, Histogram()).add(one.rt_ms)
        if one.queue_time_ms is not None:
            self.stamped += one.queue_source is not None
            self.wait.setdefault(one.node, Histogram()).add(one.queue_time_ms)
            if one.service_time_ms is not None:
                self.density[_cell(one.service_time_ms), _cell(one.queue_time_ms)] += 1
        self.slowest.add(one.trace_id, end - start)

    def add_client(self, one: ClientEvent) -> None:
        """Take what the load generator saw; failures have no latency that counts."""
        if one.error is not None or one.status is None or one.status >= 400:
            why = "no answer" if one.status is None else f"status {one.status}"
            self.failed[f"{CLIENT}: {one.error or why}"[:200]] += 1
        elif one.latency_ms is not None:
            self.latency.setdefault(CLIENT, Histogram()).add(one.latency_ms)
            self.slowest.add(one.trace_id, one.latency_ms)


def read_requests(dataset: Dataset, grid: Grid) -> tuple[dict[str, Any], list[str]]:
    """The page's part about requests, and the ids of the slowest traces."""
    requests = Requests(grid)
    for one in dataset.read("invocations.jsonl"):
        requests.add(one)
    for one in dataset.read("events_client.jsonl"):
        requests.add_client(one)
    part = {
        "served": sum(requests.latency[node].count for node in requests.latency if node != CLIENT),
        "failed": requests.failed.most_common(8),
        "stamped": requests.stamped,
        "in_flight": {node: one.per_ms() for node, one in sorted(requests.busy.items())},
        "sampled_in_flight": _in_flight(dataset, grid),
        "rate": {node: one.per_s() for node, one in sorted(requests.done.items())},
        "latency": _curves(requests.latency),
        "wait": _curves(requests.wait),
        "density": [[x, y, count] for (x, y), count in sorted(requests.density.items(), key=_density_key)],
        "cells_a_decade": _CELLS_A_DECADE,
    }
    return part, requests.slowest.ids()


def span_ms(one: Invocation) -> tuple[float, float]:
    """Begin and end of an invocation; what is not known comes from the other stamp and the duration."""
    if one.ts_enqueue is not None:
        if one.rt_ms is not None:
            return float(one.ts_enqueue), one.ts_enqueue + one.rt_ms
        return float(one.ts_enqueue), float(one.ts_end if one.ts_end is not None else one.ts_enqueue)
    end = float(one.ts_end or 0)
    return end - (one.rt_ms or 0.0), end


def _spread(by_node: dict[str, Spread], node: str, grid: Grid) -> Spread:
    if node not in by_node:
        by_node[node] = Spread(grid)
    return by_node[node]


def _cell(value_ms: float) -> int | None:
    """Number of the logarithmic cell of a duration; None: less than 0.001 ms."""
    return floor(log10(value_ms) * _CELLS_A_DECADE) if value_ms >= 0.001 else None


def _density_key(item: tuple[tuple[int | None, int | None], int]) -> tuple[int, int]:
    x, y = item[0]
    return (-99 if x is None else x, -99 if y is None else y)


def _curves(by_name: dict[str, Histogram]) -> list[dict[str, Any]]:
    names = sorted(by_name, key=lambda name: (name != CLIENT, name))
    return [
        {
            "name": name,
            "is_client": name == CLIENT,
            "count": by_name[name].count,
            "most": round(by_name[name].most, 3),
            "quantiles": [_short(by_name[name].quantile(share)) for share in SHARES],
            "curve": by_name[name].curve(),
        }
        for name in names
    ]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _in_flight(dataset: Dataset, grid: Grid) -> dict[str, Values]:
    """The most that the app's instances of a node counted at once, by bucket, where they counted at all."""
    most: dict[str, Values] = {}
    for node, ts_ms, value in _summed(dataset):
        at = grid.bucket(ts_ms)
        if at is not None:
            values = most.setdefault(node, [None] * grid.count)
            values[at] = max(values[at] or 0.0, value)
    return most


def _summed(dataset: Dataset) -> Iterator[tuple[str, int, float]]:
    """(node, time, requests in flight in all its instances) at each row of system_stats.jsonl."""
    last: dict[str, dict[str | None, tuple[int, float]]] = {}
    for row in dataset.read("system_stats.jsonl"):
        if row.metric == "in_flight":
            known = last.setdefault(row.node_id, {})
            known[row.instance_id] = (row.ts_ms, row.value)
            for name in [name for name, (at, _) in known.items() if row.ts_ms - at > _STALE_MS]:
                del known[name]
            yield row.node_id, row.ts_ms, sum(value for _, value in known.values())
