"""Requests side by side: what joins, and where the time went."""

from typing import Any

from tracekit.records import ClientEvent, Invocation
from tracekit.traffic import describe, measure, percentile


def sent(number: int, latency_ms: float, **more: Any) -> ClientEvent:
    known = {"node": "c", "trace_id": f"t{number}", "span_id": f"s{number}", "status": 200}
    return ClientEvent(**{"ts_enqueue": number, "latency_ms": latency_ms, **known, **more})


def served(number: int, rt_ms: float, **more: Any) -> Invocation:
    known = {"node": "n", "trace_id": f"t{number}", "parent_id": f"s{number}", "status": 200}
    times = {"rt_ms": rt_ms, "service_time_ms": rt_ms, "queue_time_ms": 0.0}
    return Invocation(**{"ts_enqueue": number, **times, **known, **more})


def test_network_is_the_latency_less_the_servers_response_time() -> None:
    traffic = measure([sent(1, 10.0), sent(2, 30.0)], [served(2, 12.0), served(1, 4.0)])
    assert (traffic.joined, traffic.succeeded, traffic.served) == (2, 2, 2)
    assert sorted(traffic.network) == [6.0, 18.0]


def test_the_event_of_a_further_hop_joins_nothing() -> None:
    hops = [served(1, 4.0), served(1, 2.0, parent_id="s-of-the-call", node="edge")]
    traffic = measure([sent(1, 10.0)], hops)
    assert (traffic.joined, traffic.served, traffic.network) == (1, 2, [6.0])


def test_failures_are_counted_on_both_sides_and_are_no_successes() -> None:
    clients = [sent(1, 1.0, status=503), sent(2, 1.0, status=None, error="refused"), sent(3, 5.0)]
    traffic = measure(clients, [served(1, 1.0, status=503), served(3, 2.0)])
    assert (traffic.sent, traffic.succeeded, traffic.joined) == (3, 1, 1)
    assert traffic.errors == {"client: status 503": 1, "client: refused": 1, "server: status 503": 1}


def test_a_success_without_its_event_lowers_the_join_rate() -> None:
    lines = list(describe(measure([sent(1, 1.0), sent(2, 1.0)], [served(1, 1.0)])))
    assert "Joined     1 of 2 successes (50.0 %) with the event that served them" in lines
    assert "Errors     none" in lines


def test_queueing_is_told_where_a_proxy_did() -> None:
    told = [served(1, 9.0, queue_time_ms=5.0, service_time_ms=4.0, queue_source="x-request-start")]
    (queue,) = [line for line in describe(measure([], told)) if line.startswith("  queue")]
    assert queue.split() == ["queue", "5.00", "5.00", "5.00"]


def test_percentiles_are_nearest_rank() -> None:
    assert [percentile(range(1, 11), share) for share in (1, 50, 95, 99, 100)] == [1, 5, 10, 10, 10]
