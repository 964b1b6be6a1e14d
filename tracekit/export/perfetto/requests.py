"""The trace of all requests, of all nodes in one file: flows are joined within a file and machine only.

Slices of a track must nest and requests overlap, so each takes a lane that is free; lanes of one name are
drawn as one track. A flow leads from each parent to each child; its id is made of the parent's span id and
the child's number, so a parent is written without waiting for its children.
"""

import hashlib
import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from tracekit.export.perfetto.tracks import TrackFile
from tracekit.export.timed_spans import Span

_BUCKETS = 64
_MASK = 2**64 - 1


def span_key(trace_id: str | None, span_id: str) -> int:
    """A 64-bit name of a span, the same at each run."""
    digest = hashlib.blake2b(f"{trace_id}/{span_id}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def parents_named(spans: Iterable[Span]) -> "Parents":
    """How many children each parent has; 8 bytes a child."""
    buckets = [array("Q") for _ in range(_BUCKETS)]
    for span in spans:
        if span.parent_id is not None:
            key = span_key(span.record.trace_id, span.parent_id)
            buckets[key % _BUCKETS].append(key)
    return Parents([array("Q", sorted(bucket)) for bucket in buckets])


class Parents:
    """The flows to and from spans."""

    def __init__(self, buckets: "list[array[int]]") -> None:
        self._buckets = buckets
        self._met: dict[int, int] = defaultdict(int)  # children met, of parents that have several

    def flows_of(self, span: Span) -> list[int]:
        """One from its parent, one to each child."""
        found = []
        trace_id = span.record.trace_id
        if span.parent_id is not None:
            parent = span_key(trace_id, span.parent_id)
            found.append((parent + self._number(parent)) & _MASK)
        if span.record.span_id is not None:
            own = span_key(trace_id, span.record.span_id)
            found += [(own + number) & _MASK for number in range(self._children(own))]
        return found

    def _number(self, parent: int) -> int:
        if self._children(parent) == 1:
            return 0
        self._met[parent] += 1
        return self._met[parent] - 1

    def _children(self, key: int) -> int:
        bucket = self._buckets[key % _BUCKETS]
        return bisect_right(bucket, key) - bisect_left(bucket, key)


class _Lanes:
    """Tracks of one name below one parent, each with one slice at a time."""

    def __init__(self, make: Callable[[], int]) -> None:
        self._make = make
        self._free: list[tuple[int, int]] = []  # (when it is free, track)
        self.count = 0

    def take(self, start_ns: int, end_ns: int) -> int:
        """A track that is free from start_ns; spans must come by start."""
        if self._free and self._free[0][0] <= start_ns:
            return heapq.heapreplace(self._free, (end_ns, self._free[0][1]))[1]
        track = self._make()
        self.count += 1
        heapq.heappush(self._free, (end_ns, track))
        return track


class RequestTrace:
    """Writes spans to one file, each below the node and the part of the app that it belongs to."""

    def __init__(self, file: TrackFile, offsets_ns: dict[str, int], parents: Parents) -> None:
        """offsets_ns: by how much the clock of a node is ahead."""
        self._file, self._offsets_ns, self._parents = file, offsets_ns, parents
        self._nodes: dict[str, int] = {}
        self._lanes: dict[tuple[str, str], _Lanes] = {}

    def write(self, spans: Iterable[Span]) -> Iterator[Span]:
        """Write all spans, which come by start; gives back each that is written."""
        for _, group in groupby(spans, key=lambda span: span.start_ns):
            for span in _parents_first(list(group)):
                self._write(span)
                yield span

    def _write(self, span: Span) -> None:
        shift_ns = self._offsets_ns.get(span.record.node, 0)
        track = self._lane(span).take(span.start_ns, span.end_ns)
        start_ns, end_ns = span.start_ns - shift_ns, span.end_ns - shift_ns
        flows = self._parents.flows_of(span)
        self._file.begin(track, start_ns, span.name, span.kind, _arguments(span), flows)
        waited_ms = getattr(span.record, "queue_time_ms", None)
        if waited_ms:
            self._file.begin(track, start_ns, "queue", "queue", {})
            self._file.end(track, min(start_ns + round(waited_ms * 1e6), end_ns))
        self._file.end(track, end_ns)

    def _lane(self, span: Span) -> _Lanes:
        node = span.record.node
        part = (
            (getattr(span.record, "module_id", None) or "app")
            if span.kind == "invocation"
            else f"{span.kind}s"
        )
        if node not in self._nodes:
            self._nodes[node] = self._file.track(node)
        if (node, part) not in self._lanes:
            self._lanes[node, part] = _Lanes(lambda: self._file.track(part, self._nodes[node]))
        return self._lanes[node, part]


def _arguments(span: Span) -> dict[str, Any]:
    """The fields of the record that are no stamps."""
    record = span.record
    return {
        name: value
        for name in record.__struct_fields__
        if not name.startswith("ts_") and (value := getattr(record, name)) is not None
    }


def _parents_first(spans: list[Span]) -> list[Span]:
    """Spans that start in the same ms, so that a flow leads from the parent to the child."""
    if len(spans) == 1:
        return spans
    by_id = {(span.record.trace_id, span.record.span_id): span for span in spans if span.record.span_id}
    ordered: dict[int, Span] = {}

    def place(span: Span) -> None:
        line = []
        above: Span | None = span
        while above is not None and id(above) not in ordered and above not in line:
            line.append(above)
            above = by_id.get((above.record.trace_id, above.parent_id)) if above.parent_id else None
        for one in reversed(line):
            ordered[id(one)] = one

    for span in spans:
        place(span)
    return list(ordered.values())
