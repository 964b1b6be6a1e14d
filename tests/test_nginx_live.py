"""The nginx adapter against a real nginx on loopback, and clients that know their own times."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from clients import Request, Server, Truth, assert_times, by_name, get, traffic, usual_requests
from conftest import ROOT, Checkout, need
from loopback import answers, backend, free_port, log_lines, wait_for

PAGE = (ROOT / "docs" / "adapters.md").read_text()
FORMATS = "\n".join(
    block.removeprefix("nginx") for block in PAGE.split("```")[1::2] if block.startswith("nginx")
)
LOGS = {"text": "tracekit", "json": "tracekit_json", "plain": "combined"}
HEAD = """
{user}daemon off; worker_processes 1; error_log {dir}/error.log; pid {dir}/pid;
events {{ worker_connections 64; }}
http {{
  {formats}
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; client_header_timeout 1s;
"""
CONF = (
    HEAD
    + """
  upstream two {{ server 127.0.0.1:{dead}; server 127.0.0.1:{port}; }}
  server {{
    listen 127.0.0.1:{listen};
    access_log {dir}/text.log tracekit; access_log {dir}/json.log tracekit_json;
    access_log {dir}/plain.log combined;
    location / {{ proxy_pass http://127.0.0.1:{port}; }}
    location /retried {{ proxy_pass http://two; proxy_next_upstream error timeout; }}
    location /late {{ proxy_pass http://127.0.0.1:{port}; proxy_read_timeout 100ms; }}
    location /static {{ return 200 "hello"; }}
    location /closed {{ return 444; }}
  }}
}}
"""
)


class Nginx(NamedTuple):
    """What an nginx wrote of what its clients know."""

    folder: Path
    truths: dict[str, Truth]


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    need(shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"), "nginx (package nginx-light)")
    folder = tmp_path_factory.mktemp("nginx")
    listen = free_port()
    with backend() as port:
        user = "user root; " if os.geteuid() == 0 else ""  # who may write here
        conf = CONF.format(user=user, dir=folder, formats=FORMATS, port=port, dead=free_port(), listen=listen)
        (folder / "nginx.conf").write_text(conf)
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
        process = subprocess.Popen([program, "-p", folder, "-c", folder / "nginx.conf"])
        try:
            wait_for(lambda: answers(listen), "nginx listens")
            requests = usual_requests(20) | {
                "retried": Request([get("/retried?ms=20")]),
                "late": Request([get("/late?ms=400")]),
                "static": Request([get("/static")]),
                "closed": Request([get("/closed")]),
                "old": Request([b"GET /old\r\n"]),
            }
            server = Server(process.pid)
            truths = traffic(listen, requests, server)
            no_requests = {"tls": Request([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"])}
            traffic(listen, no_requests, server)
            log_lines(folder / "text.log", len(requests) + 1)
        finally:
            process.terminate()
            process.wait()
    yield Nginx(folder, truths)


def adapted(checkout: Checkout, nginx: Nginx, log: str, code: int = 3) -> list[dict[str, Any]]:
    words = [f"SOURCE=nginx TAG={log} RUN_ID=live NODE_ID=n1".split(), f"IN={nginx.folder}/{log}.log"]
    if log == "json":
        words.append([f"NGINX_CONF={nginx.folder}/nginx.conf", "LOG_FORMAT=tracekit_json"])
    flat = [word for part in words for word in ([part] if isinstance(part, str) else part)]
    done = checkout.make("adapt", *flat)
    assert f"(exit {code})" in done.stderr or f"exit {code}:" in done.stderr, done.stderr
    file = checkout.logs("live") / f"invocations.nginx-{log}.jsonl"
    return [json.loads(line) for line in file.read_bytes().splitlines()]


@pytest.mark.parametrize("log", ["text", "json"])
def test_every_request_is_there_once_at_the_time_of_its_client(
    checkout: Checkout, nginx: Nginx, log: str
) -> None:
    rows = by_name(adapted(checkout, nginx, log))
    assert_times(rows, nginx.truths)
    assert sum(map(len, rows.values())) == len(nginx.truths)


@pytest.mark.parametrize("log", ["text", "json"])
def test_what_the_clients_sent_and_got_is_in_the_records(checkout: Checkout, nginx: Nginx, log: str) -> None:
    rows = {name: found[0] for name, found in by_name(adapted(checkout, nginx, log)).items()}
    assert (rows["upload"]["method"], rows["upload"]["bytes_in"], rows["upload"]["bytes_out"]) == (
        "POST",
        1000,
        2,
    )
    assert (rows["head"]["bytes_in"], rows["head"]["bytes_out"]) == (0, 0)
    assert rows["delete"]["bytes_in"] == 0
    assert [rows[name]["status"] for name in ("gone", "late", "closed", "failing", "retried", "old")] == [
        499,
        504,
        444,
        503,
        200,
        200,
    ]
    assert rows["plain7"]["query"] == "bytes=70" and rows["plain7"]["bytes_out"] == 70
    assert rows["quote"]["path"] == '/quote"q"\\x/\u00c3\u00a9'
    assert rows["traced"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert rows["traced"]["parent_id"] == "00f067aa0ba902b7"
    assert rows["zerotrace"]["parent_id"] is None
    assert len({row["span_id"] for row in rows.values()}) == len(rows)
    for row in rows.values():
        assert row["queue_time_ms"] == 0
        assert row["rt_ms"] == row["service_time_ms"] >= 0


def test_both_formats_tell_the_same(checkout: Checkout, nginx: Nginx) -> None:
    assert adapted(checkout, nginx, "text") == adapted(checkout, nginx, "json")


def test_combined_knows_the_end_and_no_start(checkout: Checkout, nginx: Nginx) -> None:
    rows = by_name(adapted(checkout, nginx, "plain"))
    assert {name: len(rows[name]) for name in nginx.truths} == dict.fromkeys(nginx.truths, 1)
    for name, truth in nginx.truths.items():
        row = rows[name][0]
        assert [
            row[key] for key in ("ts_enqueue", "ts_start", "queue_time_ms", "service_time_ms", "rt_ms")
        ] == [None] * 5
        assert row["ts_end"] - truth.end[0] >= -1000 - 5 - truth.held_up_ms
        assert row["ts_end"] - truth.end[1] <= 5 + truth.held_up_ms
