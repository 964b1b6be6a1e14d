"""The Envoy adapter against a real Envoy on loopback, and clients that know their own times."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from clients import Request, Server, Truth, assert_times, by_name, get, traffic, usual_requests
from conftest import Checkout
from envoys import cluster, envoy
from loopback import backend, free_port, log_lines

ROUTES = [
    "{match: {prefix: /static}, direct_response: {status: 200, body: {inline_string: hello}}}",
    "{match: {prefix: /late}, route: {cluster: one, timeout: 0.1s}}",
    "{match: {prefix: /retried}, route: {cluster: two, retry_policy:"
    " {retry_on: 'connect-failure,reset', num_retries: 3}}}",
    "{match: {prefix: /}, route: {cluster: one}}",
]


class Logs(NamedTuple):
    """What an Envoy wrote of what its clients know."""

    folder: Path
    truths: dict[str, Truth]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    folder = tmp_path_factory.mktemp("envoy")
    requests = usual_requests(20) | {
        "retried": Request([get("/retried?ms=20")]),
        "late": Request([get("/late?ms=400")]),
        "static": Request([get("/static")]),
        "quote": Request([get('/quote"q"/x')]),  # bytes beyond ASCII it refuses
    }
    with backend() as port:
        clusters = [cluster("one", port), cluster("two", free_port(), port)]
        with envoy(folder, ROUTES, clusters) as running:
            truths = traffic(running.port, requests, Server(running.pid))
            log_lines(folder / "text.log", len(requests))
            log_lines(folder / "json.log", len(requests))
    return Logs(folder, truths)


def adapted(checkout: Checkout, logs: Logs, log: str) -> list[dict[str, Any]]:
    words = f"SOURCE=envoy TAG={log} RUN_ID=envoy NODE_ID=n1".split()
    done = checkout.make("adapt", *words, f"IN={logs.folder}/{log}.log")
    assert done.returncode == 0, done.stderr
    file = checkout.logs("envoy") / f"invocations.envoy-{log}.jsonl"
    return [json.loads(line) for line in file.read_bytes().splitlines()]


@pytest.mark.parametrize("log", ["text", "json"])
def test_every_request_is_there_once_at_the_time_of_its_client(
    checkout: Checkout, logs: Logs, log: str
) -> None:
    rows = by_name(adapted(checkout, logs, log))
    for row in (one for found in rows.values() for one in found):  # a wait of the proxy is queueing
        row["ts_start"] = row["ts_enqueue"]
    head_s = {"slowhead"}  # its clock starts when the request's line is complete
    assert_times(rows, {name: truth for name, truth in logs.truths.items() if name not in head_s})
    assert sum(map(len, rows.values())) == len(logs.truths)


@pytest.mark.parametrize("log", ["text", "json"])
def test_what_the_clients_sent_and_got_is_in_the_records(checkout: Checkout, logs: Logs, log: str) -> None:
    rows = {name: found[0] for name, found in by_name(adapted(checkout, logs, log)).items()}
    assert (rows["upload"]["method"], rows["upload"]["bytes_in"], rows["upload"]["bytes_out"]) == (
        "POST",
        1000,
        2,
    )
    assert (rows["head"]["bytes_in"], rows["head"]["bytes_out"]) == (0, 0)
    statuses = [rows[name]["status"] for name in ("gone", "late", "failing", "retried", "static")]
    assert statuses == [0, 504, 503, 200, 200]
    assert (rows["plain7"]["query"], rows["plain7"]["bytes_out"]) == ("bytes=70", 70)
    assert rows["quote"]["path"] == '/quote"q"/x'
    for row in rows.values():
        assert abs(row["rt_ms"] - row["queue_time_ms"] - row["service_time_ms"]) <= 0.01
    if log == "json":
        assert rows["traced"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
        assert rows["traced"]["parent_id"] == "00f067aa0ba902b7"
        assert rows["zerotrace"]["parent_id"] is None
        assert rows["upload"]["queue_source"] == "envoy"
