"""A trace as a DAG of tasks, each of which starts when those before it have ended.

A caller that waits for an answer has not ended when its callee starts, so it is cut into parts: before,
between and after its calls. Calls that overlap are made at once. What was still at work when its caller ended
is not waited for; what started after its caller's end waits for that end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tracekit.export.spans import Callers
from tracekit.records import Invocation

SLACK_MS = 1  # stamps are whole ms: an answer may seem to come so much after its caller's end


class Part(NamedTuple):
    """A piece of an invocation; number 0 where it is whole, else 1, 2, ... Times in ms since the epoch."""

    span_id: str
    number: int
    start_ms: int
    end_ms: int

    @property
    def key(self) -> str:
        """Its id: the span, or the span and its number."""
        return f"{self.span_id}.{self.number}" if self.number else self.span_id


@dataclass
class Split:
    """An invocation in parts, and by callee's span the part before it and, where it is waited for, after."""

    job: Invocation
    parts: list[Part]
    own_ms: int
    before: dict[str, Part] = field(default_factory=dict)
    after: dict[str, Part] = field(default_factory=dict)


class Callee(NamedTuple):
    """The interval in which its caller saw it, ms since the epoch."""

    start_ms: int
    end_ms: int
    span_id: str


def callees(jobs: Sequence[Invocation], callers: Callers) -> dict[str, list[Callee]]:
    """By caller's span its callees in order; by the caller's clock where its call is recorded."""
    found: dict[str, list[Callee]] = {}
    for job in jobs:
        span, call = callers.caller(job.trace_id, job.parent_id)
        if span is None or span[1] == job.span_id:
            continue
        start_ms, end_ms = job.ts_start, job.ts_end
        if call and call.ts_enqueue is not None and call.ts_end is not None:
            start_ms, end_ms = call.ts_enqueue, call.ts_end
        found.setdefault(span[1], []).append(Callee(start_ms or 0, end_ms or 0, job.span_id or ""))
    for one in found.values():
        one.sort()
    return found


def split(job: Invocation, called: Sequence[Callee]) -> Split:
    """Cut job where it waited for what it called."""
    start_ms, end_ms = job.ts_start or 0, job.ts_end or 0
    answered = [one for one in called if one.start_ms < end_ms and one.end_ms <= end_ms + SLACK_MS]
    stages: list[tuple[int, int, list[str]]] = []
    for begin, end, span_id in answered:
        low, high = max(begin, start_ms), min(max(end, begin), end_ms)
        if stages and low < stages[-1][1]:
            first, last, spans = stages.pop()
            stages.append((first, max(last, high), [*spans, span_id]))
        else:
            stages.append((low, max(high, low), [span_id]))
    edges = [start_ms, *(at for low, high, _ in stages for at in (low, high)), end_ms]
    span = job.span_id or ""
    pairs = list(zip(edges[::2], edges[1::2], strict=True))
    parts = [Part(span, at if stages else 0, *pair) for at, pair in enumerate(pairs, 1)]
    whole = Split(job, parts, sum(part.end_ms - part.start_ms for part in parts))
    for at, (_, _, spans) in enumerate(stages):
        for span_id in spans:
            whole.before[span_id], whole.after[span_id] = parts[at], parts[at + 1]
    for one in called:
        if one not in answered:
            begun = [part for part in parts if part.start_ms <= one.start_ms]
            whole.before[one.span_id] = begun[-1] if begun else parts[0]
    return whole
