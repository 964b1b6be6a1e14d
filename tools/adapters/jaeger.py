#!/usr/bin/env python3
# Summary: traces in the JSON of Jaeger's query API and UI.
# Usage: tools/adapters/jaeger.py [--keep served|roots|all] [--run-id RUN] traces.json
#        make adapt SOURCE=jaeger IN=traces.json RUN_ID=run1 [ADAPT_OPTIONS="--keep all"]
# In:  {"data":[{"traceID":"...","spans":[{"spanID":"...","startTime":1767225601205000,...}],"processes":{}}]}
# Out: {"ts_enqueue":1767225601205,"trace_id":"...","span_id":"...","module_id":"shop",...}
# Source: Jaeger, model/json/model.go.
"""One invocation for each span of a server or a consumer; --keep says otherwise. Start and duration in us.

The parent is the CHILD_OF reference (the first of several), else FOLLOWS_FROM, else null. Spans that carry no
span.kind count where they are roots; in some data sets no span does, then --keep all. A span that is there
twice counts once. A queue is not told.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt.account import NotTakenError, SkippedError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.reading import Block
from tracekit.adapt.sink import Sink
from tracekit.adapt.traces import Span, add_span, add_span_options
from tracekit.adapt.values import json_value

Json = dict[str, Any]


class Jaeger(Adapter):
    """Traces in one document."""

    is_whole: ClassVar[bool] = True

    def __init__(self, options: Namespace, sink: Sink) -> None:
        super().__init__(options, sink)
        self._seen: set[tuple[str, str]] = set()

    @staticmethod
    def add_options(parser: ArgumentParser) -> None:
        add_span_options(parser)

    def take(self, block: Block) -> None:
        self.sink.attempt(block.file, 1, block.data, partial(self._document, block))

    def _document(self, block: Block) -> None:
        document = json_value(block.data)
        traces = document.get("data") if isinstance(document, dict) else document
        if isinstance(document, dict) and "spans" in document:
            traces = [document]
        if not isinstance(traces, list):
            raise NotTakenError("json", "the document has no traces under data")
        for trace in traces:
            self.sink.attempt(block.file, 1, str(trace).encode(), partial(self._trace, block.file, trace))

    def _trace(self, file: str, trace: Json) -> None:
        for span in trace.get("spans") or []:
            take = partial(self._span, span, trace.get("processes") or {})
            self.sink.attempt(file, 1, str(span).encode(), take)

    def _span(self, span: Json, processes: Json) -> None:
        identity = (str(span.get("traceID")), str(span.get("spanID")))
        if identity in self._seen:
            raise SkippedError("spans that were there before", identity[1])
        process = processes.get(str(span.get("processID"))) or span.get("process") or {}
        told = {**_tags(process.get("tags")), **_tags(span.get("tags"))}
        start_us = int(span["startTime"]) if "startTime" in span else int(span["startTimeMillis"]) * 1000
        found = Span(
            span.get("traceID"), span.get("spanID"), _parent(span), str(span.get("operationName") or ""),
            str(told.get("span.kind") or ""), start_us, start_us + int(span.get("duration") or 0),
            process.get("serviceName"), told,
        )  # fmt: skip
        add_span(self, found)
        self._seen.add(identity)


def _parent(span: Json) -> Any:
    """The span that this one answers to."""
    references = span.get("references") or []
    for kind in ("CHILD_OF", "FOLLOWS_FROM"):
        for one in references:
            if one.get("refType") == kind:
                return one.get("spanID")
    return span.get("parentSpanID")


def _tags(tags: Any) -> Json:
    """[{"key", "type", "value"}], or a mapping, as a mapping."""
    return tags if isinstance(tags, dict) else {one.get("key"): one.get("value") for one in tags or []}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some traces."""
    return cli_adapt.main(__doc__ or "", Jaeger, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
