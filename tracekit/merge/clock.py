"""How far the clocks of the nodes were apart, from their probes of each other.

Each probe says by how much the peer's clock was ahead, and cannot be wrong by more than half of its round
trip, whatever the way there and the way back took. Of each stretch of the run the probe with the least
round trip is kept; through these goes a line, offset and drift, weighted by how sure they are. The bound that
is stated holds for every moment of the run, if the clocks drifted evenly; where a probe shows that they did
not, it is widened to hold there too. Stamps are us, offsets ms.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

STRETCHES = 16  # of a run, from each of which one probe is kept
_FASTEST_PPM = 500.0  # of two clocks against each other, where a single stretch tells no drift


class Sample(NamedTuple):
    """A probe: when, by the clock of u; by how much v's clock was ahead; its round trip. All us."""

    at_us: float
    offset_us: float
    rtt_us: int


class Fit(NamedTuple):
    """v's clock less u's: offset_ms at at_ms (of u's clock), its drift, and how far off that may be."""

    at_ms: float
    offset_ms: float
    drift_ppm: float
    bound_ms: float

    def offset_at(self, ts_ms: float) -> float:
        """The offset at another moment, ms."""
        return self.offset_ms + self.drift_ppm * (ts_ms - self.at_ms) / 1e6


class Kept:
    """The surest sample of each stretch of the time between two moments."""

    def __init__(self, from_us: float, to_us: float) -> None:
        self._from_us, self._length_us = from_us, max(to_us - from_us, 1.0)
        self._least: dict[int, Sample] = {}

    def add(self, sample: Sample) -> None:
        """One more; a negative round trip tells of a stepped clock and is none."""
        share = (sample.at_us - self._from_us) / self._length_us
        stretch = min(max(int(share * STRETCHES), 0), STRETCHES - 1)
        least = self._least.get(stretch)
        if sample.rtt_us >= 0 and (
            least is None or (sample.rtt_us, sample.at_us) < (least.rtt_us, least.at_us)
        ):
            self._least[stretch] = sample

    @property
    def samples(self) -> list[Sample]:
        """By time."""
        return [self._least[stretch] for stretch in sorted(self._least)]


def fit(samples: Sequence[Sample], from_us: float, to_us: float) -> Fit | None:
    """The line through the samples, and its bound over the time between the two moments; None without any."""
    if not samples:
        return None
    weights = [1.0 / (one.rtt_us + 1) ** 2 for one in samples]
    total = sum(weights)
    at_us = sum(weight * one.at_us for weight, one in zip(weights, samples, strict=True)) / total
    mean_us = sum(weight * one.offset_us for weight, one in zip(weights, samples, strict=True)) / total
    spread = sum(weight * (one.at_us - at_us) ** 2 for weight, one in zip(weights, samples, strict=True))
    slope = 0.0
    if len(samples) > 1 and spread > 0:
        pairs = zip(weights, samples, strict=True)
        slope = sum(w * (one.at_us - at_us) * (one.offset_us - mean_us) for w, one in pairs) / spread
    # How far the line may be from the truth where a sample is.
    residuals = [abs(mean_us + slope * (one.at_us - at_us) - one.offset_us) for one in samples]
    errors = [residual + one.rtt_us / 2 for residual, one in zip(residuals, samples, strict=True)]
    bound_us = _bound(samples, errors, (from_us, to_us))
    for residual, error, one in zip(residuals, errors, samples, strict=True):
        if residual - one.rtt_us / 2 > bound_us:  # the truth was no line
            bound_us = error
    return Fit(at_us / 1000, mean_us / 1000, slope * 1e6, bound_us / 1000)


def _bound(samples: Sequence[Sample], errors: Sequence[float], ends_us: tuple[float, float]) -> float:
    """The greatest distance of two lines between two moments, from how far apart they are at two samples.

    The difference of two lines is a line: known at two moments, it is known at the ends. The two samples that
    bound it best are taken."""
    best = max(
        error + abs(end - one.at_us) * _FASTEST_PPM / 1e6
        for one, error in zip(samples[:1], errors[:1], strict=True)
        for end in ends_us
    )
    for (one, error), (other, other_error) in combinations(zip(samples, errors, strict=True), 2):
        apart = other.at_us - one.at_us
        if apart > 0:
            reach = [
                (error * abs(other.at_us - end) + other_error * abs(end - one.at_us)) / apart
                for end in ends_us
            ]
            best = min(best, max(reach))
    return best


def surest_paths(
    nodes: Iterable[str], edges: dict[tuple[str, str], Fit], start: str
) -> dict[str, tuple[float, list[str]]]:
    """The path with the least sum of bounds from start to every node that can be reached: (bound, nodes)."""
    reached: dict[str, tuple[float, list[str]]] = {}
    open_paths: dict[str, tuple[float, list[str]]] = {start: (0.0, [start])}
    neighbours: dict[str, list[str]] = {node: [] for node in nodes}
    for u, v in sorted(edges):
        neighbours.setdefault(u, []).append(v)
        neighbours.setdefault(v, []).append(u)
    while open_paths:
        node = min(open_paths, key=lambda name: (open_paths[name][0], name))
        bound, path = reached[node] = open_paths.pop(node)
        for other in neighbours.get(node, []):
            edge = edges.get((node, other)) or edges[other, node]
            longer = bound + edge.bound_ms
            if other not in reached and longer < open_paths.get(other, (float("inf"), []))[0]:
                open_paths[other] = longer, [*path, other]
    return reached
