"""The slowest traces as waterfalls: spans in the order of the calls, and the path that set the duration."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tracekit.dataset import Dataset
from tracekit.report.requests import span_ms

_SPANS = 200  # of a trace; more make no readable picture
_ROUNDED_MS = 1.0


@dataclass
class Span:
    """A part of a trace: what a client saw, what a node served, or its call to the next hop. Times in ms."""

    span_id: str | None
    parent_id: str | None
    node: str
    kind: Literal["client", "served", "call"]
    name: str
    start: float
    end: float
    wait: float = 0.0
    status: int | None = None
    children: list["Span"] = field(default_factory=list)


def read_traces(dataset: Dataset, ids: list[str]) -> list[dict[str, Any]]:
    """The traces of these ids, in that order, with times in ms from their own start."""
    spans: dict[str, list[Span]] = {one: [] for one in ids}
    left_out: dict[str, int] = dict.fromkeys(ids, 0)
    for trace_id, span in _spans(dataset, set(ids)):
        if len(spans[trace_id]) < _SPANS:
            spans[trace_id].append(span)
        else:
            left_out[trace_id] += 1
    return [_waterfall(one, spans[one], left_out[one]) for one in ids]


def _spans(dataset: Dataset, wanted: set[str]) -> Iterator[tuple[str, Span]]:
    for one in dataset.read("events_client.jsonl"):
        if one.trace_id in wanted and one.ts_enqueue is not None:
            took = (
                one.latency_ms if one.latency_ms is not None else max((one.ts_end or 0) - one.ts_enqueue, 0)
            )
            end, name = one.ts_enqueue + took, _name(one.method, one.path)
            yield (
                one.trace_id,
                Span(one.span_id, None, one.node, "client", name, one.ts_enqueue, end, status=one.status),
            )
    for one in dataset.read("invocations.jsonl"):
        if one.trace_id in wanted:
            start, end = span_ms(one)
            name, wait = _name(one.method, one.path) or one.module_id or "", one.queue_time_ms or 0.0
            yield (
                one.trace_id,
                Span(one.span_id, one.parent_id, one.node, "served", name, start, end, wait, one.status),
            )
    for one in dataset.read("calls.jsonl"):
        if one.trace_id in wanted and one.ts_enqueue is not None:
            end = max(one.ts_end or one.ts_enqueue, one.ts_enqueue)
            yield (
                one.trace_id,
                Span(
                    one.span_id,
                    one.parent_id,
                    one.node,
                    "call",
                    one.peer or "",
                    one.ts_enqueue,
                    end,
                    status=one.status,
                ),
            )


def _name(method: str | None, path: str | None) -> str:
    return " ".join(word for word in (method, path) if word)[:300]


def _waterfall(trace_id: str, spans: list[Span], left_out: int) -> dict[str, Any]:
    roots = link(spans)
    main = max(roots, key=lambda root: root.end - root.start)
    zero = min(span.start for span in spans)
    order = list(_in_order(roots))
    number = {id(span): at for at, (span, _) in enumerate(order)}
    path = [(number[id(span)], begin, end) for span, begin, end in critical_path(main)]
    return {
        "trace_id": trace_id,
        "start_ms": round(zero),
        "took_ms": round(main.end - main.start, 3),
        "name": next((span.name for span, _ in order if span.kind != "call" and span.name), ""),
        "nodes": sorted({span.node for span in spans if span.kind != "client"}),
        "spans": [
            {
                "depth": depth,
                "node": span.node,
                "kind": span.kind,
                "name": span.name,
                "status": span.status,
                "from": round(span.start - zero, 3),
                "to": round(span.end - zero, 3),
                "wait": round(span.wait, 3),
            }
            for span, depth in order
        ],
        "path": [[at, round(begin - zero, 3), round(end - zero, 3)] for at, begin, end in path],
        "outside_ms": round(max((_outside(span) for span in spans), default=0.0), 3),
        "left_out": left_out,
    }


def link(spans: list[Span]) -> list[Span]:
    """Give each span its children, and return the roots: those whose parent is not among the spans.

    Where ids run in a circle, the spans of it that no root leads to are roots without children."""
    by_id = {span.span_id: span for span in spans if span.span_id is not None}
    roots = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        parent = by_id.get(span.parent_id) if span.parent_id is not None else None
        if parent is None or parent is span:
            roots.append(span)
        else:
            parent.children.append(span)
    reached = {id(span) for span, _ in _in_order(roots)}
    for span in spans:
        if id(span) not in reached:
            span.children = []
            roots.append(span)
    return roots


def _in_order(roots: list[Span]) -> Iterator[tuple[Span, int]]:
    """Each span and how deep it lies, callers before what they call."""
    waiting = [(root, 0) for root in reversed(roots)]
    while waiting:
        span, depth = waiting.pop()
        yield span, depth
        waiting.extend((child, depth + 1) for child in reversed(span.children))


def critical_path(root: Span) -> list[tuple[Span, float, float]]:
    """The spans that the end of root waited for, as (span, from, to), in the order of time, without gaps.

    Backwards from the end: whichever child ended last was waited for; before its start, the next one that had
    ended by then, give or take the ms that stamps are rounded to. A child's stamps count within its parent's
    alone, for they may be of another clock.
    Source: Zhang et al., CRISP, USENIX ATC 2022."""
    found: list[tuple[Span, float, float]] = []
    _walk(root, root.start, root.end, found)
    return found[::-1]


def _walk(span: Span, begin: float, end: float, found: list[tuple[Span, float, float]]) -> None:
    now = end
    for child in sorted(span.children, key=lambda one: one.end, reverse=True):
        child_end, child_begin = min(child.end, now), max(child.start, begin)
        if child_end <= child_begin or (now < end and child.end > now + _ROUNDED_MS):
            continue  # of a clock that is far off; or beside another one, which was waited for
        if child_end < now:
            found.append((span, child_end, now))
        _walk(child, child_begin, child_end, found)
        now = child_begin
    if now > begin:
        found.append((span, begin, now))


def _outside(span: Span) -> float:
    """By how much a child's stamps lie outside its parent's, at most, ms."""
    return max(
        (max(span.start - child.start, child.end - span.end, 0.0) for child in span.children), default=0.0
    )
