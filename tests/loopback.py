"""Servers and clients on loopback for the adapters' tests; clients that know their own times."""

import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Any, what: str, seconds: float = 20) -> Any:
    """What condition() returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = condition()
        except OSError:
            found = None
        if found:
            return found
        threading.Event().wait(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with closing(socket.create_connection(("127.0.0.1", port), 0.5)):
        return True


class _Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        told = dict(re.findall(r"([a-z]+)=(\d+)", self.path))
        time.sleep(int(told.get("ms", 0)) / 1000)
        if "die" in told:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = b"x" * int(told.get("bytes", 2))
        self.send_response(int(told.get("code", 200)))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _answer

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients go away: that is what is tested."""


@contextmanager
def backend() -> Iterator[int]:
    """The port of a server that does what the query says: ms=50 waits, bytes=9, code=503, die=1."""
    server = _Server(("127.0.0.1", 0), _Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Request:
    """What a client sends, in parts with a pause before each but the first; patience_s: then it goes away."""

    parts: Sequence[bytes]
    pause_s: float = 0.0
    patience_s: float | None = None


class Truth(NamedTuple):
    """ms since the epoch of the first byte sent, and of the last one received or of leaving."""

    start_ms: float
    end_ms: float
    status: int | None


def get(path: str, *headers: bytes, method: str = "GET", body: bytes = b"") -> bytes:
    """A request of HTTP/1.1 that closes its connection."""
    head = [f"{method} {path} HTTP/1.1".encode(), b"Host: test", b"Connection: close", *headers]
    if body:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, b"", b""]) + body


def send(port: int, request: Request) -> Truth:
    """Send it, read the answer to its end."""
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.time() * 1000
        for index, part in enumerate(request.parts):
            if index:
                time.sleep(request.pause_s)
            connection.sendall(part)
        connection.settimeout(request.patience_s or 20)
        received, ended = b"", began
        try:
            while data := connection.recv(65536):
                received += data
                ended = time.time() * 1000
        except TimeoutError:
            ended = time.time() * 1000
        except ConnectionResetError:
            ended = time.time() * 1000
    status = re.match(rb"HTTP/[\d.]+ (\d+)", received)
    return Truth(began, ended, int(status[1]) if status else None)


def traffic(port: int, requests: dict[str, Request]) -> dict[str, Truth]:
    """All of them, a few at a time."""
    truths: dict[str, Truth] = {}
    waiting = list(requests.items())
    lock = threading.Lock()

    def client() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                name, request = waiting.pop()
            truths[name] = send(port, request)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return truths


def usual_requests(count: int) -> dict[str, Request]:
    """Requests of every kind, by the name that stands first in their path."""
    found: dict[str, Request] = {}
    for index in range(count):
        name = f"plain{index}"
        found[name] = Request([get(f"/{name}?bytes={index * 10}")])
    upload = get("/upload", method="POST", body=b"y" * 1000)
    head = get("/slowhead?ms=10")
    found |= {
        "slowhead": Request([head[:20], head[20:]], pause_s=0.25),
        "upload": Request([upload[:-500], upload[-500:]], pause_s=0.2),
        "slow": Request([get("/slow?ms=120")]),
        "gone": Request([get("/gone?ms=900")], patience_s=0.2),
        "failing": Request([get("/failing?code=503")]),
        "head": Request([get("/head?bytes=100", method="HEAD")]),
        "delete": Request([get("/delete", method="DELETE")]),
        "agent": Request([get("/agent", b'User-Agent: a "b" \\ \xff\xfe \xc3\xa9')]),
        "quote": Request([get('/quote"q"\\x/\xc3\xa9')]),
        "traced": Request(
            [get("/traced", b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
        ),
        "zerotrace": Request([get("/zerotrace", b"traceparent: 00-" + b"0" * 32 + b"-00f067aa0ba902b7-01")]),
    }
    return found


def by_name(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Invocations by the first component of their path."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name = re.match(r"/(\w+)", row["path"] or "")
        found.setdefault(name[1] if name else "", []).append(row)
    return found


def assert_times(rows: dict[str, list[dict[str, Any]]], truths: dict[str, Truth], near_ms: float = 5) -> None:
    """Each request is there once, and its stamps are the client's; a busy machine may delay one of ten."""
    assert {name: len(rows.get(name, [])) for name in truths} == dict.fromkeys(truths, 1)
    off = sorted(
        max(abs(rows[name][0]["ts_start"] - truth.start_ms), abs(rows[name][0]["ts_end"] - truth.end_ms))
        for name, truth in truths.items()
    )
    assert off[int(len(off) * 0.9)] <= near_ms, off
    assert off[-1] <= 20 * near_ms, off


def log_lines(path: Path, count: int) -> None:
    """Wait until the log has so many lines."""
    wait_for(
        lambda: path.exists() and path.read_bytes().count(b"\n") >= count, f"{count} lines in {path.name}"
    )
