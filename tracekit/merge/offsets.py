"""The offset between the clocks of every two nodes, by what they measured: probes of each other, else how far
each of them was from UTC as its time service told, else over nodes between them."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from tracekit.files.reading import Account, Reader, ignore
from tracekit.merge.choosing import Member
from tracekit.merge.clock import Fit, Kept, Sample, fit, surest_paths
from tracekit.records import ClockProbe

PROBES = "clock_probes.jsonl"
UTC = "UTC"  # a node of its own here: what time services tell is about it


class Offsets:
    """Of every two nodes, at one moment, with the drift from there on."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.nodes = [member.node for member in members]
        self._edges = {**_measured(members), **_told(members)}
        paths = {node: surest_paths([*self.nodes, UTC], self._edges, node) for node in self.nodes}
        self._paths = paths
        self.at_ms = round(max((edge.at_ms for edge in self._edges.values()), default=0))
        self.reference = min(self.nodes, key=lambda node: (paths[node].get(UTC, (1e300, []))[0], node))

    @cache  # noqa: B019 - lives as long as the merge
    def between(self, u: str, v: str) -> Fit | None:
        """v's clock less u's; None where nothing connects the two."""
        bound, path = self._paths[u].get(v, (0.0, []))
        if not path:
            return None
        offset = drift = 0.0
        for one, other in pairwise(path):
            sign = 1 if (one, other) in self._edges else -1
            edge = self._edges[(one, other) if sign == 1 else (other, one)]
            offset += sign * edge.offset_at(self.at_ms)
            drift += sign * edge.drift_ppm
        return Fit(self.at_ms, offset, drift, bound)

    def document(self) -> dict[str, Any]:
        """As quality.json has it."""
        pairs = [self._pair(u, v) for at, u in enumerate(self.nodes) for v in self.nodes[at + 1 :]]
        return {"at_ms": self.at_ms or None, "reference": self.reference, "pairs": pairs}

    def _pair(self, u: str, v: str) -> dict[str, Any]:
        found = self.between(u, v)
        pair: dict[str, Any] = {"u": u, "v": v}
        if found is None:
            return {**pair, **dict.fromkeys(("offset_ms", "drift_ppm", "error_bound_ms", "path"))}
        return {
            **pair,
            "offset_ms": round(found.offset_ms, 6),
            "drift_ppm": round(found.drift_ppm, 6),
            "error_bound_ms": round(found.bound_ms, 6),
            "path": self._paths[u][v][1],
        }


def _told(members: Sequence[Member]) -> dict[tuple[str, str], Fit]:
    """UTC to each node whose time service knew its error; the greatest bound of the run counts."""
    found = {}
    for member in members:
        clock = member.document.get("clock") or {}
        readings = [clock, clock.get("start") or {}, clock.get("stop") or {}]
        bounds = [one["error_bound_ms"] for one in readings if one.get("error_bound_ms") is not None]
        if bounds and clock.get("offset_ms") is not None:
            found[UTC, member.node] = Fit(0.0, clock["offset_ms"], 0.0, max(bounds))
    return found


def _measured(members: Sequence[Member]) -> dict[tuple[str, str], Fit]:
    """Two nodes of which one probed the other."""
    known = {member.node: member for member in members}
    kept: dict[tuple[str, str], Kept] = {}
    for member in members:
        for probe in _probes(member):
            if probe.peer in known and probe.peer != member.node:
                u, v = sorted((member.node, probe.peer))
                if (u, v) not in kept:
                    kept[u, v] = Kept(*_time_of(known[u]))
                kept[u, v].add(_sample(probe, is_from_u=probe.node == u))
    fits = {pair: fit(one.samples, *_time_of(known[pair[0]])) for pair, one in kept.items()}
    return {pair: one for pair, one in fits.items() if one}


def _probes(member: Member) -> Iterator[ClockProbe]:
    if PROBES in member.source.files:
        for batch in Reader(ClockProbe, ignore).read(member.source.folder / PROBES, Account()):
            yield from batch.records


def _time_of(member: Member) -> tuple[float, float]:
    """From when to when the node recorded, us by its own clock."""
    file = member.source.files.get(PROBES)
    told = [member.document.get("started_ms"), member.document.get("stopped_ms")]
    if file:
        told += [file.first_ts, file.last_ts]
    known = [ms * 1000.0 for ms in told if ms is not None]
    return min(known, default=0.0), max(known, default=0.0)


def _sample(probe: ClockProbe, is_from_u: bool) -> Sample:
    """A probe by u of v, or the other way round, as a sample by u's clock."""
    ahead_us = ((probe.t2_us - probe.t1_us) + (probe.t3_us - probe.t4_us)) / 2
    rtt_us = (probe.t4_us - probe.t1_us) - (probe.t3_us - probe.t2_us)
    if is_from_u:
        return Sample((probe.t1_us + probe.t4_us) / 2, ahead_us, rtt_us)
    return Sample((probe.t2_us + probe.t3_us) / 2, -ahead_us, rtt_us)
