"""Distances between two series, and how sure they are.

Errors are in percent of the real value, with a sign."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import stdev

SECTIONS = 10
_STUDENT = 2.262  # two-sided 95 %, SECTIONS - 1 degrees of freedom

Interval = tuple[float, float]


def quantile(values: Sequence[float], share: int) -> float:
    """The value at share percent; nearest rank. values: in any order, not empty."""
    return sorted(values)[max(-(-len(values) * share // 100), 1) - 1]


def error_pct(real: float, simulated: float) -> float | None:
    """None where the real value is 0 and the other is not: that is no share of anything."""
    if real == 0:
        return 0.0 if simulated == 0 else None
    return 100 * (simulated - real) / real


def interval(whole: float, parts: Sequence[float | None]) -> Interval | None:
    """95 % for a figure, from the same figure of SECTIONS consecutive parts; None where one has none.

    Neighbours in a queue are alike, so single values tell nothing of the spread; long enough parts are nearly
    independent (sectioning; Asmussen and Glynn, Stochastic Simulation, III.5)."""
    known = [part for part in parts if part is not None]
    if len(known) < SECTIONS:
        return None
    half = _STUDENT * stdev(known) / math.sqrt(len(known))
    return whole - half, whole + half


def sections(values: Sequence[float]) -> list[Sequence[float]]:
    """SECTIONS consecutive parts of about equal length."""
    edges = [len(values) * at // SECTIONS for at in range(SECTIONS + 1)]
    return [values[edges[at] : edges[at + 1]] for at in range(SECTIONS)]


def jackknife_error(figures: Sequence[float]) -> float:
    """The standard error of a figure. figures: what it is without each of so many parts in turn.

    Source: Efron, The Jackknife, the Bootstrap and Other Resampling Plans, chapter 3."""
    return (len(figures) - 1) / math.sqrt(len(figures)) * stdev(figures)


Figure = Callable[[Sequence[float], Sequence[float]], float | None]


def with_interval(
    figure: Figure, real: Sequence[float], simulated: Sequence[float], at_least: int
) -> tuple[float | None, Interval | None]:
    """figure of the two series, and its interval where each section has at_least values on either side."""
    whole = figure(real, simulated)
    if whole is None or min(len(real), len(simulated)) < at_least * SECTIONS:
        return whole, None
    parts = [figure(*pair) for pair in zip(sections(real), sections(simulated), strict=True)]
    return whole, interval(whole, parts)


def ks_distance(real: Sequence[float], simulated: Sequence[float]) -> float:
    """The largest distance between the two empirical distributions, 0 to 1.

    Source: Kolmogorov and Smirnov."""
    ordered, others = sorted(real), sorted(simulated)
    at = other = 0
    most = 0.0
    while at < len(ordered) and other < len(others):
        value = min(ordered[at], others[other])
        while at < len(ordered) and ordered[at] == value:
            at += 1
        while other < len(others) and others[other] == value:
            other += 1
        most = max(most, abs(at / len(ordered) - other / len(others)))
    return most


def smape_pct(real: Sequence[float], simulated: Sequence[float]) -> float | None:
    """Mean of |a - b| over the mean of a and b; points at which both are 0 do not count. 0 to 200."""
    pairs = [(a, b) for a, b in zip(real, simulated, strict=True) if a or b]
    return 100 * sum(2 * abs(a - b) / (a + b) for a, b in pairs) / len(pairs) if pairs else None


def wape_pct(real: Sequence[float], simulated: Sequence[float]) -> float | None:
    """Sum of |a - b| in percent of the sum of a."""
    whole = sum(real)
    return 100 * sum(abs(a - b) for a, b in zip(real, simulated, strict=True)) / whole if whole else None


def curve(counts: Mapping[int, float], first: int, last: int, width: int = 1) -> list[float]:
    """The sums of width consecutive seconds, from first to last, without a shorter part at the end."""
    return [
        sum(counts.get(second, 0.0) for second in range(begin, begin + width))
        for begin in range(first, last + 2 - width, width)
    ]
