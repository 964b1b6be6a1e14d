"""The CPU of a task over its life, from the rows of proc_cpu: pieces whose lengths add up to the task's
duration and whose CPU adds up to what was measured."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from tracekit.export.processes import Row


class Piece(NamedTuple):
    """length_ms > 0; cpu_ms used in it; unseen_ms: the part in no row; rows: how many reach into it."""

    length_ms: int
    cpu_ms: float
    unseen_ms: float
    rows: int


def cut(start_ms: int, end_ms: int, rows: Sequence[Row]) -> list[Piece]:
    """A piece from each row's end to the next, from start_ms to end_ms, start < end.

    A row's CPU goes to the pieces that its interval meets, by the time in each. Of a row that reaches out of
    the task (stamps are whole ms, births whole ticks) all CPU goes to the part inside; of one that is outside
    as a whole, to the piece at that side. So none is lost."""
    ends = {min(max(end, start_ms), end_ms) for end, _, _ in rows}
    marks = sorted(ends | {start_ms, end_ms})
    cpu = [0.0] * (len(marks) - 1)
    reach = [0] * (len(marks) - 1)
    for end, length_ms, cpu_ms in rows:
        low, high = max(end - length_ms, float(start_ms)), float(min(end, end_ms))
        if high <= low:
            low, high = (start_ms, marks[1]) if end <= start_ms else (marks[-2], end_ms)
        first, last = bisect_right(marks, low) - 1, bisect_left(marks, high)
        for place in range(first, last):
            inside = min(high, marks[place + 1]) - max(low, marks[place])
            cpu[place] += cpu_ms * inside / (high - low)
            reach[place] += 1
    unseen = _unseen(marks, rows)
    lengths = [after - before for before, after in pairwise(marks)]
    return [Piece(*one) for one in zip(lengths, cpu, unseen, reach, strict=True)]


def _unseen(marks: Sequence[int], rows: Sequence[Row]) -> list[float]:
    """Of each piece, the ms in no row's interval."""
    unseen = [float(after - before) for before, after in pairwise(marks)]
    reached = float(marks[0])
    for low, end in sorted((end - length_ms, end) for end, length_ms, _ in rows):
        start, high = max(low, reached), float(min(end, marks[-1]))
        if high <= start:
            continue
        for place in range(bisect_right(marks, start) - 1, bisect_left(marks, high)):
            unseen[place] -= min(high, marks[place + 1]) - max(start, marks[place])
        reached = high
    return [max(one, 0.0) for one in unseen]


def busiest(pieces: Sequence[Piece], tick_ms: float, cores: int) -> int:
    """The cores that the task kept busy at its busiest: at least 1, at most those of its node.

    Counters are read in whole ticks: of each row one tick, and of the first a second one, may belong to
    the time beside it, and make no further core."""
    most = 1
    for piece in pieces:
        doubtful_ms = tick_ms * (piece.rows + 1)
        most = max(most, math.ceil((piece.cpu_ms - doubtful_ms) / piece.length_ms))
    return min(most, cores)


def spread(pieces: Sequence[Piece], more_ms: float, cores: int) -> list[Piece]:
    """Add CPU that no row holds: where no row looked, at most so many cores busy; the rest evenly."""
    room_ms = sum(piece.unseen_ms for piece in pieces) * cores
    there_ms = min(more_ms, room_ms)
    evenly = (more_ms - there_ms) / sum(piece.length_ms for piece in pieces)
    share = there_ms / room_ms if room_ms else 0.0
    return [
        piece._replace(cpu_ms=piece.cpu_ms + piece.unseen_ms * cores * share + piece.length_ms * evenly)
        for piece in pieces
    ]
