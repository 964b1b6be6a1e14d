"""Load on a real service: every answered request is in both traces, also after a kill -9."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Checkout, clean_environment, need
from services import LOCAL, events, free_port, processes_of, rows, serving

from tracekit.errors import TracekitError
from tracekit.load.attack import vegeta
from tracekit.load.results import Tally, client_event, stamp_ns
from tracekit.load.targets import MIXES, target_lines

FULL = bool(os.environ.get("FULL"))


@pytest.fixture
def attacker() -> None:
    try:
        vegeta()
    except TracekitError:
        need(False, "vegeta is not there: tools/setup.sh vegeta")


def joined(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each successful request of the client, and the server's event of the same trace."""
    served = {one["trace_id"]: one for one in events(folder)}
    sent = [one for one in rows(folder, "events_client.jsonl") if one["error"] is None]
    return [(one, served.get(one["trace_id"])) for one in sent]


def test_every_successful_request_joins_its_event(checkout: Checkout, attacker: None) -> None:
    rate, seconds = (500, 30) if FULL else (200, 4)
    with serving(checkout, "load", WORKERS="4") as base:
        port = base.rpartition(":")[2]
        (checkout.logs("load") / "run_meta.json").write_text('{"run_id":"load","img":"mine"}')  # told before
        # Without RUN_ID: the run of the service that was started here.
        done = checkout.make("real-all", f"PORT={port}", f"RATE={rate}", f"DURATION={seconds}")
        assert done.returncode == 0, done.stderr
    pairs = joined(checkout.logs("load"))
    assert len(pairs) == rate * seconds + 32  # and the keys that kvget asks for
    assert {one["status"] for one, _ in pairs} == {200}
    for one, event in pairs:
        assert event is not None
        assert one["latency_ms"] >= event["rt_ms"]
        assert one["ts_enqueue"] <= event["ts_enqueue"] <= event["ts_end"] <= one["ts_end"]
        assert event["parent_id"] == one["span_id"]
        assert (one["bytes_out"], one["bytes_in"]) == (event["bytes_in"], event["bytes_out"])
        assert (one["method"], one["path"]) == (event["method"], event["path"])
    meta = json.loads((checkout.logs("load") / "run_meta.json").read_text())
    known = {name: meta[name] for name in ("run_id", "rate", "duration", "scen", "img", "workers")}
    assert known == {
        "run_id": "load", "rate": rate, "duration": seconds, "scen": None, "img": "mine", "workers": 4
    }  # fmt: skip
    told_by_start = ("started_ms", "stopped_ms", "interval_ms", "tracekit_version")
    assert [meta[name] for name in told_by_start] == [None] * 4  # no collector ran
    assert checkout.make("parse", "RUN_ID=load").returncode == 0
    assert checkout.make("validate", "RUN_ID=load").returncode == 0


def is_service(pid: int) -> bool:
    """And not the load, which has the same RUN_ID."""
    cmdline = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"serve.py" in cmdline or b"multiprocessing" in cmdline


def test_a_kill_9_under_load_loses_no_event_of_an_answered_request(
    checkout: Checkout, attacker: None
) -> None:
    with serving(checkout, "killed", WORKERS="2") as base:
        port = base.rpartition(":")[2]
        words = ["make", "-s", "-C", str(checkout.root), "real-hash", "RUN_ID=killed"]
        load = subprocess.Popen(
            [*words, f"PORT={port}", "RATE=300", "DURATION=4"],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        folder = checkout.logs("killed")
        while len(events(folder)) < 300:
            time.sleep(0.05)
        for pid in processes_of("killed"):
            if is_service(pid):
                os.kill(pid, signal.SIGKILL)
        load.wait()
    answered = joined(folder)
    assert len(answered) >= 300
    assert all(event is not None for _, event in answered)
    failed = [one for one in rows(folder, "events_client.jsonl") if one["error"] is not None]
    assert failed  # they are told, each with the trace that it was sent with
    assert all(one["trace_id"] and one["status"] is None for one in failed)


def test_without_a_service_load_says_so_and_leaves_nothing(checkout: Checkout, attacker: None) -> None:
    port = free_port()
    done = checkout.make("real-json", "RUN_ID=nobody", f"PORT={port}")
    assert done.returncode == 2
    assert f"nobody serves on 127.0.0.1:{port}" in done.stderr
    assert not checkout.logs("nobody").exists()


@pytest.mark.parametrize("kind", MIXES)
def test_each_target_has_ids_of_its_own_that_the_result_brings_back(kind: str) -> None:
    lines = target_lines(LOCAL, MIXES[kind])
    targets = [json.loads(next(lines)) for _ in range(50)]
    ids = set()
    for target in targets:
        url, _, fragment = target["url"].partition("#")
        trace_id, span_id = fragment.split("-")
        assert target["header"] == {"traceparent": [f"00-{trace_id}-{span_id}-01"]}
        assert url.startswith(f"{LOCAL}/")
        ids |= {trace_id, span_id}
    assert len(ids) == 100


def result(**more: Any) -> dict[str, Any]:
    """A line of `vegeta encode -to json`, version 12.13."""
    return {
        "attack": "", "seq": 7, "code": 200, "timestamp": "2026-11-23T06:01:02.123456789Z",
        "latency": 1_500_000, "bytes_out": 5, "bytes_in": 3, "error": "", "body": "b2sK", "method": "POST",
        "url": f"http://10.0.0.1:8080/kv/set/a#{'a' * 32}-{'b' * 16}", "headers": {}, **more,
    }  # fmt: skip


def test_a_result_becomes_an_event_of_the_client() -> None:
    begun_ms = 1_795_413_662_123  # date -u -d 2026-11-23T06:01:02.123Z +%s%3N
    assert client_event(result(), "vm1") == {
        "ts_enqueue": begun_ms, "ts_end": begun_ms + 1, "latency_ms": 1.5, "trace_id": "a" * 32,
        "span_id": "b" * 16, "node": "vm1", "method": "POST", "path": "/kv/set/a", "status": 200,
        "bytes_in": 3, "bytes_out": 5, "error": None, "ts_enqueue_us": begun_ms * 1000 + 456,
    }  # fmt: skip


def test_a_result_without_an_answer_has_no_status_and_no_bytes_in() -> None:
    event = client_event(result(code=0, bytes_in=0, error="connection refused"), "vm1")
    assert (event["status"], event["bytes_in"], event["error"]) == (None, None, "connection refused")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T02:00:00.5+02:00", 500_000_000),
        ("1969-12-31T23:59:59.000000001Z", 1 - 10**9),
        ("2024-02-29T00:00:00.123456789Z", 1_709_164_800_123_456_789),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, ns: int) -> None:
    assert stamp_ns(text) == ns


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no RFC 3339"):
        stamp_ns("2024-02-29T00:00:00")


def test_percentiles_are_nearest_rank() -> None:
    tally = Tally()
    for value in range(1, 201):
        tally.add({"latency_ms": float(value), "status": 200 if value > 5 else 503, "error": None})
    assert tally.percentiles_ms() == [100, 190, 198]
    assert tally.answered_well == 195
    assert Tally().percentiles_ms() == []
