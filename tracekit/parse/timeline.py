"""The run's own time: wall-clock ms with every step of the wall clock taken out.

A row with mono_ms is placed by the monotonic clock. Without it (process rows) the wall clock is used,
less the steps that the sampler's marks tell.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

_STEADY_MS = 50  # wall minus monotonic moves by less than this between two rows of a steady clock
_LOOK_MS = 100  # rows of one tick may be stamped this much later than the tick itself


class Steps:
    """Steps of the wall clock between two ticks of the sampler, from its clock_step marks."""

    def __init__(self, started_ms: int, marks: Iterable[tuple[int, int, int]]) -> None:
        """marks, in order: (from_ms, to_ms, step_ms): the ticks before and after, and the step's size."""
        self._ahead = list(marks)
        self.goes_back = any(step < 0 for _, _, step in self._ahead)
        self._last = started_ms
        self.total = 0

    def pass_row(self, ts_ms: int) -> None:
        """The rows, in the order in which they were written, have come to one stamped ts_ms."""
        while self._ahead and self._is_past(ts_ms, *self._ahead[0]):
            self.total += self._ahead.pop(0)[2]
        self._last = ts_ms

    def _is_past(self, ts_ms: int, from_ms: int, to_ms: int, step_ms: int) -> bool:
        """Whether the step lies before this row: stamps before it are <= from_ms, after it >= to_ms."""
        if step_ms > 0:
            return ts_ms >= to_ms
        return ts_ms > from_ms + _LOOK_MS or to_ms <= ts_ms < self._last


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
        if not self._shifts or abs(shift - self._shifts[-1][1]) > _STEADY_MS:
            self._shifts.append((own_ms, shift))
        return own_ms

    def wall(self, own_ms: int) -> int:
        """What the wall clock showed at that own time, as far as the rows placed so far tell."""
        if not self._shifts:
            return own_ms
        shifts = sorted(self._shifts)  # each file's rows began anew
        shift = shifts[max(bisect_right(shifts, (own_ms, 1 << 62)) - 1, 0)][1]
        return own_ms + (shift if abs(shift) > _STEADY_MS else 0)
