"""Lines of an access log that nothing unusual is in, a block at a time: one expression, one template.

This is what makes a long log fast; every other line is the adapter's own business, and both tell the same.
"""

import re
from collections.abc import Callable

import msgspec

from tracekit.adapt import http
from tracekit.adapt.template import Format, Piece, compiled, pattern_of, pieces

_TEXT = rb"[!#->@-\[\]-~]"  # printable, and neither quote nor backslash nor "?"
_TARGET = rb"(" + _TEXT + rb"+)(\?(?:" + _TEXT + rb"|\?)*)?"
_SIZE = rb"0|[1-9]\d{0,17}"
_PLAIN = {
    "request": rb"([A-Z]{1,20}) " + _TARGET + rb" HTTP/\d\.\d",
    "request_method": rb"([A-Z]{1,20})",
    "request_uri": _TARGET,
    "status": rb"([1-9]\d\d)",
    "body_bytes_sent": rb"(" + _SIZE + rb")",
    "content_length": rb"(-?|" + _SIZE + rb")",
    "msec": rb"([1-9]\d{9})\.(\d{3})",
    "request_time": rb"(\d{1,6})\.(\d{3})",
    "http_x_request_start": rb"-?",
    "sent_http_grpc_status": rb"-?",
    "sent_trailer_grpc_status": rb"-?",
    "http_traceparent": rb"(?:-?|00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2})",
    "request_id": rb"((?!0{16})[0-9a-f]{32})",
}


_NO_SIZE = frozenset({b"", b"-"})
_BODILESS = frozenset(name.encode() for name in http.BODILESS)
_CAPTURE = re.compile(rb"(?<!\\)\((?!\?)")


_FORM = (
    b'{"ts_enqueue":%d,"node":@node,"trace_id":"%b","span_id":"%b","parent_id":%b,"ts_start":%d,"ts_end":%d,'
    b'"queue_time_ms":0,"service_time_ms":%d,"rt_ms":%d,"module_id":null,"instance_id":null,"stage":@stage,'
    b'"method":"%b","path":"%b","bytes_in":%b,"bytes_out":%b,"cpu_time_ms":null,"status":%b,'
    b'"source":@source,"queue_source":null%b}\n'
)


def _plain(piece: Piece, escape: str) -> bytes:
    return _PLAIN.get(piece.text) or pattern_of(piece, escape)


class PlainLines:
    """The plain lines of one format."""

    def __init__(self, form: Format, node: str, stage: str | None, source: str) -> None:
        """form: with $msec, $request_time, $status, and $request or $request_method and $request_uri."""
        self._has_id = any(piece.is_variable and piece.text == "request_id" for piece in pieces(form.text))
        head, tail = (b"^", b"$") if self._has_id else (b"^(", b")$")  # without an id it is made of the line
        self._pattern, names = compiled(form, _plain, head, tail)
        at, self._groups = int(not self._has_id), {}
        for name in names:
            self._groups[name] = at
            at += len(_CAPTURE.findall(_PLAIN.get(name, b"")))
        fixed = {b"@node": node, b"@stage": stage, b"@source": source}
        self._form = _FORM
        for place, value in fixed.items():
            self._form = self._form.replace(place, msgspec.json.encode(value))

    def convert(self, data: bytes, make_id: Callable[[bytes], str]) -> list[bytes] | None:
        """The lines of the records; None where not every line of data is plain."""
        rows = self._pattern.findall(data)
        if len(rows) != data.count(b"\n") or not data.endswith(b"\n"):
            return None
        place = self._groups
        end_s, rt_s, status = place["msec"], place["request_time"], place["status"]
        end_ms, rt_ms = end_s + 1, rt_s + 1
        line = place.get("request")
        verb, path = (line, line + 1) if line is not None else (place["request_method"], place["request_uri"])
        sent, length, caller = (
            place.get("body_bytes_sent"),
            place.get("content_length"),
            place.get("http_traceparent"),
        )
        own_id, form, lines = place.get("request_id", 0), self._form, []
        for row in rows:
            end = int(row[end_s] + row[end_ms])
            rt = int(row[rt_s] + row[rt_ms])
            start = end - rt
            if self._has_id:
                own = row[own_id]
                span = own[:16]
            else:
                own = make_id(row[0]).encode()
                span = own[16:]
            trace, parent = own, b"null"
            if caller is not None and row[caller]:
                trace, parent = row[caller], b'"%b"' % row[caller + 1]
            method, query = row[verb], row[path + 1]
            size = row[length] if length is not None else b""
            if size in _NO_SIZE:
                size = b"0" if method in _BODILESS else b"null"
            told = b',"query":"%b"' % query[1:] if query else b""
            out = row[sent] if sent is not None else b"null"
            stamps = (start, trace, span, parent, start, end, rt, rt)
            lines.append(form % (*stamps, method, row[path], size, out, row[status], told))
        return lines
