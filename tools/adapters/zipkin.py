#!/usr/bin/env python3
# Summary: spans in Zipkin's JSON, version 2: an array a file, or an array a line.
# Usage: tools/adapters/zipkin.py [--keep served|roots|all] [--run-id RUN] spans.json
#        make adapt SOURCE=zipkin IN=spans.json RUN_ID=run1
# In:  [{"traceId":"...","id":"...","kind":"SERVER","timestamp":1767225601205000,"duration":45000,...}]
# Out: {"ts_enqueue":1767225601205,"trace_id":"...","span_id":"...","module_id":"shop",...}
# Source: zipkin-api, zipkin2-api.yaml.
"""One invocation for each span of a server or a consumer; --keep says otherwise. Start and duration in us.

Client and server may share one span id: then the server's record keeps it, and its parent is the caller's.
Spans without a timestamp or a duration are left out, and counted. A consumer's duration is the time in the
backlog where its library says so; no queue is made of it.
"""

import json
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

Json = dict[str, Any]


class Zipkin(Adapter):
    """Arrays of spans, one after another."""

    is_whole: ClassVar[bool] = True

    def __init__(self, options: Namespace, sink: Sink) -> None:
        super().__init__(options, sink)
        self._seen: set[tuple[str, str, str]] = set()

    @staticmethod
    def add_options(parser: ArgumentParser) -> None:
        add_span_options(parser)

    def take(self, block: Block) -> None:
        text, at = block.data.decode("utf-8", "replace"), 0
        decoder = json.JSONDecoder()
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            line = text.count("\n", 0, at) + 1
            try:
                value, at = decoder.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                why = NotTakenError("json", str(error))
                self.sink.not_taken(block.file, line, why, text[at:].encode())
                return
            for span in value if isinstance(value, list) else [value]:
                self.sink.attempt(block.file, line, str(span).encode(), partial(self._span, span))

    def _span(self, span: Json) -> None:
        kind = str(span.get("kind") or "").lower()
        identity = (str(span.get("traceId")), str(span.get("id")), kind)
        if identity in self._seen:
            raise SkippedError("spans that were there before", identity[1])
        if not span.get("timestamp") or span.get("duration") is None:
            raise SkippedError("spans without a time", identity[1])
        start_us = int(span["timestamp"])
        found = Span(
            span.get("traceId"), span.get("id"), span.get("parentId"), str(span.get("name") or ""), kind,
            start_us, start_us + int(span["duration"]),
            (span.get("localEndpoint") or {}).get("serviceName"), span.get("tags") or {},
        )  # fmt: skip
        add_span(self, found)
        self._seen.add(identity)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some spans."""
    return cli_adapt.main(__doc__ or "", Zipkin, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
