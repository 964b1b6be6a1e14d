"""The run's own time: wall-clock ms with every step of the wall clock taken out, and its grid.

A row with mono_ms is placed by the monotonic clock. Without it (process rows) the wall clock is used,
less the steps that the sampler's marks tell.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from tracekit.records import Gap

DRIFT = 1.25  # two rows this many intervals apart, or less, have lost no sample between them


class Steps:
    """Steps of the wall clock between two ticks of the sampler, from its clock_step marks."""

    def __init__(self, marks: Iterable[tuple[int, int, int]]) -> None:
        """marks: (from_ms, to_ms, step_ms): the ticks before and after, and wall minus monotonic."""
        self._at = {(before, after): step for before, after, step in marks}
        self.goes_back = any(step < 0 for step in self._at.values())
        self._last: int | None = None
        self.total = 0

    def pass_tick(self, ts_ms: int) -> None:
        """The rows have come to the tick at ts_ms."""
        if self._last is not None:
            self.total += self._at.get((self._last, ts_ms), 0)
        self._last = ts_ms


@dataclass
class Timeline:
    """Places stamps on the run's own time axis, which starts at started_ms."""

    started_ms: int
    started_mono_ms: int | None
    steps: Steps
    _shifts: list[tuple[int, int]] = field(default_factory=list)  # (own time, wall minus own time)

    def place(self, ts_ms: int, mono_ms: int | None) -> int:
        """Own time of a row, ms."""
        if mono_ms is None or self.started_mono_ms is None:
            return ts_ms
        own_ms = self.started_ms + mono_ms - self.started_mono_ms
        shift = ts_ms - own_ms
        if not self._shifts or abs(shift - self._shifts[-1][1]) > 50:
            self._shifts.append((own_ms, shift))
        return own_ms

    def wall(self, own_ms: int) -> int:
        """What the wall clock showed at that own time, as far as the rows placed so far tell."""
        if not self._shifts:
            return own_ms
        index = max(bisect_right(self._shifts, (own_ms, 1 << 62)) - 1, 0)
        shift = self._shifts[index][1]
        return own_ms + (shift if abs(shift) > 50 else 0)


class Grid:
    """Which grid points of a series have a row. Point k owns [started_ms + k intervals, one interval on)."""

    def __init__(self, started_ms: int, interval_ms: int) -> None:
        self._started_ms = started_ms
        self._interval_ms = interval_ms
        self._got: set[int] = set()
        self._rows: list[int] = []  # own times, as they come
        self.last_ms: int | None = None

    def add(self, own_ms: int) -> None:
        """A row was sampled at that own time."""
        point = (own_ms - self._started_ms) // self._interval_ms
        if point not in self._got:
            self._got.add(point)
            self._rows.append(own_ms)
        self.last_ms = own_ms if self.last_ms is None else max(self.last_ms, own_ms)

    def add_span(self, from_ms: int, to_ms: int) -> None:
        """Every grid point from the one of from_ms to the one of to_ms was sampled, with or without rows."""
        first = (from_ms - self._started_ms) // self._interval_ms
        last = (to_ms - self._started_ms) // self._interval_ms
        self._got.update(range(first, last + 1))

    def remove_between(self, from_ms: int, to_ms: int) -> None:
        """No grid point strictly between those of two neighbouring ticks was sampled."""
        first = (from_ms - self._started_ms) // self._interval_ms
        last = (to_ms - self._started_ms) // self._interval_ms
        self._got.difference_update(range(first + 1, last))

    def expected(self, stopped_ms: int) -> int:
        """How many grid points are over by stopped_ms."""
        return max(stopped_ms - self._started_ms, 0) // self._interval_ms

    def got(self, expected: int) -> int:
        """How many of the first expected grid points were sampled."""
        return sum(0 <= point < expected for point in self._got)

    def gaps(self, expected: int, timeline: Timeline) -> list[Gap]:
        """Runs of grid points without a sample, in wall-clock ms; the reason is still only "drift" or ""."""
        gaps = []
        point = 0
        rows = sorted(self._rows)
        while point < expected:
            if point in self._got:
                point += 1
                continue
            first = point
            while point < expected and point not in self._got:
                point += 1
            from_ms = self._started_ms + first * self._interval_ms
            to_ms = self._started_ms + point * self._interval_ms
            reason = "drift" if self._is_drift(rows, from_ms) else ""
            gaps.append(Gap(from_ms=timeline.wall(from_ms), to_ms=timeline.wall(to_ms), reason=reason))
        return gaps

    def _is_drift(self, rows: list[int], from_ms: int) -> bool:
        """Whether the rows on both sides are one interval apart: they only fell on other grid points."""
        index = bisect_right(rows, from_ms)
        if not 0 < index < len(rows):
            return False
        return rows[index] - rows[index - 1] <= self._interval_ms * DRIFT
