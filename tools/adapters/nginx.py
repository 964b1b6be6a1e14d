#!/usr/bin/env python3
# Summary: access logs of nginx: the toolkit's formats, combined and its variants, or your own log_format.
# Usage: tools/adapters/nginx.py [--run-id RUN] access.log*
#        make adapt SOURCE=nginx IN="access.log*" RUN_ID=run1
#        make adapt ... LOG_FORMAT='...', or LOG_FORMAT=main NGINX_CONF=/etc/nginx/nginx.conf
# In:  10.0.0.9 - - [01/Jan/2026:00:00:01 +0000] "GET /a?b HTTP/1.1" 200 12 "-" "-" 1767225601.250 0.045 ...
# Out: {"ts_enqueue":1767225601205,...,"ts_start":1767225601205,"ts_end":1767225601250,"queue_time_ms":0,...}
# Source: ngx_http_log_module, ngx_http_core_module ($msec, $request_time), ngx_http_upstream_module.
"""nginx writes a line when a request is over: start = end - request_time.

The end is $msec (else $time_iso8601 or $time_local, whole seconds). Without $request_time, as in combined,
the start is null. A queue is known where a load balancer in front sent X-Request-Start and the format has
$http_x_request_start. $http_traceparent gives the trace and the caller's span; $request_id the span of nginx
itself, its first 16 digits, and the trace where there is no traceparent.

In a format that is JSON, a key with the name of a field of the trace is that field.
"""

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import lru_cache
from glob import glob
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli, cli_adapt
from tracekit.adapt import http, times
from tracekit.adapt.account import NotTakenError
from tracekit.adapt.adapter import Adapter
from tracekit.adapt.ids import traceparent
from tracekit.adapt.plain import PlainLines
from tracekit.adapt.reading import Block
from tracekit.adapt.sink import Sink
from tracekit.adapt.template import Format, compiled, formats_in, keys_of, literal, unescaped, words_of
from tracekit.adapt.values import FIELDS, json_object, typed
from tracekit.errors import UsageError

_COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
    ' "$http_referer" "$http_user_agent"'
)
_OWN = (
    ' $msec $request_time "$content_length" "$http_x_request_start" "$http_traceparent" $request_id'
    ' "$upstream_addr" "$upstream_status" "$upstream_response_time"'
    ' "$sent_http_grpc_status" "$sent_trailer_grpc_status"'
)
_INGRESS = (
    " $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr"
    " $upstream_response_length $upstream_response_time $upstream_status $req_id"
)
_OF_JSON = (
    "msec request_time request status body_bytes_sent content_length http_x_request_start http_traceparent"
    " request_id remote_addr http_user_agent upstream_addr upstream_status upstream_response_time"
    " sent_http_grpc_status sent_trailer_grpc_status"
)
FORMATS = {
    "tracekit": Format(_COMBINED + _OWN),
    "tracekit_json": Format("{" + ",".join(f'"{name}":"${name}"' for name in _OF_JSON.split()) + "}", "json"),
    "ingress": Format(_COMBINED + _INGRESS),
    "timed": Format(_COMBINED + ' "$http_x_forwarded_for" $msec $request_time'),
    "main": Format(_COMBINED + ' "$http_x_forwarded_for"'),
    "combined": Format(_COMBINED),
}
_TIMES = {"ts_enqueue", "ts_start", "ts_end", "queue_time_ms", "service_time_ms", "rt_ms"}
_IN_SECONDS = re.compile(r"\$\{?(?:msec|request_time|upstream_\w+_time)\}?")
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")
Values = dict[str, str]  # of variables; those that the line has no value for are not there


