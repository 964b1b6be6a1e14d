"""What a request needs at a node: its work, its delays, and the calls that it makes between them.

work: cpu_time_ms (plus the model's overhead). delay: the rest of the service time, less the calls: waiting
inside, I/O. Both are split over the parts before, between and after the calls as the recorded time was.
Calls that overlap are made at once and waited for together; others one after the other.
"""

from collections.abc import Iterator

from tracekit.errors import TracekitError
from tracekit.records import Invocation
from tracekit.replay.arrivals import Held
from tracekit.replay.engine import Call
from tracekit.replay.model import Count, Model, Visit, ns


class Planner:
    """Visits from what the trace tells of them."""

    def __init__(self, model: Model, count: Count) -> None:
        self._model, self._count = model, count

    def plan(self, call: Call, parent: Visit | None) -> Visit:
        """The visit that a call leads to.

        Raises TracekitError where the trace or the model lacks what it needs."""
        held: Held = call.target
        told = held.told
        visit = Visit(told, told.node, call, parent)
        if not isinstance(told, Invocation):  # somebody outside: sends, and waits for the answer
            visit.work, visit.delays = [0, 0], [0, 0]
            visit.stages = [list(self._calls(held))]
            return visit
        self._count.visits += 1
        stages = list(_stages(held.children)) if held.children else []
        called_ms = sum(end - begin for begin, end, _ in stages)
        work, delay = self._needs(told, called_ms)
        if not stages:
            visit.work, visit.delays = [work], [delay]
            return visit
        spans = _own_spans(told, stages)
        visit.work, visit.delays = _split(work, spans), _split(delay, spans)
        visit.stages = [
            [call for child in children for call in self._calls(child)] for _, _, children in stages
        ]
        return visit

    def _needs(self, told: Invocation, called_ms: int) -> tuple[int, int]:
        """Work and delay of a request, ns."""
        node = self._model.nodes.get(told.node)
        if node is None:
            raise TracekitError(
                f"node {told.node} serves requests and is not known: give its cores, NODES={told.node}=..."
            )
        cpu_ms = told.cpu_time_ms
        own_ms = None if told.service_time_ms is None else max(told.service_time_ms - called_ms, 0.0)
        if cpu_ms is None:
            if self._model.demand != "service" or own_ms is None:
                raise TracekitError(
                    f"request at {told.ts_enqueue} on {told.node} (span {told.span_id}) has no cpu_time_ms: "
                    "DEMAND=service takes its service time for CPU, and counts that"
                )
            self._count.imputed_demand += 1
            cpu_ms = own_ms
        if node.delay_ms is not None:
            delay = ns(node.delay_ms)
        elif own_ms is None:
            self._count.unknown_delay += 1
            delay = 0
        else:
            delay = max(ns(own_ms) - ns(cpu_ms), 0)
            self._count.recorded_delay += delay
        return ns(cpu_ms) + ns(node.overhead_cpu_ms), delay

    def _calls(self, held: Held) -> Iterator[Call]:
        """The calls that a record stands for: itself, or what it led to, or a delay where that is unknown."""
        told = held.told
        if isinstance(told, Invocation):
            yield self._call(held, told.bytes_in, told.bytes_out)
        for child in () if isinstance(told, Invocation) else held.children:
            served = child.told
            out = told.bytes_out if told.bytes_out is not None else served.bytes_in
            yield self._call(child, out, told.bytes_in if told.bytes_in is not None else served.bytes_out)
        if not isinstance(told, Invocation) and not held.children:
            self._count.external_calls += 1
            yield Call(None, delay=ns(_end_of(held) - told.ts_enqueue))

    def _call(self, held: Held, out: int | None, back: int | None) -> Call:
        self._count.unknown_bytes += (out is None) + (back is None)
        return Call(held, out or 0, back or 0)


def _end_of(held: Held) -> int:
    """When it ended, ms; where that was not recorded, when what it led to ended or began."""
    told = held.told
    ends = [told.ts_end] if told.ts_end is not None else [_last_stamp(child) for child in held.children]
    return max([int(told.ts_enqueue), *ends])


def _last_stamp(held: Held) -> int:
    told = held.told
    return int(told.ts_enqueue if told.ts_end is None else told.ts_end)


Stage = tuple[int, int, list[Held]]


def _stages(children: list[Held]) -> Iterator[Stage]:
    """Calls that overlap, together: begin and end in ms, and they."""
    group: list[Held] = []
    begin = end = 0
    for held in sorted(children, key=lambda one: one.told.ts_enqueue):
        if group and held.told.ts_enqueue >= end:
            yield begin, end, group
            group = []
        if not group:
            begin = end = held.told.ts_enqueue
        group.append(held)
        end = max(end, _end_of(held))
    if group:
        yield begin, end, group


def _own_spans(told: Invocation, stages: list[Stage]) -> list[int]:
    """How long the parts took, ms, that were its own: before, between and after the stages."""
    assert told.ts_enqueue is not None
    edges = [told.ts_start if told.ts_start is not None else told.ts_enqueue]
    for begin, end, _ in stages:
        edges += [begin, end]
    edges.append(told.ts_end if told.ts_end is not None else edges[-1])
    return [max(edges[at + 1] - edges[at], 0) for at in range(0, len(edges), 2)]


def _split(total: int, spans: list[int]) -> list[int]:
    """total in whole parts, in the ratio of spans; the last takes what rounding leaves.

    All 0: the first takes all."""
    whole = sum(spans)
    if not whole:
        return [total] + [0] * (len(spans) - 1)
    parts = [total * span // whole for span in spans]
    parts[-1] += total - sum(parts)
    return parts
