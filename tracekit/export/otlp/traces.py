"""Spans of OTLP: invocations are SERVER (a task: CONSUMER), calls and requests of the load generator CLIENT.

Names of attributes are those of the OpenTelemetry semantic conventions where there is one, else tracekit.*.
Times are as the node's clock showed them. Source: opentelemetry-proto, trace/v1/trace.proto.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from tracekit.export.audit import Audit
from tracekit.export.otlp.values import SCOPE, Json, Value, attributes, hex_id
from tracekit.export.timed_spans import Span
from tracekit.records import Call, ClientEvent, Invocation

_SERVER, _CLIENT, _CONSUMER = 2, 3, 5
_ERROR = 2
_LINE_SPANS = 512
UNKNOWN = "unknown_service"  # what the conventions say for a service without a name
LOAD = "load_generator"


class Service(NamedTuple):
    """Whose spans they are: the resource."""

    name: str
    instance: str | None
    node: str
    stage: str | None
    app: str | None


class Services:
    """The service of each span. That of a call is its parent's, which was under way when the call began."""

    def __init__(self) -> None:
        self._open: dict[tuple[str | None, str | None], Service] = {}
        self._ends: list[tuple[int, tuple[str | None, str | None]]] = []

    def of(self, span: Span) -> Service:
        """Spans come by their start."""
        record = span.record
        while self._ends and self._ends[0][0] < span.start_ns - 1_000_000:  # stamps are whole ms
            self._open.pop(heapq.heappop(self._ends)[1], None)
        if isinstance(record, Call):
            unknown = Service(UNKNOWN, None, record.node, None, None)
            return self._open.get((record.trace_id, record.parent_id), unknown)
        if isinstance(record, ClientEvent):
            return Service(LOAD, None, record.node, None, None)
        name = record.module_id or UNKNOWN
        service = Service(name, record.instance_id, record.node, record.stage, record.app_id)
        self._open[record.trace_id, record.span_id] = service
        heapq.heappush(self._ends, (span.end_ns, (record.trace_id, record.span_id)))
        return service


def with_ids(spans: Iterable[Span], is_imputing: bool, audit: Audit) -> Iterator[Span]:
    """The spans that have ids; of those without, refused or given some, the audit tells."""
    for span in spans:
        record = span.record
        if record.trace_id and record.span_id:
            if hex_id("trace", record.trace_id) != record.trace_id.lower():
                audit.count("spans whose trace id is not of 32 hex digits: its hash stands for it")
            yield span
        elif is_imputing:
            audit.impute("a request without ids: some made of its place", span.place)
            own = record.span_id or f"span of {span.place}"
            ids = {"trace_id": record.trace_id or f"trace of {span.place}", "span_id": own}
            yield span._replace(record=msgspec.structs.replace(record, **ids))
        else:
            audit.refuse("a request without ids", span.place)


def trace_lines(spans: Iterable[Span], run_id: str) -> Iterator[Json]:
    """An ExportTraceServiceRequest for each 512 spans, which come by start and have ids."""
    services = Services()
    held: dict[Service, list[Json]] = {}
    for number, span in enumerate(spans, 1):
        held.setdefault(services.of(span), []).append(_span(span))
        if number % _LINE_SPANS == 0:
            yield _request(held, run_id)
            held = {}
    if held:
        yield _request(held, run_id)


def _request(held: dict[Service, list[Json]], run_id: str) -> Json:
    return {
        "resourceSpans": [
            {"resource": _resource(service, run_id), "scopeSpans": [{"scope": SCOPE, "spans": spans}]}
            for service, spans in held.items()
        ]
    }


def _resource(service: Service, run_id: str) -> Json:
    told: dict[str, Value] = {
        "service.name": service.name,
        "service.instance.id": service.instance,
        "service.namespace": service.app,
        "host.name": service.node,
        "tracekit.stage": service.stage,
        "tracekit.run_id": run_id,
    }
    return {"attributes": attributes(told)}


def _span(span: Span) -> Json:
    record = span.record
    waited_ms = record.queue_time_ms if isinstance(record, Invocation) else None
    begun_ns = min(span.start_ns + round((waited_ms or 0) * 1e6), span.end_ns)
    told: Json = {
        "traceId": hex_id("trace", record.trace_id or ""),
        "spanId": hex_id("span", record.span_id or ""),
        "name": span.name,
        "kind": _kind(record),
        "startTimeUnixNano": str(begun_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": attributes(_attributes(record)),
    }
    if span.parent_id:
        told["parentSpanId"] = hex_id("span", span.parent_id)
    message = record.error if isinstance(record, ClientEvent) else None
    if message or _has_failed(record):
        told["status"] = {"code": _ERROR} | ({"message": message} if message else {})
    return told


def _kind(record: Invocation | Call | ClientEvent) -> int:
    if not isinstance(record, Invocation):
        return _CLIENT
    return _CONSUMER if record.method is None and record.grpc_status is None else _SERVER


def _has_failed(record: Invocation | Call | ClientEvent) -> bool:
    """By the conventions: a server from 500 on, a client from 400 on; a task by exit code or signal."""
    status = record.status or 0
    if not isinstance(record, Invocation):
        return status >= 400
    if record.method is None:
        return status != 0 or bool(record.signal) or bool(record.grpc_status)
    return status >= 500 or bool(record.grpc_status)


def _attributes(record: Invocation | Call | ClientEvent) -> dict[str, Value]:
    if not isinstance(record, Invocation):
        told: dict[str, Value] = {
            "http.request.method": getattr(record, "method", None),
            "url.path": getattr(record, "path", None),
            "http.response.status_code": record.status,
            "http.request.body.size": record.bytes_out,
            "http.response.body.size": record.bytes_in,
            "server.address": getattr(record, "peer", None),
        }
        return told
    is_http = record.method is not None
    return {
        "http.request.method": record.method,
        "url.path": record.path,
        "url.query": record.query,
        "http.response.status_code" if is_http else "process.exit.code": record.status,
        "rpc.grpc.status_code": record.grpc_status,
        "http.request.body.size": record.bytes_in,
        "http.response.body.size": record.bytes_out,
        "process.pid": record.pid,
        "tracekit.queue_time_ms": record.queue_time_ms,
        "tracekit.queue_source": record.queue_source,
        "tracekit.cpu_time_ms": record.cpu_time_ms,
        "tracekit.task_id": record.task_id,
        "tracekit.attempt": record.attempt,
        "tracekit.signal": record.signal,
        "tracekit.source": record.source,
    }