class Nginx(Adapter):
    """Access logs, in the format that was given or in whichever of the known ones each line has."""

    def __init__(self, options: Namespace, sink: Sink) -> None:
        super().__init__(options, sink)
        form = _given(options.settings["LOG_FORMAT"], options.settings["NGINX_CONF"])
        known = [form] if form else list(FORMATS.values())
        self._forms = [Form(one) for one in known]
        self._takes_json = form is None
        self._fast = [one for form in self._forms if (one := fast_path(form, sink.node, sink.stage))]

    def take(self, block: Block) -> None:
        """A block whose lines are all plain goes through at once; else each line for itself."""
        for fast in self._fast if not block.is_long else ():
            lines = fast.convert(block.data, self.ids.make)
            if lines is not None:
                self.sink.add_lines(lines)
                self._fast.sort(key=lambda one: one is not fast)  # the next block is likely of this format
                return
        self.sink.each(block, self.line)

    def line(self, line: bytes) -> None:
        """One line, by the first format that it has."""
        for fast in self._fast:
            lines = fast.convert(line + b"\n", self.ids.make)
            if lines:
                self.sink.add_lines(lines)
                return
        self.sink.add(**self._record(line))

    def _record(self, line: bytes) -> dict[str, Any]:
        for form in self._forms:
            found = form.values(line)
            if found:
                return record(*found, lambda: self.ids.make(line))
        if self._takes_json and line.startswith(b"{"):
            return record(*_json_values(line), lambda: self.ids.make(line))
        raise NotTakenError("format", "the line has not the form of the log_format")


class Form:
    """A log_format, compiled."""

    def __init__(self, form: Format) -> None:
        self.form = form
        self._pattern, self._names = compiled(form)
        self.fields = {key: text for key, text in keys_of(form).items() if key in FIELDS}

    def values(self, line: bytes) -> tuple[Values, dict[str, str]] | None:
        """(variables, fields that the format itself names so); None where the line has another form."""
        match = self._pattern.fullmatch(line)
        if match is None:
            return None
        absent = ("", "-") if self.form.escape == "json" else ("-",)
        texts = {
            name: unescaped(value, self.form.escape)
            for name, value in zip(self._names, match.groups(), strict=True)
        }
        fields = {}
        for key, text in self.fields.items():
            value = re.sub(r"\$\{?(\w+)\}?", lambda found: texts[found[1]], text)
            if value not in ("", "-"):
                fields[key] = (
                    str(times.scaled(value, 1000)) if key in _TIMES and _IN_SECONDS.fullmatch(text) else value
                )
        return {name: text for name, text in texts.items() if text not in absent}, fields


def _json_values(line: bytes) -> tuple[Values, dict[str, str]]:
    """A JSON line of an unknown log_format: keys are names of variables, or fields of the trace."""
    try:
        decoded = json_object(line)
    except NotTakenError:  # a variable without quotes and without a value leaves nothing behind its colon
        decoded = json_object(re.sub(rb":\s*(?=[,}])", b":null", line))
    texts = {
        key: value if isinstance(value, str) else str(value)
        for key, value in decoded.items()
        if value not in (None, "", "-")
    }
    return texts, {key: text for key, text in texts.items() if key in FIELDS and key != "status"}


def record(values: Values, fields: dict[str, str], make_id: Callable[[], str]) -> dict[str, Any]:
    """The fields of an invocation, from the values of a line; fields: what the format itself calls so."""
    known: dict[str, Any] = _request(values)
    method = known.get("method")
    known["status"] = http.size(values.get("status"))
    known["bytes_out"] = http.size(values.get("body_bytes_sent"))
    known["bytes_in"] = http.body_in(
        method, values.get("content_length") or values.get("http_content_length")
    )
    grpc = values.get("sent_trailer_grpc_status") or values.get("sent_http_grpc_status")
    if grpc is not None and http.size(grpc) is not None:
        known["grpc_status"] = int(grpc)
        known["module_id"] = http.grpc_module(known.get("path") or "")
    known |= _ids(values, make_id if not {"trace_id", "span_id"} <= fields.keys() else None)
    known |= _times(values, fields)
    for key, text in fields.items():
        if key not in _TIMES:
            known[key] = typed(key, text)
    return known


