"""Requests as spans: the invocations, calls and client events of a data set in the order of their start."""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from tracekit.dataset import Dataset
from tracekit.export.audit import Audit
from tracekit.records import Call, ClientEvent, Invocation

KINDS = {"invocation": "invocations.jsonl", "call": "calls.jsonl", "client": "events_client.jsonl"}


class Span(NamedTuple):
    """start_ns and end_ns: ns since the epoch by the node's own clock; the length is monotonic if known."""

    start_ns: int
    end_ns: int
    kind: str
    record: Invocation | Call | ClientEvent
    line: int

    @property
    def place(self) -> str:
        """Where its record stands: invocations.jsonl:7."""
        return f"{KINDS[self.kind]}:{self.line}"

    @property
    def name(self) -> str:
        """What was asked for: method and path, the peer, or the task."""
        one = self.record
        if isinstance(one, Call):
            return one.peer or "call"
        words = " ".join(word for word in (one.method, one.path) if word)
        if isinstance(one, Invocation):
            return words or one.task_id or one.module_id or "invocation"
        return words or "request"

    @property
    def parent_id(self) -> str | None:
        """The span that caused it; a client's request is where a trace begins."""
        return None if isinstance(self.record, ClientEvent) else self.record.parent_id


def read_spans(dataset: Dataset, audit: Audit) -> Iterator[Span]:
    """Every span, by start; refuses those of which start or end is not known."""
    return heapq.merge(*(_of_kind(dataset, audit, kind) for kind in KINDS), key=lambda span: span.start_ns)


def _of_kind(dataset: Dataset, audit: Audit, kind: str) -> Iterator[Span]:
    for number, record in enumerate(dataset.read(KINDS[kind]), 1):
        length_ms = _length_ms(record)
        if record.ts_enqueue is None or length_ms is None:
            audit.refuse("a request whose start or end is not known", f"{KINDS[kind]}:{number}")
            continue
        start_ns = record.ts_enqueue * 1_000_000
        yield Span(start_ns, start_ns + round(length_ms * 1e6), kind, record, number)


def _length_ms(record: Invocation | Call | ClientEvent) -> float | None:
    told = getattr(record, "latency_ms" if isinstance(record, ClientEvent) else "rt_ms", None)
    if told is not None or record.ts_end is None or record.ts_enqueue is None:
        return told
    return max(record.ts_end - record.ts_enqueue, 0)
