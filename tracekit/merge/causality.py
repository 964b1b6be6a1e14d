"""Parents that end up after their children: spans of two nodes whose stamps contradict that a call is sent
before it arrives.

A span is known by a 64-bit hash of (trace_id, span_id). Spans and parents go to one of BUCKETS by it, through
a file where they are many; only one bucket at a time is looked at as a whole, so memory is a small fraction
of the trace.
"""

import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
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
        spans, children = self._spans, self._children
        numbers = self._numbers
        for one, ts_ms in zip(batch.records, keys, strict=True):
            node = numbers.get(one.node)
            if node is None or ts_ms >= NULL or one.trace_id is None:
                continue
            if one.span_id is not None:
                spans.add(hash((one.trace_id, one.span_id)), node, ts_ms)
            parent = getattr(one, "parent_id", None)
            if parent is not None:
                children.add(hash((one.trace_id, parent)), node, ts_ms)
        spans.spill()
        children.spill()

    def counted(self) -> list[dict[str, Any]]:
        """For each two nodes, parent and child: spans, child_first, and beyond_bound; see docs/cctf.md."""
        spans: Counter[tuple[int, int]] = Counter()
        first: Counter[tuple[int, int]] = Counter()
        beyond: Counter[tuple[int, int]] = Counter()
        for bucket in range(BUCKETS):
            parents = {key: (node, ts_ms) for key, node, ts_ms in self._spans.of(bucket)}
            for key, node, ts_ms in self._children.of(bucket):
                parent = parents.get(key)
                if parent is None or parent[0] == node:
                    continue
                pair = parent[0], node
                spans[pair] += 1
                first[pair] += ts_ms < parent[1]
                beyond[pair] += self._is_beyond(pair, ts_ms - parent[1], ts_ms)
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
    """(key, node, ts_ms) by key, in memory until they are many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = [array("q") for _ in range(BUCKETS)]
        self._count = 0
        self._file: BinaryIO | None = None
        # Of each bucket (offset, bytes) in the file.
        self._pieces: list[list[tuple[int, int]]] = [[] for _ in range(BUCKETS)]

    def add(self, key: int, node: int, ts_ms: int) -> None:
        self._held[key % BUCKETS].extend((key, node, ts_ms))
        self._count += 3

    def spill(self) -> None:
        """To the file, where enough is held."""
        if self._count < _SPILL:
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it ends with us
        for bucket, held in enumerate(self._held):
            self._pieces[bucket].append((self._file.tell(), len(held) * held.itemsize))
            held.tofile(self._file)
            del held[:]
        self._count = 0

    def of(self, bucket: int) -> Iterator[Sequence[int]]:
        """The entries of one bucket."""
        entries = array("q")
        for offset, length in self._pieces[bucket]:
            assert self._file
            self._file.seek(offset)
            entries.frombytes(self._file.read(length))
        entries += self._held[bucket]
        return zip(entries[::3], entries[1::3], entries[2::3], strict=True)
