#!/usr/bin/env python3
# Summary: access logs of Traefik: JSON, or its common log format.
# Usage: tools/adapters/traefik.py [--run-id RUN] access.log*
#        make adapt SOURCE=traefik IN="access.log*" RUN_ID=run1
# In:  {"StartUTC":"2026-01-01T00:00:01.205Z","Duration":45000000,"RequestMethod":"GET",...}
# Out: {"ts_enqueue":1767225601205,...,"ts_start":1767225601205,"ts_end":1767225601250,"queue_time_ms":0,...}
# Source: Traefik, docs "Access Logs" (fields, common log format); pkg/middlewares/accesslog/logdata.go.
"""Traefik stamps the start: in JSON to the us, with the duration in ns; in text to the second, with ms.

The module is the service in JSON and the router in text; the instance is the server that answered. What
Traefik itself took (Overhead) is on both sides of the server's work, and no queue. Its own messages may share
the file, and are left out.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import http, times
from tracekit.adapt.account import NotTakenError, SkippedError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.ids import padded, traceparent
from tracekit.adapt.values import json_object

_LINE = re.compile(
    r'\S+ \S+ .*? \[(?P<stamp>[^\]]+)\] "(?P<request>.*?)" (?P<status>\d{3}|-) (?P<bytes>\d+|-) '
    r'".*?" ".*" \d+ "(?P<router>[^"]*)" "(?P<server>[^"]*)" (?P<took>\d+)ms',
    re.DOTALL,
)


class Traefik(Adapter):
    """Lines of access logs."""

    def line(self, line: bytes) -> None:
        known = _of_json(line) if line.startswith(b"{") else _of_text(line.decode("utf-8", "replace"))
        made = self.ids.make(line)
        self.sink.add(**{"trace_id": made, "span_id": made[16:], **known})


def _of_json(line: bytes) -> dict[str, Any]:
    told = json_object(line)
    if "RequestMethod" not in told:
        raise SkippedError("messages", "no request")
    start_us = times.iso_us(told["StartUTC"])
    method = told["RequestMethod"]
    found = traceparent(told.get("request_Traceparent") or "")
    trace, span = padded(told.get("TraceId"), 32), padded(told.get("SpanId"), 16)
    ids = {"trace_id": found[0], "parent_id": found[1]} if found else {}
    return {
        **({"trace_id": trace, "span_id": span} if trace and span else ids),
        **times.spans(start_us, start_us + round(told["Duration"]) // 1000),
        "method": method,
        **http.target(told["RequestPath"]),
        "status": told["DownstreamStatus"],
        "bytes_in": http.body_in(method, str(told.get("RequestContentSize"))),
        "bytes_out": told.get("DownstreamContentSize"),
        "module_id": told.get("ServiceName"),
        "instance_id": told.get("ServiceAddr"),
    }


def _of_text(text: str) -> dict[str, Any]:
    match = _LINE.fullmatch(text)
    if match is None:
        raise NotTakenError("format", "the line has not the form of Traefik's common log format")
    start_us = times.clf_us(match["stamp"])
    request = http.request(match["request"])
    return {
        **times.spans(start_us, start_us + times.scaled(match["took"], 1000)),
        **request,
        "status": http.size(match["status"]),
        "bytes_in": http.body_in(request["method"], None),
        "bytes_out": http.size(match["bytes"]),
        "module_id": None if match["router"] == "-" else match["router"],
        "instance_id": None if match["server"] == "-" else match["server"],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some logs."""
    return cli_adapt.main(__doc__ or "", Traefik, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