def _request(values: Values) -> dict[str, Any]:
    if "request" in values:
        return http.request(values["request"])
    if "request_method" in values:
        return {
            "method": values["request_method"],
            **http.target(values.get("request_uri") or values.get("uri") or ""),
        }
    raise NotTakenError("request", "the request line is empty: what came was no request")


def _ids(values: Values, make_id: Callable[[], str] | None) -> dict[str, str | None]:
    caller = traceparent(values.get("http_traceparent", ""))
    own = next(
        (text for name in ("request_id", "req_id") if _REQUEST_ID.fullmatch(text := values.get(name, ""))),
        None,
    )
    own = own if own and own[:16].strip("0") else None
    made = make_id() if make_id and own is None else None
    return {
        "trace_id": caller[0] if caller else own or made,
        "span_id": own[:16] if own else made and made[16:],
        "parent_id": caller[1] if caller else None,
    }


def _times(values: Values, fields: dict[str, str]) -> dict[str, Any]:
    told = {key: times.scaled(fields[key], 1000) for key in _TIMES & fields.keys()}
    end_us = told.get("ts_end") or _end_us(values)
    rt_us = told.get("service_time_ms", told.get("rt_ms"))
    if rt_us is None and "request_time" in values:
        rt_us = times.scaled(values["request_time"], 1_000_000)
    start_us = told.get("ts_start")
    if start_us is None:
        if rt_us is None:
            return {"ts_end": times.check_us(end_us) // 1000}
        start_us = end_us - rt_us
    enqueue_us = told.get("ts_enqueue")
    if enqueue_us is not None and enqueue_us < start_us:
        return {**times.spans(start_us, end_us, enqueue_us), "queue_source": "ts_enqueue"}
    enqueue_us = http.enqueued_us(values.get("http_x_request_start"), start_us)
    return {
        **times.spans(start_us, end_us, enqueue_us),
        "queue_source": "x-request-start" if enqueue_us else None,
    }


def _end_us(values: Values) -> int:
    if "msec" in values:
        return times.scaled(values["msec"], 1_000_000)
    if "time_iso8601" in values:
        return times.iso_us(values["time_iso8601"])
    if "time_local" in values:
        return times.clf_us(values["time_local"])
    raise NotTakenError("time", "the line has none of $msec, $time_iso8601, $time_local")


def fast_path(form: Form, node: str, stage: str | None) -> PlainLines | None:
    """The plain lines of a format; None for one without the times, or with fields of its own."""
    names = set(re.findall(r"\$\{?(\w+)", form.form.text))
    is_whole = {"msec", "request_time", "status"} <= names
    has_request = "request" in names or {"request_method", "request_uri"} <= names
    if form.fields.keys() - {"status"} or not (is_whole and has_request) or "req_id" in names:
        return None
    return PlainLines(form.form, node, stage, "nginx")


# --- where the format comes from


@lru_cache(8)
def _given(log_format: str, conf: str) -> Format | None:
    """The format that the user means; None where none was given."""
    if not log_format:
        if conf:
            raise UsageError(
                f"NGINX_CONF={conf} needs LOG_FORMAT=name: {', '.join(_formats(Path(conf))) or 'it has none'}"
            )
        return None
    if conf:
        known = FORMATS | _formats(Path(conf))
        if log_format not in known:
            raise UsageError(f"{conf}: has no log_format {log_format!a}; there are {', '.join(known)}")
        return known[log_format]
    return FORMATS.get(log_format) or literal(log_format)


def _formats(conf: Path, depth: int = 0) -> dict[str, Format]:
    words = words_of(conf.read_text(encoding="utf-8", errors="replace"))
    found = formats_in(words)
    for word, name in pairwise(words):
        if word == "include" and depth < 10:
            for path in sorted(glob(str(conf.parent / name))):  # noqa: PTH207 - it may be absolute
                found |= _formats(Path(path), depth + 1)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Write the invocations of some logs."""
    return cli_adapt.main(__doc__ or "", Nginx, argv)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
