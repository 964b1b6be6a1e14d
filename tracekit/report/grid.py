"""Any number of samples on a grid of time of a fixed size, with every extreme kept."""

from array import array
from math import isnan, nan

from tracekit.dataset import Dataset

_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
_SAMPLED = {"host_metrics.jsonl", "link_metrics.jsonl", "proc_cpu.jsonl", "proc_rss.jsonl"}
Values = list[float | None]


class Grid:
    """Buckets of width_ms from start_ms on; outside counts what fell into none of them."""

    def __init__(self, start_ms: int, end_ms: int, buckets: int) -> None:
        """Cover both times in at most so many buckets, whole seconds wide."""
        span_ms = max(end_ms - start_ms, 0) + 1
        fitting = (width * 1000 for width in _WIDTHS_S if width * 1000 * (buckets - 1) >= span_ms)
        self.width_ms = next(fitting, -(-span_ms // (1000 * (buckets - 1))) * 1000)
        self.start_ms = start_ms - start_ms % 1000
        self.count = (end_ms - self.start_ms) // self.width_ms + 1
        self.outside = 0

    def bucket(self, ts_ms: float) -> int | None:
        """The bucket of a time; None outside."""
        found = int((ts_ms - self.start_ms) // self.width_ms)
        if 0 <= found < self.count:
            return found
        self.outside += 1
        return None


class Extremes:
    """The least and the greatest sample of each bucket, in the order in which they came."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._first, self._last, self._sum = (array("d", [nan]) * grid.count for _ in range(3))
        self._rises = bytearray(grid.count)  # 1: the last extreme is the greater one
        self._samples = array("q", [0]) * grid.count

    def add(self, ts_ms: int, value: float) -> None:
        """Take one sample."""
        at = self._grid.bucket(ts_ms)
        if at is None:
            return
        self._samples[at] += 1
        if self._samples[at] == 1:
            self._first[at] = self._sum[at] = value
            return
        self._sum[at] += value
        low, high = self._first[at], self._last[at]
        if isnan(high):
            high = low
        elif not self._rises[at]:
            low, high = high, low
        if value >= high:
            self._first[at], self._last[at], self._rises[at] = low, value, 1
        elif value <= low:
            self._first[at], self._last[at], self._rises[at] = high, value, 0

    def values(self, digits: int = 0) -> Values:
        """Two slots a bucket, both None where nothing was sampled, the second where one sample was."""
        pairs = zip(self._first, self._last, strict=True)
        return [_rounded(value, digits) for pair in pairs for value in pair]

    def means(self, digits: int = 0) -> Values:
        """One value a bucket."""
        sums = zip(self._sum, self._samples, strict=True)
        return [_rounded(total / samples, digits) if samples else None for total, samples in sums]


class Spread:
    """Amounts that belong to spans of time, shared out over the buckets that a span touches."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._cells = array("d", [0.0]) * grid.count

    def add(self, from_ms: float, to_ms: float, amount: float) -> None:
        """Share amount out evenly over from_ms to to_ms; a part outside the grid is left out."""
        start, width = self._grid.start_ms, self._grid.width_ms
        first = max(int((from_ms - start) // width), 0)
        last = min(int((to_ms - start) // width), self._grid.count - 1)
        if to_ms <= from_ms:
            at = self._grid.bucket(to_ms)
            if at is not None:
                self._cells[at] += amount
            return
        for at in range(first, last + 1):
            left = start + at * width
            shared_ms = min(to_ms, left + width) - max(from_ms, left)
            self._cells[at] += amount * max(shared_ms, 0.0) / (to_ms - from_ms)

    def per_ms(self, digits: int = 3) -> Values:
        """Amount a ms, by bucket."""
        return [round(cell / self._grid.width_ms, digits) for cell in self._cells]

    def per_s(self, digits: int = 2) -> Values:
        """Amount a second, by bucket."""
        return [round(1000 * cell / self._grid.width_ms, digits) for cell in self._cells]


def _rounded(value: float, digits: int) -> float | None:
    if isnan(value):
        return None
    return round(value, digits) if digits else round(value)


def span_of(dataset: Dataset) -> tuple[int, int]:
    """First and last ms to show: of what was sampled, else of everything.

    Where a stepped clock tore the run far apart, it is the run's true length before its end."""
    files = [
        file for file in dataset.manifest.files if file.first_ts is not None and file.last_ts is not None
    ]
    chosen = [file for file in files if file.name in _SAMPLED] or files
    nodes = dataset.nodes()
    times = [ts for file in chosen for ts in (file.first_ts, file.last_ts) if ts is not None]
    times += [ts for node in nodes for ts in (node.started_ms, node.stopped_ms) if ts is not None]
    if not times:
        return 0, 0
    accounts = [one for each in dataset.qualities().values() for one in each.collectors.values()]
    true_ms = 1000 * max((one.expected for one in accounts), default=0)
    stopped = [node.stopped_ms for node in nodes if node.stopped_ms is not None]
    if true_ms and stopped and max(times) - min(times) > 4 * true_ms + 3_600_000:
        return max(stopped) - true_ms, max(stopped)
    return min(times), max(times)
