"""Spans of distributed traces as invocations: what OTLP, Jaeger and Zipkin have in common.

A server's or a consumer's span is an invocation; the caller's span of the same request, a producer's and an
internal one would count it again. A span that does not tell its kind counts where it is a root.
"""

import re
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any, NamedTuple

from tracekit.adapt import http, times
from tracekit.adapt.account import NotTakenError, SkippedError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.ids import padded
from tracekit.settings import NAME

_ORIGIN = re.compile(r"https?://[^/?]*")
_TAKEN = {"server", "consumer"}
_METHOD = (
    "http.request.method",
    "http.method",
    "rpc.method",
    "messaging.operation.name",
    "messaging.operation",
)
_STATUS = ("http.response.status_code", "http.status_code")
_PATH = ("url.path", "http.path", "http.target", "http.route", "http.url", "messaging.destination.name")
_GRPC = ("rpc.grpc.status_code", "rpc.response.status_code", "grpc.status_code")
_IN = ("http.request.body.size", "http.request_content_length", "messaging.message.body.size")
_OUT = ("http.response.body.size", "http.response_content_length")
_NODE = ("host.name", "k8s.node.name", "hostname", "host")
_INSTANCE = ("service.instance.id", "k8s.pod.name", "container.id")


class Span(NamedTuple):
    """kind: server, client, ... or "" where it is not told. attributes: the span's, over its resource's."""

    trace_id: object
    span_id: object
    parent_id: object
    name: str
    kind: str
    start_us: int
    end_us: int
    service: str | None
    attributes: Mapping[str, Any]


def add_span_options(parser: ArgumentParser) -> None:
    """--keep: which spans count."""
    parser.add_argument(
        "--keep", choices=("served", "roots", "all"), default="served",
        help="spans of servers and consumers (served, the default), roots of traces, or all",
    )  # fmt: skip


def add_span(adapter: Adapter, span: Span) -> None:
    """Add the invocation that a span is. Raises NotTakenError."""
    trace, own, parent = padded(span.trace_id, 32), padded(span.span_id, 16), padded(span.parent_id, 16)
    if trace is None or own is None:
        raise NotTakenError("ids", "the span has no id, or no trace's")
    is_served = span.kind in _TAKEN or (not span.kind and parent is None)
    keep = adapter.options.keep
    if (keep == "served" and not is_served) or (keep == "roots" and parent is not None):
        raise SkippedError(f"{span.kind or 'other'} spans", span.name)
    told = span.attributes
    node = _first(told, _NODE)
    target = http.target(_ORIGIN.sub("", str(_first(told, _PATH) or span.name)))
    method = _first(told, _METHOD)
    adapter.sink.add(
        trace_id=trace, span_id=own, parent_id=parent, **times.spans(span.start_us, span.end_us),
        **({"node": node} if isinstance(node, str) and NAME.fullmatch(node) else {}),
        module_id=span.service, instance_id=_text(_first(told, _INSTANCE)), method=_text(method),
        path=target["path"], query=_text(told.get("url.query")) or target["query"],
        bytes_in=_whole(_first(told, _IN)), bytes_out=_whole(_first(told, _OUT)),
        status=_whole(_first(told, _STATUS)), grpc_status=_whole(_first(told, _GRPC)),
    )  # fmt: skip


def _first(told: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((told[name] for name in names if told.get(name) not in (None, "")), None)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _whole(value: Any) -> int | None:
    """A number that may be written as text."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
