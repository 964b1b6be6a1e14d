"""Which parents are spans of the trace, in memory of 8 bytes a span and 16 a parent named, whatever they are.

Spans are known by a 64-bit hash of (trace_id, span_id). Two of ten million have the same one with a chance of
3 in a million; a parent that is missing may then go uncounted.
"""

from array import array
from collections.abc import Iterator, Sequence
from heapq import nsmallest
from typing import Any

from tracekit.validate.report import FEW, Finding, Report

_BUCKETS = 64  # only one of them at a time is a set, which takes about ten times the memory


class Spans:
    """All spans of a trace, and all parents named in it."""

    def __init__(self) -> None:
        self._there = [array("q") for _ in range(_BUCKETS)]
        self._named: dict[str, list[tuple[array[int], array[int]]]] = {}  # file -> buckets of (hashes, lines)

    def take(self, name: str, numbers: Sequence[int], records: Sequence[Any]) -> None:
        """The spans of these lines of a file, and the parents that they name."""
        named = self._named.setdefault(name, [(array("q"), array("q")) for _ in range(_BUCKETS)])
        for number, record in zip(numbers, records, strict=True):
            if record.span_id is not None:
                key = hash((record.trace_id, record.span_id))
                self._there[key % _BUCKETS].append(key)
            parent = getattr(record, "parent_id", None)
            if parent is not None:
                key = hash((record.trace_id, parent))
                keys, lines = named[key % _BUCKETS]
                keys.append(key)
                lines.append(number)

    def tell_missing(self, report: Report) -> None:
        """Count the parents that are the span of no line; call it when every file has been taken."""
        for name in self._named:
            count = sum(1 for _ in self._missing(name))
            first = nsmallest(FEW, self._missing(name))
            findings = [Finding(name, line, "parent_id is no span of this trace") for line in first]
            report.tell_all("parent", count, findings)

    def _missing(self, name: str) -> Iterator[int]:
        """The lines that name a parent which is not there, in no order."""
        for there, (keys, lines) in zip(self._there, self._named[name], strict=True):
            known = set(there)
            yield from (line for key, line in zip(keys, lines, strict=True) if key not in known)
