"""The nginx adapter by parts: compiled formats, the plain path beside the careful one, and hostile lines."""

import importlib.util
import json
import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from tracekit.adapt.reading import Block
from tracekit.adapt.sink import Sink
from tracekit.adapt.template import formats_in, literal, words_of


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(
        f"adapter_{name}", ROOT / "tools" / "adapters" / f"{name}.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


NGINX = load("nginx")
END_MS = 1767199060500


class Kept:
    """Lines that were added."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def add(self, lines: list[bytes]) -> None:
        self.lines += lines

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def adapt(
    data: bytes, log_format: str = "", is_careful: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(records, rejects) of a log; is_careful: without the plain path."""
    records, rejects = Kept(), Kept()
    sink = Sink("nginx", "n1", "edge", {"invocations": records, "placement": Kept(), "rejected": rejects})
    adapter = NGINX.Nginx(Namespace(settings={"LOG_FORMAT": log_format, "NGINX_CONF": ""}), sink)
    if is_careful:
        adapter._fast = []
    adapter.take(Block("x", 1, data))
    assert sink.account.entries == data.count(b"\n")
    return records.rows(), rejects.rows()


VALUES = {
    "remote_addr": st.just("10.0.0.1"),
    "remote_user": st.sampled_from(["-", "me", "a b"]),
    "time_local": st.just("31/Dec/2025:17:37:40 +0100"),
    "request": st.sampled_from(
        ["GET / HTTP/1.1", "POST /a?b=c&d HTTP/1.1", "PUT /q? HTTP/2.0", "DELETE /a?b?c HTTP/1.0",
         "get /x HTTP/1.1",
         "GET /old", "GET /b lank HTTP/1.1", "", "\\x16\\x03", "GET /\\xC3\\xA9\\x22 HTTP/1.1",
         "OPTIONS * HTTP/1.1"]
    ),
    "status": st.sampled_from(["200", "404", "499"]),
    "body_bytes_sent": st.integers(0, 10**9).map(str),
    "http_referer": st.sampled_from(["-", "http://x/", "\\x22q\\x22"]),
    "http_user_agent": st.sampled_from(["-", "curl/8.5", "a \\x5C b"]),
    "msec": st.integers(1_500_000_000_000, 1_900_000_000_000).map(lambda ms: f"{ms // 1000}.{ms % 1000:03}"),
    "request_time": st.integers(0, 10**6).map(lambda ms: f"{ms // 1000}.{ms % 1000:03}"),
    "content_length": st.sampled_from(["-", "", "0", "12345", "x"]),
    "http_x_request_start": st.sampled_from(["-", "", "t=1500000000.5", "t=99", "1800000000000", "soon"]),
    "http_traceparent": st.sampled_from(
        ["-", "", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
         "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "?"]
    ),
    "request_id": st.sampled_from(["0af7651916cd43dd8448eb211c80319c", "-", "0" * 32, "B" * 32]),
    "upstream_addr": st.sampled_from(["-", "127.0.0.1:80, unix:/run/x.sock : [::1]:80"]),
    "sent_http_grpc_status": st.sampled_from(["-", "", "0", "16"]),
    "sent_trailer_grpc_status": st.sampled_from(["-", "5"]),
}  # fmt: skip


@given(
    st.sampled_from([name for name in NGINX.FORMATS if name not in ("ingress", "tracekit_json")]), st.data()
)
def test_the_plain_path_tells_what_the_careful_one_tells(name: str, data: st.DataObject) -> None:
    def value(match: "re.Match[str]") -> str:
        drawn: str = data.draw(VALUES.get(match[1], st.just("-")), label=match[1])
        return drawn

    lines = [re.sub(r"\$(\w+)", value, NGINX.FORMATS[name].text) for _ in range(3)]
    log = "".join(line + "\n" for line in lines).encode()
    plain, careful = adapt(log), adapt(log, is_careful=True)
    assert plain == careful
    for row in plain[0]:
        if row["rt_ms"] is not None:
            assert row["rt_ms"] == row["queue_time_ms"] + row["service_time_ms"] >= 0


@given(st.binary(max_size=300).map(lambda line: line.replace(b"\n", b"")))
def test_a_line_that_is_no_request_is_rejected_and_never_a_record(line: bytes) -> None:
    records, rejects = adapt(line + b"\n")
    assert (len(records), len(rejects)) == (0, 1)


@given(st.data())
def test_a_good_line_with_a_byte_changed_is_one_record_or_one_reject(data: st.DataObject) -> None:
    line = bytearray(
        b'10.0.0.1 - - [31/Dec/2025:17:37:40 +0100] "GET /a HTTP/1.1" 200 5 "-" "-" "-" 1767199060.500 0.250'
    )
    line[data.draw(st.integers(0, len(line) - 1))] = data.draw(
        st.integers(0, 255).filter(lambda byte: byte != 10)
    )
    records, rejects = adapt(bytes(line) + b"\n")
    assert len(records) + len(rejects) == 1
    for row in records:
        assert row["rt_ms"] is None or row["rt_ms"] >= 0


@pytest.mark.parametrize(
    ("log_format", "line"),
    [
        ("$msec|$request_time|$status|$request", "1767199060.500|0.250|200|GET /a HTTP/1.1"),
        (
            "${status} $time_iso8601 $request_time $request_method $request_uri",
            "200 2025-12-31T17:37:40+01:00 0.250 GET /a",
        ),
        (
            "log_format x '$status $msec ' '$request_time \"$request\"';",
            '200 1767199060.500 0.250 "GET /a HTTP/1.1"',
        ),
        (
            'escape=json {"t":$msec,"urt":$upstream_response_time,"rt":$request_time,'
            '"r":"$request","status":$status}',
            '{"t":1767199060.500,"urt":,"rt":0.250,"r":"GET /a HTTP/1.1","status":200}',
        ),
        (
            'escape=json {"ts_end":"$msec","rt_ms":"$request_time","method":"$request_method","path":"$uri",'
            '"status":"$status","r":"$request"}',
            '{"ts_end":"1767199060.500","rt_ms":"0.250","method":"GET","path":"/a",'
            '"status":"200","r":"GET /z HTTP/1.1"}',
        ),
    ],
)
def test_ones_own_format_is_understood(log_format: str, line: str) -> None:
    (row,), rejects = adapt(line.encode() + b"\n", log_format)
    end_ms = END_MS if "iso8601" not in log_format else END_MS - 500
    assert rejects == []
    assert (row["ts_end"], row["rt_ms"], row["ts_start"]) == (end_ms, 250, end_ms - 250)
    assert (row["method"], row["path"], row["status"], row["bytes_in"]) == ("GET", "/a", 200, 0)


def test_a_key_with_the_name_of_a_field_is_that_field() -> None:
    form = (
        'escape=json {"msec":"$msec","request_time":"$request_time","request":"$request","node":"edge9",'
        '"module_id":"$host","task_id":"$http_x_task","cpu_time_ms":"$sent_http_x_cpu","trace_id":"$http_x_b3_traceid"}'
    )
    line = (
        '{"msec":"1767199060.500","request_time":"0.250","request":"GET /a HTTP/1.1","node":"edge9",'
        '"module_id":"shop","task_id":"a\\"b","cpu_time_ms":"1.5","trace_id":"463AC35C9F6413AD"}'
    )
    ((row,), _) = adapt(line.encode() + b"\n", form)
    assert (row["node"], row["module_id"], row["task_id"], row["cpu_time_ms"]) == (
        "edge9",
        "shop",
        'a"b',
        1.5,
    )
    assert row["trace_id"] == "0000000000000000463ac35c9f6413ad"


@pytest.mark.parametrize(
    ("header", "queue_ms"),
    [
        ("t=1767199060.000", 250),
        ("1767199060000", 250),
        ("t=1767199060000000", 250),
        ("t=1767199061", None),
        ("1", None),
    ],
)
def test_a_stamp_of_the_load_balancer_is_the_time_of_queueing(header: str, queue_ms: int | None) -> None:
    form = '$msec $request_time "$request" "$http_x_request_start" $status'
    ((row,), _) = adapt(f'1767199060.500 0.250 "GET /a HTTP/1.1" "{header}" 200\n'.encode(), form)
    assert row["queue_time_ms"] == (queue_ms or 0)
    assert row.get("queue_source") == ("x-request-start" if queue_ms else None)
    assert row["rt_ms"] == 250 + (queue_ms or 0)


def test_a_grpc_status_names_the_service() -> None:
    form = '$msec $request_time "$request" $status $sent_http_grpc_status $sent_trailer_grpc_status'
    ((row,), _) = adapt(b'1767199060.500 0.250 "POST /shop.Cart/Add HTTP/2.0" 200 - 5\n', form)
    assert (row["grpc_status"], row["module_id"], row["status"]) == (5, "shop.Cart", 200)


def test_formats_are_found_in_a_configuration_with_comments_quotes_and_includes(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text('log_format two escape=json \'{"a":"$msec"}\';')
    (tmp_path / "nginx.conf").write_text(
        "# log_format no '$x';\nhttp { include *.conf;\n  log_format  one '$status \"$request\" '\n"
        '   "\\"$msec;\\"" ; }'
    )
    found = NGINX._formats(tmp_path / "nginx.conf")
    assert found["one"].text == '$status "$request" "$msec;"'
    assert (found["two"].text, found["two"].escape) == ('{"a":"$msec"}', "json")
    assert "no" not in found
    assert formats_in(words_of("")) == {}
    assert literal("escape=none $status").escape == "none"


@pytest.mark.parametrize("name", ["tracekit", "tracekit_json"])
def test_the_formats_on_the_page_are_those_that_are_known(name: str) -> None:
    page = (ROOT / "docs" / "adapters.md").read_text()
    assert formats_in(words_of("\n".join(page.split("```")[1::2])))[name] == NGINX.FORMATS[name]
