"""The run's own time: wall-clock ms with every step of the wall clock taken out.

A row with mono_ms is placed by the monotonic clock. Without it (process rows) the wall clock is used,
less the steps that the sampler's marks tell.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct

from tracekit.records import Mark, MonoMs, QualityMark, RunMeta, TimeMs

_EARLY_MS = 15_000  # a start waits this long for its last collector; the others' rows are before started_ms
_FAR_MS = 5_000  # rows this far outside of the run's time are worth a mark
_STEADY_MS = 50  # wall minus monotonic moves by less than this between two rows of a steady clock
_WITH_MONO = (("resources.jsonl", "links.jsonl"), ("marks.jsonl",))  # an app may write marks too
_LOOKED_AT, _LINE_BYTES = 1000, 1 << 16  # lines at the beginning of such a file, and bytes of each
_LOOK_MS = 100  # rows of one tick may be stamped this much later than the tick itself


class Steps:
    """Steps of the wall clock between two ticks of the sampler, from its clock_step marks."""

    def __init__(self, started_ms: int, marks: Iterable[tuple[int, int, int]]) -> None:
        """marks, in order: (from_ms, to_ms, step_ms): the ticks before and after, and the step's size."""
        self._ahead = list(marks)
        self.goes_back = any(step < 0 for _, _, step in self._ahead)
        self._last = started_ms - _EARLY_MS
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


def steps_of_sampler(marks: Iterable[Mark]) -> Iterator[tuple[int, int, int]]:
    """(from_ms, to_ms, step_ms) of each step of the wall clock that the sampler noticed."""
    for mark in marks:
        is_told = mark.from_ms is not None and mark.to_ms is not None and mark.step_ms is not UNSET
        if mark.collector == "proc" and mark.kind == "clock_step" and is_told:
            yield mark.from_ms, mark.to_ms, mark.step_ms  # type: ignore[misc] # is_told


def own_stopped_ms(run: RunMeta) -> int | None:
    """The end of the run in its own time; None while it is live."""
    if run.stopped_ms is None or run.stopped_mono_ms is None:
        return run.stopped_ms
    if run.started_mono_ms is None or run.started_ms is None:
        return run.stopped_ms
    elapsed_ms = run.stopped_mono_ms - run.started_mono_ms
    return run.started_ms + elapsed_ms if elapsed_ms >= 0 else run.stopped_ms


class FarRows:
    """Rows outside of the run's time: they are kept, with one mark a file."""

    def __init__(self, run: RunMeta) -> None:
        self.marks: list[QualityMark] = []
        self._run = run
        self._stepped_ms = 0

    def expect_steps(self, marks: Iterable[Mark]) -> None:
        """The wall clock was stepped, so that rows may be that much further off."""
        self._stepped_ms = sum(abs(mark.step_ms) for mark in marks if mark.step_ms is not UNSET)

    def look(self, name: str, times: Sequence[int]) -> None:
        """Look at times of a file's rows, ms; the first and the last are enough where they are in order."""
        started_ms, stopped_ms = self._run.started_ms, self._run.stopped_ms
        if not times or started_ms is None or stopped_ms is None:
            return
        far_ms = _FAR_MS + self._stepped_ms
        # a stepped clock may say that the end came first
        last_ms = max(stopped_ms, own_stopped_ms(self._run) or 0) + far_ms
        if min(started_ms, stopped_ms) - far_ms <= min(times) and max(times) <= last_ms:
            return
        detail = f"{name}: records outside of the run's time"
        if all(mark.detail != detail for mark in self.marks):
            self.marks.append(QualityMark(ts_ms=min(times), kind="outside_run", detail=detail))


class _Moment(Struct):
    """A row that has both clocks."""

    ts_ms: TimeMs
    mono_ms: MonoMs


def started_mono_ms(run_dir: Path, run: RunMeta) -> int | None:
    """The monotonic clock at started_ms: by run_meta.json, else by the first sample with both clocks, else by
    the first such mark."""
    if run.started_ms is None or run.started_mono_ms is not None:
        return run.started_mono_ms if run.started_ms is not None else None
    for names in _WITH_MONO:
        moments = filter(None, (_first_moment(run_dir / name) for name in names))
        if first := min(moments, default=None):
            return first[1] - (first[0] - run.started_ms)
    return None


def _first_moment(path: Path) -> tuple[int, int] | None:
    if path.exists():
        with path.open("rb") as lines:
            for _ in range(_LOOKED_AT):
                try:
                    row = msgspec.json.decode(lines.readline(_LINE_BYTES), type=_Moment)
                except msgspec.MsgspecError:
                    continue
                return row.ts_ms, row.mono_ms
    return None


@dataclass
class Timeline:
    """Places stamps on the run's own time axis, which starts at started_ms."""

    started_ms: int
    started_mono_ms: int | None
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
