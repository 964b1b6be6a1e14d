"""The grid points of a series, and which of them were sampled.

Point k owns the time from started_ms + k intervals to one interval later, in the run's own time. Points that
follow each other are kept as one span: a run whose end is far off, and one that is long, cost nothing.
"""

from bisect import bisect_right
from typing import NamedTuple

DRIFT = 1.25  # two rows at most this many intervals apart have lost no sample between them
_MANY = 4096  # spans from rows out of order, before they are put together

Span = tuple[int, int]  # points, from the first up to, not including, the second


class _Rows(NamedTuple):
    """Points that have rows each, and the own times of the first and the last row, ms."""

    first: int
    end: int
    from_ms: int
    to_ms: int


class Grid:
    """The account of one series."""

    def __init__(self, started_ms: int, interval_ms: int) -> None:
        self._started_ms = started_ms
        self._interval_ms = interval_ms
        self._rows: list[_Rows] = []
        self._many = _MANY
        self._spans: list[Span] = []
        self._missed: list[Span] = []
        self.last_ms: int | None = None

    def _point(self, own_ms: int) -> int:
        return (own_ms - self._started_ms) // self._interval_ms

    def add(self, own_ms: int) -> None:
        """A row was sampled at that own time."""
        point = self._point(own_ms)
        self._rows.append(_Rows(point, point + 1, own_ms, own_ms))
        if len(self._rows) > 1 and self._rows[-2].first <= point <= self._rows[-2].end:
            self._rows[-2:] = _joined(self._rows[-2:])
        elif len(self._rows) >= self._many:
            self._rows = _joined(sorted(self._rows))
            self._many = max(_MANY, 2 * len(self._rows))
        self.last_ms = own_ms if self.last_ms is None else max(self.last_ms, own_ms)

    def add_span(self, from_ms: int, to_ms: int) -> None:
        """Every grid point from the one of from_ms to the one of to_ms was sampled, with or without rows."""
        span = self._point(from_ms), self._point(to_ms) + 1
        if self._spans and self._spans[-1][0] <= span[0] <= self._spans[-1][1]:
            span = self._spans[-1][0], max(self._spans.pop()[1], span[1])
        self._spans.append(span)

    def miss_between(self, from_ms: int, to_ms: int) -> None:
        """No grid point strictly between those of two neighbouring ticks was sampled, whatever spans say."""
        self._missed.append((self._point(from_ms) + 1, self._point(to_ms)))

    def last_sampled_ms(self) -> int:
        """Own time behind the last point that is known to be sampled; started_ms where none is."""
        ends = [rows.end for rows in self._rows] + [end for _, end in self._spans]
        return self._started_ms + max(ends, default=0) * self._interval_ms

    def expected(self, stopped_ms: int) -> int:
        """How many grid points are over by stopped_ms."""
        return max(stopped_ms - self._started_ms, 0) // self._interval_ms

    def sampled(self, expected: int) -> list[Span]:
        """The points below expected that were sampled, as separate spans in order."""
        spans = [(rows.first, rows.end) for rows in self._rows]
        for span in self._spans:
            spans += _without(span, self._missed)
        merged: list[Span] = []
        for first, end in sorted(spans):
            first, end = max(first, 0), min(end, expected)  # noqa: PLW2901 - cut to the run
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            elif first < end:
                merged.append((first, end))
        return merged

    def gaps(self, expected: int) -> list[tuple[int, int, bool]]:
        """(from, to, is only drift) of each run of points without a sample, in own time."""
        edges = [0, *(edge for span in self.sampled(expected) for edge in span), expected]
        rows = _joined(sorted(self._rows))
        found = []
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            if first < end:
                from_ms = self._started_ms + first * self._interval_ms
                to_ms = self._started_ms + end * self._interval_ms
                found.append((from_ms, to_ms, self._is_drift(rows, first)))
        return found

    def _is_drift(self, rows: list[_Rows], missing: int) -> bool:
        """Whether the rows on both sides are one interval apart: they only fell on other grid points."""
        index = bisect_right(rows, missing, key=lambda one: one.first)
        if not 0 < index < len(rows):
            return False
        return rows[index].from_ms - rows[index - 1].to_ms <= self._interval_ms * DRIFT


def _joined(rows: list[_Rows]) -> list[_Rows]:
    """Rows in order of their points, those that touch as one."""
    joined: list[_Rows] = []
    for one in rows:
        if joined and one.first <= joined[-1].end:
            last = joined.pop()
            times = min(last.from_ms, one.from_ms), max(last.to_ms, one.to_ms)
            joined.append(_Rows(last.first, max(last.end, one.end), *times))
        else:
            joined.append(one)
    return joined


def _without(span: Span, holes: list[Span]) -> list[Span]:
    """What is left of a span."""
    left = []
    begin, end = span
    for first, last in sorted(holes):
        if first < last and begin < last and first < end:
            left.append((begin, first))
            begin = max(begin, last)
    return [one for one in [*left, (begin, end)] if one[0] < one[1]]
