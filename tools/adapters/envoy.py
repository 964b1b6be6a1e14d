#!/usr/bin/env python3
# Summary: access logs of Envoy: the built-in text (also Istio's), or JSON; HTTP and gRPC.
# Usage: tools/adapters/envoy.py [--own-span] [--run-id RUN] access.log*
#        make adapt SOURCE=envoy IN="access.log*" RUN_ID=run1 [ADAPT_OPTIONS=--own-span]
# In:  [2026-01-01T00:00:01.205Z] "GET /a HTTP/1.1" 200 - 0 12 45 44 "-" "-" "<uuid>" "host" "10.0.0.2:80"
# Out: {"ts_enqueue":1767225601205,...,"ts_start":1767225601205,"ts_end":1767225601250,"queue_time_ms":0,...}
# Source: Envoy, docs/root/configuration/observability/access_log; advanced/substitution_formatter.
"""Envoy stamps the start: end = START_TIME + DURATION, to the ms.

The built-in text is not escaped: quotes and bytes that are not UTF-8 stand there as they were sent. So a line
is read from both its ends. In JSON the keys are those of Envoy's and Istio's own examples (start_time,
method, path, response_code, duration, ...) or names of fields of the trace; queue_us, the wait before the
request went on, gives the queue. Container logs (CRI, Docker) are unwrapped.

Where Envoy traces, %REQ(TRACEPARENT)% holds Envoy's own span, for it was rewritten by then: say --own-span.
"""

import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import http, times
from tracekit.adapt.account import NotTakenError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.containers import Unwrapper
from tracekit.adapt.ids import traceparent
from tracekit.adapt.sink import Sink
from tracekit.adapt.values import FIELDS, json_object, typed

_TEXT = re.compile(
    r"\[(?P<start_time>[^\]]+)\] "
    r'"(?P<method>\S+) (?P<path>.*?) (?P<protocol>\S+)" (?P<response_code>\d{1,3}) (?P<response_flags>\S+) '
    r'(?:(?P<details>\S+) \S+ ".*?" )?'  # Istio's
    r"(?P<bytes_received>\d+) (?P<bytes_sent>\d+) (?P<duration>\d+|-) (?P<upstream_service_time>\d+|-) "
    r'".*" ".*" "(?P<request_id>[^"]*)" "[^"]*" "(?P<upstream_host>[^"]*)"'
    r'(?: \S+ \S+ \S+ \S+ \S+ \S+)?',
    re.DOTALL,
)  # fmt: skip
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_ALIASES = {"x_request_id": "request_id", "status": "response_code", "req_traceparent": "traceparent"}
_GRPC_NAMES = (
    "ok canceled unknown invalidargument deadlineexceeded notfound alreadyexists permissiondenied"
    " resourceexhausted failedprecondition aborted outofrange unimplemented internal unavailable dataloss"
    " unauthenticated"
)
_GRPC = {name: number for number, name in enumerate(_GRPC_NAMES.split())} | {"cancelled": 1}
_OWN = {
    key
    for key in FIELDS.keys() - {"method", "path", "status", "trace_id", "grpc_status"}
    if not key.startswith("ts_") and not key.endswith("_ms")
}
Values = dict[str, str]  # by the names of Envoy's examples; absent ones are not there


class Envoy(Adapter):
    """Lines of access logs."""

    def __init__(self, options: Namespace, sink: Sink) -> None:
        super().__init__(options, sink)
        self._unwrapper = Unwrapper()

    @staticmethod
    def add_options(parser: ArgumentParser) -> None:
        parser.add_argument(
            "--own-span",
            action="store_true",
            help="the traceparent that was logged holds Envoy's own span (tracing is on), not the caller's",
        )

    def line(self, line: bytes) -> None:
        text = self._unwrapper.unwrap(line)
        if text is not None:
            values = _of_json(text) if text.startswith(b"{") else _of_text(text.decode("utf-8", "replace"))
            self.sink.add(**self._record(values, text))

    def finish(self) -> None:
        if rest := self._unwrapper.rest():
            why = NotTakenError("torn", "the last line lacks its other parts")
            self.sink.not_taken("the last line", 0, why, rest)

    def _record(self, values: Values, text: bytes) -> dict[str, Any]:
        if values.get("method") is None or values.get("path") is None:
            reason = "request" if values.get("protocol") else "connection"
            raise NotTakenError(reason, "no request stood on the connection that the line tells of")
        known: dict[str, Any] = {"method": values["method"], **http.target(values["path"])}
        known |= _times(values) | self._ids(values, text)
        known["status"] = http.size(values.get("response_code"))
        known["bytes_out"] = http.size(values.get("bytes_sent"))
        received = values.get("bytes_received")
        known["bytes_in"] = http.body_in(known["method"], received)
        known["grpc_status"] = _grpc(values.get("grpc_status_number") or values.get("grpc_status"))
        if known["grpc_status"] is not None:
            known["module_id"] = http.grpc_module(known["path"])
        return known | {key: typed(key, values[key]) for key in _OWN & values.keys()}

    def _ids(self, values: Values, text: bytes) -> dict[str, str | None]:
        made = self.ids.make(text)
        request_id = values.get("request_id", "").lower()
        trace = values.get("trace_id") or (
            request_id.replace("-", "") if _UUID.fullmatch(request_id) else made
        )
        found = traceparent(values.get("traceparent", ""))
        if found is None:
            return {"trace_id": typed("trace_id", trace), "span_id": made[16:], "parent_id": None}
        if self.options.own_span:
            return {"trace_id": found[0], "span_id": found[1], "parent_id": None}
        return {"trace_id": found[0], "span_id": made[16:], "parent_id": found[1]}


def _of_text(text: str) -> Values:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise NotTakenError("format", "the line has not the form of Envoy's own text")
    return {key: value for key, value in match.groupdict().items() if value not in (None, "-")}


def _of_json(text: bytes) -> Values:
    values = {}
    for key, value in json_object(text).items():
        name = re.sub(r"\W", "_", key).lower()
        if value not in (None, "-", ""):
            values[_ALIASES.get(name, name)] = value if isinstance(value, str) else f"{value}"
    return values


def _times(values: Values) -> dict[str, Any]:
    stamp = values.get("start_time")
    if stamp is None:
        raise NotTakenError("time", "the line has no start_time")
    is_number = re.fullmatch(r"\d+(?:\.\d+)?", stamp)
    start_us = times.check_us(times.scaled(stamp, 1_000_000) if is_number else times.iso_us(stamp))
    if "duration" not in values:
        return {"ts_enqueue": start_us // 1000, "ts_start": start_us // 1000, "queue_time_ms": 0}
    end_us = start_us + times.scaled(values["duration"], 1000)
    queue_us = times.scaled(values["queue_us"], 1) if "queue_us" in values else 0
    if not 0 < queue_us <= end_us - start_us:
        return times.spans(start_us, end_us)
    return {**times.spans(start_us + queue_us, end_us, start_us), "queue_source": "envoy"}


def _grpc(text: str | None) -> int | None:
    if text is None:
        return None
    return http.size(text) if text.isdigit() else _GRPC.get(text.replace("_", "").lower())


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some logs."""
    return cli_adapt.main(__doc__ or "", Envoy, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
