"""The OTLP export, read back by the message definitions of OpenTelemetry."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from runs import T0, Row, snapshot, tool
from three_nodes import NODES, TRACE, called, served, span, three_nodes

from tracekit.errors import DONE, REJECTED

NS = 1_000_000  # of a ms
_IDS = ("traceId", "spanId", "parentSpanId")


def _standard(value: Any) -> Any:
    """OTLP writes ids in hex, which protobuf's own JSON has in base64; the rest is as protobuf's."""
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(one)).decode() if key in _IDS else _standard(one)
            for key, one in value.items()
        }
    return [_standard(one) for one in value] if isinstance(value, list) else value


def _attributes(pairs: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in pairs}


class Exported:
    """Both files; an unknown field or a wrong type is an error of ParseDict."""

    def __init__(self, folder: Path) -> None:
        self.lines = (folder / "traces.jsonl").read_text().splitlines()
        self.spans: dict[str, Any] = {}
        self.services: dict[str, dict[str, Any]] = {}
        for line in self.lines:
            request = ParseDict(_standard(json.loads(line)), ExportTraceServiceRequest())
            for group in request.resource_spans:
                for one in group.scope_spans[0].spans:
                    self.spans[one.span_id.hex()] = one
                    self.services[one.span_id.hex()] = _attributes(group.resource.attributes)
        self.points: dict[tuple[str, str], list[Any]] = {}
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            request = ParseDict(_standard(json.loads(line)), ExportMetricsServiceRequest())
            for group in request.resource_metrics:
                node = _attributes(group.resource.attributes)["host.name"]
                for metric in group.scope_metrics[0].metrics:
                    self.points.setdefault((node, metric.name), []).extend(metric.gauge.data_points)


def export(target: Path, code: int = DONE, **env: str) -> Exported:
    done = tool("exporters/otlp.py", str(target), **env)
    assert done.returncode == code, done.stdout + done.stderr
    return Exported(target / "exports" / "otlp")


def audit_of(target: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((target / "exports" / "otlp" / "audit.json").read_text())
    return value


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(three_nodes(tmp_path_factory.mktemp("otlp")))


def test_every_request_is_a_span_with_its_parent_kind_and_service(exported: Exported) -> None:
    found = {
        number: (
            int(one.parent_span_id.hex() or "0", 16),
            one.kind,
            exported.services[key]["service.name"],
            exported.services[key]["host.name"],
        )
        for key, one in exported.spans.items()
        if (number := int(key, 16))
    }
    server, client = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
    assert found == {
        1: (0, client, "load_generator", "endpoint0"),
        2: (1, server, "svc", "endpoint0"),
        3: (2, client, "svc", "endpoint0"),
        4: (3, server, "svc", "edge0"),
        5: (4, client, "svc", "edge0"),
        6: (5, server, "svc", "cloud0"),
        7: (4, client, "svc", "edge0"),
        8: (7, server, "svc", "cloud0"),
    }
    assert {one.trace_id.hex() for one in exported.spans.values()} == {TRACE}


def test_a_server_begins_when_it_was_started_and_the_wait_is_an_attribute(exported: Exported) -> None:
    one = exported.spans[span(2)]
    assert one.start_time_unix_nano == (T0 + 1010) * NS  # 10 ms after it was enqueued
    assert one.end_time_unix_nano == (T0 + 1000) * NS + 40_500_000
    assert one.name == "POST /hash/sha256"
    told = _attributes(one.attributes)
    assert told == {
        "http.request.method": "POST",
        "url.path": "/hash/sha256",
        "http.response.status_code": 200,
        "http.request.body.size": 5,
        "http.response.body.size": 64,
        "tracekit.queue_time_ms": 10.0,
        "tracekit.cpu_time_ms": 1.25,
    }
    assert exported.services[span(2)] == {
        "service.name": "svc",
        "service.instance.id": "endpoint0-1",
        "host.name": "endpoint0",
        "tracekit.stage": "endpoint",
        "tracekit.run_id": "r3",
    }


def test_a_call_is_of_the_service_that_made_it_and_names_whom_it_called(exported: Exported) -> None:
    one = exported.spans[span(3)]
    assert exported.services[span(3)]["service.instance.id"] == "endpoint0-1"
    told = _attributes(one.attributes)
    assert (told["server.address"], told["http.request.body.size"]) == ("edge:8080", 5)
    assert one.end_time_unix_nano - one.start_time_unix_nano == 25 * NS


def test_numbers_of_64_bits_and_times_are_text_and_ids_are_lower_hex(exported: Exported) -> None:
    (first,) = json.loads(exported.lines[0])["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (first["traceId"], first["spanId"]) == (TRACE, "0000000000000001")
    assert first["startTimeUnixNano"] == str((T0 + 999) * NS)
    assert first["kind"] == 3
    assert {"key": "http.response.status_code", "value": {"intValue": "200"}} in first["attributes"]


def test_samples_are_gauges_in_base_units(exported: Exported) -> None:
    cpu = exported.points["edge0", "system.cpu.utilization"]
    assert [(one.time_unix_nano, one.as_double) for one in cpu] == [
        ((T0 + at) * NS, 0.11) for at in (1000, 2000, 3000)
    ]
    assert exported.points["edge0", "system.memory.usage"][0].as_double == 200e6
    rates = exported.points["cloud0", "tracekit.network.rate"]
    received = [one for one in rates if _attributes(one.attributes)["network.io.direction"] == "receive"]
    assert [one.as_double for one in received] == [1000.0] * 3
    shares = exported.points["cloud0", "process.cpu.utilization"]
    assert {(_attributes(one.attributes).get("process.pid"), one.as_double) for one in shares} == {
        (7, 0.25),
        (None, 0.03),
    }
    assert exported.points["cloud0", "process.memory.usage"][0].as_double == 2048 * 1024
    assert exported.points["edge0", "tracekit.in_flight"][0].as_double == 3
    assert {node for node, _ in exported.points} == set(NODES)


def only(*invocations: Row, **more: list[Row]) -> dict[str, list[Row]]:
    return {"invocations.jsonl": list(invocations), "calls.jsonl": [], "events_client.jsonl": [], **more}


@pytest.mark.parametrize(
    ("more", "is_error", "kind", "name"),
    [
        ({"status": 404}, False, Span.SPAN_KIND_SERVER, "POST /hash/sha256"),
        ({"status": 500}, True, Span.SPAN_KIND_SERVER, "POST /hash/sha256"),
        ({"status": 200, "grpc_status": 13}, True, Span.SPAN_KIND_SERVER, "POST /hash/sha256"),
        ({"status": 1, "method": None, "path": None, "task_id": "j7"}, True, Span.SPAN_KIND_CONSUMER, "j7"),
        ({"status": 0, "method": None, "path": None}, False, Span.SPAN_KIND_CONSUMER, "svc"),
        ({"status": None, "method": None, "signal": 9}, True, Span.SPAN_KIND_CONSUMER, "/hash/sha256"),
    ],
)
def test_what_failed_has_the_status_of_an_error(
    tmp_path: Path, more: Row, is_error: bool, kind: int, name: str
) -> None:
    one = export(three_nodes(tmp_path, only({**served("edge0", 1, 2.0, 4, 3), **more}))).spans[span(4)]
    assert (one.status.code == Status.STATUS_CODE_ERROR) == is_error
    assert (one.kind, one.name) == (kind, name)


def test_a_request_without_ids_is_refused_or_gets_some_where_asked(tmp_path: Path) -> None:
    bare = {**served("edge0", 1, 2.0, 4, 3), "trace_id": None, "span_id": None, "parent_id": None}
    target = three_nodes(tmp_path, only(bare, served("edge0", 2, 2.0, 6, 3)))
    assert export(target, REJECTED).spans.keys() == {span(6)}
    assert audit_of(target)["refused"] == {
        "a request without ids": {"count": 1, "first": ["invocations.jsonl:1"]}
    }
    assert len(export(target, IMPUTE="1").spans) == 2
    first = snapshot(target / "exports")
    export(target, IMPUTE="1")
    assert snapshot(target / "exports") == first
    assert audit_of(target)["imputed"] == {
        "a request without ids: some made of its place": {"count": 1, "first": ["invocations.jsonl:1"]}
    }


def test_ids_of_another_form_stay_apart_and_keep_their_parents(tmp_path: Path) -> None:
    """The id of a job, as an adapter may have it, is neither 32 nor 16 hex digits."""
    task = {**served("edge0", 1, 2.0, 4, 3), "trace_id": "job-1", "span_id": "a", "parent_id": None}
    step = {
        **task,
        "ts_enqueue": T0 + 2,
        "ts_start": T0 + 2,
        "ts_end": T0 + 4,
        "span_id": "b",
        "parent_id": "a",
    }
    target = three_nodes(tmp_path, only(task, step))
    spans = list(export(target).spans.values())
    assert len({one.trace_id for one in spans}) == 1
    assert len({one.span_id for one in spans}) == 2
    assert spans[1].parent_span_id == spans[0].span_id
    assert audit_of(target)["counted"]["spans"] == 2


def test_a_call_whose_caller_nobody_recorded_is_of_an_unknown_service(tmp_path: Path) -> None:
    more = only(served("edge0", 1, 2.0, 4, 3)) | {"calls.jsonl": [called("edge0", 900, 905, 5, 4, "x")]}
    found = export(three_nodes(tmp_path, more))
    assert found.services[span(5)]["service.name"] == "unknown_service"


def test_a_long_run_is_many_lines_and_every_span_is_in_one(tmp_path: Path) -> None:
    many = [served("edge0", number, 2.0, number + 1, 0) for number in range(1200)]
    found = export(three_nodes(tmp_path, only(*many)))
    assert len(found.lines) == 3
    assert found.spans.keys() == {span(number + 1) for number in range(1200)}
