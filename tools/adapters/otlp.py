#!/usr/bin/env python3
# Summary: traces in OTLP JSON, as the file exporter of the OpenTelemetry Collector writes them.
# Usage: tools/adapters/otlp.py [--keep served|roots|all] [--run-id RUN] traces.jsonl
#        make adapt SOURCE=otlp IN="traces*.jsonl" RUN_ID=run1
# In:  {"resourceSpans":[{"resource":{...},"scopeSpans":[{"spans":[{"traceId":"...","kind":2,...}]}]}]}
# Out: {"ts_enqueue":1767225601205,"node":"vm1","trace_id":"...","span_id":"...","module_id":"shop",...}
# Source: opentelemetry-proto, docs/specification.md (JSON); OpenTelemetry semantic conventions.
"""One invocation for each span of a server or a consumer; --keep says otherwise. Start and end to the us.

A line is one export; so is a whole document, pretty-printed or not. Older names (instrumentationLibrarySpans,
batches), enums by name and ids in base64 are understood too. A span whose end comes before its start is a
reject. Lines of metrics and logs are left out. The node is host.name, else NODE_ID. A queue is not told.
"""

import base64
import binascii
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt.account import NotTakenError, SkippedError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.reading import Block
from tracekit.adapt.sink import Sink
from tracekit.adapt.traces import Span, add_span, add_span_options
from tracekit.adapt.values import json_object

Json = dict[str, Any]
_KINDS = ("", "internal", "server", "client", "producer", "consumer")
_SIGNALS = {"resourceMetrics": "lines of metrics", "resourceLogs": "lines of logs"}


class Otlp(Adapter):
    """Exports, one a line or one a file."""

    def __init__(self, options: Namespace, sink: Sink) -> None:
        super().__init__(options, sink)
        self._document: list[bytes] = []

    @staticmethod
    def add_options(parser: ArgumentParser) -> None:
        add_span_options(parser)

    def take(self, block: Block) -> None:
        first = block.data.lstrip().split(b"\n", 1)[0].rstrip()
        if self._document or (block.first == 1 and first in (b"{", b"[")):  # pretty-printed
            self._document.append(block.data)
            return
        self.sink.each(block, self.line)

    def line(self, line: bytes) -> None:
        told = json_object(line)
        for key, what in _SIGNALS.items():
            if key in told:
                raise SkippedError(what, key)
        groups = told.get("resourceSpans") or told.get("batches")
        if not isinstance(groups, list):
            raise NotTakenError("export", "the object has no resourceSpans")
        file, number = self.sink.at
        for group, span in _spans(groups):
            self.sink.attempt(file, number, str(span).encode(), partial(self._add, group, span))

    def _add(self, resource: Json, span: Json) -> None:
        add_span(self, _span(resource, span))

    def finish(self) -> None:
        if self._document:
            data, self._document = b"".join(self._document), []
            self.sink.each(Block("document", 1, data.replace(b"\n", b" ")), self.line)


def _spans(groups: list[Any]) -> Iterator[tuple[Json, Json]]:
    """Each span and the attributes of its resource."""
    for group in groups:
        resource = _attributes((group.get("resource") or {}).get("attributes"))
        scopes = group.get("scopeSpans") or group.get("instrumentationLibrarySpans") or []
        for scope in scopes:
            for span in scope.get("spans") or []:
                yield resource, span


def _span(resource: Json, span: Json) -> Span:
    kind = span.get("kind") or 0
    name = _KINDS[kind] if isinstance(kind, int) else str(kind).rpartition("_")[2].lower()
    start, end = (int(span.get(key) or 0) for key in ("startTimeUnixNano", "endTimeUnixNano"))
    return Span(
        _hex(span.get("traceId"), 32), _hex(span.get("spanId"), 16), _hex(span.get("parentSpanId"), 16),
        str(span.get("name") or ""), "" if name == "unspecified" else name, start // 1000, end // 1000,
        resource.get("service.name"), {**resource, **_attributes(span.get("attributes"))},
    )  # fmt: skip


def _hex(value: Any, digits: int) -> Any:
    """An id in hex, which may be written in base64."""
    if isinstance(value, str) and len(value) == -(-digits // 6) * 4 and len(value) != digits:
        try:
            return base64.b64decode(value, validate=True).hex()
        except (binascii.Error, ValueError):
            return value
    return value


def _attributes(pairs: Any) -> Json:
    """{"key": ..., "value": {"stringValue": ...}} as a mapping; lists and maps are of no use here."""
    found = {}
    for pair in pairs or []:
        value = pair.get("value") or {}
        for name in ("stringValue", "intValue", "boolValue", "doubleValue"):
            if name in value:
                found[pair.get("key")] = value[name]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some traces."""
    return cli_adapt.main(__doc__ or "", Otlp, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
