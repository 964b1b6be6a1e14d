#!/usr/bin/env python3
# Summary: access logs of Caddy 2, JSON.
# Usage: tools/adapters/caddy.py [--took s|ms|ns] [--run-id RUN] access.log*
#        make adapt SOURCE=caddy IN="access.log*" RUN_ID=run1
# In:  {"ts":1767225601.25,"logger":"http.log.access.log0","request":{"uri":"/a",...},"duration":0.045,...}
# Out: {"ts_enqueue":1767225601205,...,"ts_start":1767225601205,"ts_end":1767225601250,"queue_time_ms":0,...}
# Source: Caddy, docs "How logging works" and the log directive; modules/caddyhttp/server.go, logging.go.
"""Caddy writes a line when a request is over: start = ts - duration.

ts is seconds, ms or ns since the epoch, told by size, or text with a zone; the duration is seconds unless
--took says another unit, or it names its own ("45.2ms"). Lines of other loggers share the file, and are left
out. The status is 0 where the client left before an answer.
"""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import http, times
from tracekit.adapt.account import NotTakenError, SkippedError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.ids import traceparent
from tracekit.adapt.values import json_object

_LOGGER = "http.log.access"
_PER_UNIT = {"h": 3600e6, "m": 60e6, "s": 1e6, "ms": 1e3, "us": 1, "\u00b5s": 1, "ns": 1e-3}
_PART = re.compile("([0-9.]+)(h|ms|m|us|\u00b5s|ns|s)")


class Caddy(Adapter):
    """Lines of access logs."""

    @staticmethod
    def add_options(parser: ArgumentParser) -> None:
        parser.add_argument("--took", choices=("s", "ms", "ns"), default="s", help="unit of the duration")

    def line(self, line: bytes) -> None:
        told = json_object(line)
        if not str(told.get("logger", "")).startswith(_LOGGER):
            raise SkippedError("lines of other loggers", "no request")
        request = told["request"]
        method, headers = request["method"], request.get("headers") or {}
        end_us = _stamp_us(told["ts"])
        made = self.ids.make(line)
        found = traceparent(_first(headers, "Traceparent") or "")
        length = told.get("bytes_read", _first(headers, "Content-Length"))
        known: dict[str, Any] = {"method": method, **http.target(request["uri"])}
        self.sink.add(
            trace_id=found[0] if found else made, span_id=made[16:], parent_id=found[1] if found else None,
            **times.spans(end_us - self._took_us(told["duration"]), end_us), **known,
            status=told["status"], bytes_out=told["size"],
            bytes_in=http.body_in(method, None if length is None else str(length)),
        )  # fmt: skip

    def _took_us(self, value: object) -> int:
        if isinstance(value, str):
            parts = _PART.findall(value)
            if not parts or "".join(number + unit for number, unit in parts) != value:
                raise NotTakenError("number", f"{value[:40]!a} is no duration")
            return round(sum(float(number) * _PER_UNIT[unit] for number, unit in parts))
        return round(_number(value) * _PER_UNIT[self.options.took])


def _stamp_us(value: object) -> int:
    """us since the epoch of a stamp in any of Caddy's formats that name a moment."""
    if isinstance(value, str):
        return times.iso_us(value)
    number = _number(value)
    return round(number * (1e6 if number < 1e11 else 1e3 if number < 1e14 else 1e-3))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e20:
        raise NotTakenError("number", f"{value!a:.40} is no time")
    return value


def _first(headers: dict[str, Any], name: str) -> str | None:
    """The first value of a header; None where it was not sent, or its value is not shown."""
    values = headers.get(name)
    return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else None


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some logs."""
    return cli_adapt.main(__doc__ or "", Caddy, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
