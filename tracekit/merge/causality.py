"""Parents that end up after their children: spans of two nodes whose stamps contradict that a call is sent
before it arrives.

A span is known by a 64-bit hash of (trace_id, span_id). Spans and parents go to one of BUCKETS by it, through
a file where they are many; only one bucket at a time is looked at as a whole, so memory is a small fraction
of the trace.
"""

import tempfile
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

from tracekit.files.reading import Batch
from tracekit.merge.lines import NULL
from tracekit.merge.offsets import Offsets

FILES = ("calls.jsonl", "events_client.jsonl", "invocations.jsonl")
BUCKETS = 256
_SPILL = 1 << 17  # numbers that are held before they go to the file
_ROUNDED_MS = 1.0  # two stamps in whole ms


class Causality:
    """Takes the spans of all nodes, and counts for each pair of nodes."""

    def __init__(self, folder: Path, offsets: Offsets, is_aligned: bool) -> None:
        """folder: where there is room. is_aligned: the stamps that are taken have been corrected."""
        self._offsets, self._is_aligned = offsets, is_aligned
        self._numbers = {node: number for number, node in enumerate(offsets.nodes)}
        self._spans, self._children = _Buckets(folder), _Buckets(folder)

    def take(self, batch: Batch[Any], keys: list[int]) -> None:
        """The lines of a batch; keys: when each began, as it will be written."""
        records = batch.records
        if keys[-1] >= NULL:
            records = records[: bisect_left(keys, NULL)]
        nodes = list(map(attrgetter("node"), records))
        if not set(nodes) <= self._numbers.keys():
            known = [at for at, node in enumerate(nodes) if node in self._numbers]
            records, nodes = [records[at] for at in known], [nodes[at] for at in known]
            keys = [keys[at] for at in known]
        count = len(self._numbers)
        moments = [ts_ms * count + self._numbers[node] for ts_ms, node in zip(keys, nodes, strict=False)]
        traces = list(map(attrgetter("trace_id"), records))
        self._spans.add(traces, map(attrgetter("span_id"), records), moments)
        if records and hasattr(records[0], "parent_id"):
            self._children.add(traces, map(attrgetter("parent_id"), records), moments)

    def counted(self) -> list[dict[str, Any]]:
        """For each two nodes, parent and child: spans, child_first, and beyond_bound; see docs/cctf.md."""
        spans: Counter[tuple[int, int]] = Counter()
        first: Counter[tuple[int, int]] = Counter()
        beyond: Counter[tuple[int, int]] = Counter()
        for bucket in range(BUCKETS):
            parents = dict(self._spans.of(bucket))
            for key, moment in self._children.of(bucket):
                if key not in parents:
                    continue
                began_ms, parent = divmod(parents[key], len(self._numbers))
                ts_ms, child = divmod(moment, len(self._numbers))
                if parent != child:
                    pair = parent, child
                    spans[pair] += 1
                    first[pair] += ts_ms < began_ms
                    beyond[pair] += self._is_beyond(pair, ts_ms - began_ms, ts_ms)
        return [self._row(pair, spans[pair], first[pair], beyond[pair]) for pair in sorted(spans)]

    def _is_beyond(self, pair: tuple[int, int], later_ms: int, ts_ms: int) -> bool:
        between = self._offsets.between(*(self._offsets.nodes[number] for number in pair))
        if between is None:
            return False
        expected = 0.0 if self._is_aligned else between.offset_at(ts_ms)
        return later_ms < expected - between.bound_ms - _ROUNDED_MS

    def _row(self, pair: tuple[int, int], spans: int, first: int, beyond: int) -> dict[str, Any]:
        parent, child = (self._offsets.nodes[number] for number in pair)
        is_known = self._offsets.between(parent, child) is not None
        counts = {"spans": spans, "child_first": first, "beyond_bound": beyond if is_known else None}
        return {"parent": parent, "child": child, **counts}


class _Buckets:
    """(key, moment) by key, in memory until they are many. moment: ms times the count of nodes, plus node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = [array("q") for _ in range(BUCKETS)]
        self._add = [held.append for held in self._held]
        self._count = 0
        self._file: BinaryIO | None = None
        # Of each bucket (offset, bytes) in the file.
        self._pieces: list[list[tuple[int, int]]] = [[] for _ in range(BUCKETS)]

    def add(self, traces: list[str | None], ids: Iterable[str | None], moments: list[int]) -> None:
        """Lines of which both ids are known."""
        appends = self._add
        for identity, moment in zip(zip(traces, ids, strict=True), moments, strict=True):
            if None not in identity:
                key = hash(identity)
                append = appends[key % BUCKETS]
                append(key)
                append(moment)
        self._count += 2 * len(moments)
        if self._count >= _SPILL:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it ends with us
        for pieces, held in zip(self._pieces, self._held, strict=True):
            pieces.append((self._file.tell(), len(held) * held.itemsize))
            held.tofile(self._file)
            del held[:]
        self._count = 0

    def of(self, bucket: int) -> Iterator[tuple[int, int]]:
        """The entries of one bucket."""
        entries = array("q")
        for offset, length in self._pieces[bucket]:
            assert self._file
            self._file.seek(offset)
            entries.frombytes(self._file.read(length))
        entries += self._held[bucket]
        return zip(entries[::2], entries[1::2], strict=True)
