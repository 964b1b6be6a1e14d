"""Requests at a glance: how many, how fast, and where the time went, from client and server side by side.

A client's request and the event that served it are one where the event's trace is the client's and its
parent is the client's span; what came through further hops has other parents.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tracekit.records import ClientEvent, Invocation

SHARES = (50, 95, 99)


@dataclass
class Traffic:
    """All times in ms.

    network: what the client waited beyond the server's response time: also the time before the app was
    called. queue: what a proxy's stamp told. joined: those of the client's successes that have an event."""

    served: int = 0
    sent: int = 0
    succeeded: int = 0
    joined: int = 0
    stamped: int = 0
    latency: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    service: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


def measure(clients: Iterable[ClientEvent], invocations: Iterable[Invocation]) -> Traffic:
    """Count and join; keeps an entry a client's request, and each duration."""
    traffic = Traffic()
    open_ms: dict[tuple[str, str], float] = {}
    for one in clients:
        traffic.sent += 1
        if one.error is not None or one.status is None or one.status >= 400:
            traffic.errors[f"client: {one.error or f'status {one.status}'}"] += 1
            continue
        traffic.succeeded += 1
        if one.latency_ms is not None and one.trace_id and one.span_id:
            traffic.latency.append(one.latency_ms)
            open_ms[one.trace_id, one.span_id] = one.latency_ms
    for event in invocations:
        _add(traffic, event)
        latency_ms = open_ms.pop((event.trace_id or "", event.parent_id or ""), None)
        if latency_ms is not None:
            traffic.joined += 1
            if event.rt_ms is not None:
                traffic.network.append(latency_ms - event.rt_ms)
    return traffic


def _add(traffic: Traffic, event: Invocation) -> None:
    traffic.served += 1
    traffic.stamped += event.queue_source is not None
    if event.status is not None and event.status >= 400:
        traffic.errors[f"server: status {event.status}"] += 1
    for times, value in (
        (traffic.queue, event.queue_time_ms),
        (traffic.service, event.service_time_ms),
        (traffic.cpu, event.cpu_time_ms),
    ):
        if value is not None:
            times.append(value)


def percentile(ordered: Sequence[float], share: int) -> float:
    """The value at share percent of an ordered sequence that is not empty; nearest rank."""
    return ordered[max(-(-len(ordered) * share // 100), 1) - 1]


def describe(traffic: Traffic) -> Iterator[str]:
    """Lines for the terminal."""
    told = f"{traffic.served} served"
    if traffic.sent:
        told += f"; {traffic.sent} sent by the load generator, {traffic.succeeded} succeeded"
    yield f"Requests   {told}"
    if traffic.succeeded:
        share = 100 * traffic.joined / traffic.succeeded
        joined = f"{traffic.joined} of {traffic.succeeded} successes ({share:.1f} %)"
        yield f"Joined     {joined} with the event that served them"
    yield f"  {'ms':<8} {'p50':>9} {'p95':>9} {'p99':>9}"
    parts = (
        ("latency", traffic.latency, "as the client saw it"),
        ("network", traffic.network, "latency less the server's response time"),
        ("queue", traffic.queue, "" if traffic.stamped else "no proxy in front told of any"),
        ("service", traffic.service, "in the app"),
        ("CPU", traffic.cpu, "of that"),
    )
    for name, values, meaning in parts:
        if values:
            ordered = sorted(values)
            figures = " ".join(f"{percentile(ordered, share):>9.2f}" for share in SHARES)
            yield f"  {name:<8} {figures}  {meaning}".rstrip()
    yield f"Errors     {sum(traffic.errors.values()) or 'none'}"
    for what, count in traffic.errors.most_common(5):
        yield f"  {count:>8}  {what}"
