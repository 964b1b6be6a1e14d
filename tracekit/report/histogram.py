"""Distributions in bounded memory: logarithmic bins, each 1 % wider than the one before.

A quantile is therefore within 0.5 % of the true one. Source: Masson, Rim, Lee, DDSketch, VLDB 2019.
"""

from collections import Counter
from math import ceil, log

_GAMMA = 1.01
_LOG = log(_GAMMA)
_LEAST_MS = 0.001  # below the resolution of every source: one bin, "0"
_ZERO = -(1 << 30)
_POINTS = 400


class Histogram:
    """Durations in ms, none negative."""

    def __init__(self) -> None:
        self.count = 0
        self.least, self.most = float("inf"), 0.0
        self._bins: Counter[int] = Counter()

    def add(self, value_ms: float) -> None:
        """Take one duration."""
        self.count += 1
        self.least, self.most = min(self.least, value_ms), max(self.most, value_ms)
        self._bins[ceil(log(value_ms) / _LOG) if value_ms >= _LEAST_MS else _ZERO] += 1

    def quantile(self, share: float) -> float | None:
        """The value that share of all are at or below (nearest rank), in ms; None of nothing."""
        rank = max(ceil(self.count * share), 1)
        passed = 0
        for number in sorted(self._bins):
            passed += self._bins[number]
            if passed >= rank:
                return min(max(_middle(number), self.least), self.most)
        return None

    def curve(self) -> list[tuple[float, float]]:
        """(ms, percent at or below it), rising, from the least to the most; steps of less than a
        quarter percent are drawn together, but for the tail."""
        points: list[tuple[float, float]] = []
        passed, shown = 0, -1.0
        for number in sorted(self._bins):
            passed += self._bins[number]
            share = 100 * passed / self.count
            if share - shown >= 100 / _POINTS or share > 99:
                points.append((float(f"{min(_upper(number), self.most):.4g}"), round(share, 4)))
                shown = share
        return points


def _upper(number: int) -> float:
    return _LEAST_MS if number == _ZERO else _GAMMA**number


def _middle(number: int) -> float:
    """Of a bin: the value from which both its ends are equally far in proportion."""
    return 0.0 if number == _ZERO else 2 * _GAMMA**number / (_GAMMA + 1)
