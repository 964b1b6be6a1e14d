"""Clients on loopback for the adapters' tests, which know their own times."""

import re
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from loopback import wait_for

NEAR_MS = 5
SO_TIMESTAMPNS = 35  # socket(7); Python has no name for it. With it the kernel tells when data came


@dataclass
class Request:
    """What a client sends, in parts with a pause before each but the first; patience_s: then it goes away."""

    parts: Sequence[bytes]
    pause_s: float = 0.0
    patience_s: float | None = None


class Truth(NamedTuple):
    """What a client knows of its request: ms since the epoch, each between the earliest and the latest.

    start: the first byte was sent. end: the last one came, as the kernel stamped it, or the client left.
    held_up_ms: so long the server, though it had something to do, waited for a CPU meanwhile."""

    start: tuple[float, float]
    end: tuple[float, float]
    status: int | None
    held_up_ms: float

    def is_true(self, start_ms: float, end_ms: float) -> bool:
        """Whether a server that is 5 ms late at most, beside what it was held up, may say so."""
        near_ms = NEAR_MS + self.held_up_ms
        said = ((start_ms, self.start), (end_ms, self.end))
        return all(first - near_ms <= stamp <= last + near_ms for stamp, (first, last) in said)


def get(path: str, *headers: bytes, method: str = "GET", body: bytes = b"") -> bytes:
    """A request of HTTP/1.1 that closes its connection."""
    head = [f"{method} {path} HTTP/1.1".encode(), b"Host: test", b"Connection: close", *headers]
    if body:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, b"", b""]) + body


class Server:
    """A server's processes, as the kernel schedules them."""

    def __init__(self, pid: int) -> None:
        """pid: its first process, with one level of children."""
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._pids = [pid, *map(int, children)]
        self._waited_ns: dict[Path, int] = {}  # of each thread, also of those that have ended

    def held_up_ms(self) -> float:
        """How long its threads have waited for a CPU so far. Source: sched-stats.rst, schedstat of a task."""
        for pid in self._pids:
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with suppress(FileNotFoundError, ProcessLookupError):  # it ends just now
                    self._waited_ns[path] = int(path.read_text().split()[1])
        return sum(self._waited_ns.values()) / 1e6


def send(port: int, request: Request, server: Server) -> Truth:
    """Send it, read the answer to its end."""
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        connection.connect(("127.0.0.1", port))
        held_up_ms = server.held_up_ms()
        before_ms = time.time() * 1000
        connection.sendall(request.parts[0])
        start = (before_ms, time.time() * 1000)
        for part in request.parts[1:]:
            time.sleep(request.pause_s)
            connection.sendall(part)
        received, end = _answer(connection, request.patience_s, start[0])
        held_up_ms = server.held_up_ms() - held_up_ms
    status = re.match(rb"HTTP/[\d.]+ (\d+)", received)
    return Truth(start, end, int(status[1]) if status else None, held_up_ms)


def _answer(
    connection: socket.socket, patience_s: float | None, sent_ms: float
) -> tuple[bytes, tuple[float, float]]:
    """The answer, and when its last byte came; without one, when the connection was closed."""
    connection.settimeout(patience_s or 20)
    received, last_ms, left = b"", 0.0, None
    while True:
        try:
            data, told, _, _ = connection.recvmsg(65536, 64)
        except TimeoutError:
            before_ms = time.time() * 1000
            connection.shutdown(socket.SHUT_WR)  # for the server that is a client who has left
            left = (before_ms, time.time() * 1000)
            continue
        except ConnectionResetError:
            data = b""
        if not data:
            came = (last_ms, last_ms) if received else (sent_ms, time.time() * 1000)
            return received, left or came
        received += data
        seconds, ns = struct.unpack("qq", told[0][2])
        last_ms = seconds * 1000 + ns / 1e6


@contextmanager
def _stamping() -> Iterator[None]:
    """The kernel stamps what comes while any socket wants that, and begins a moment after the first does."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        one.connect(listener.getsockname())
        with listener.accept()[0] as other:
            wait_for(lambda: other.send(b"x") and one.recvmsg(1, 64)[1], "the kernel stamps what comes")
            yield


def traffic(port: int, requests: dict[str, Request], server: Server) -> dict[str, Truth]:
    """All of them, a few at a time."""
    with _stamping(), ThreadPoolExecutor(4) as clients:
        truths = clients.map(lambda request: send(port, request, server), requests.values())
        return dict(zip(requests, truths, strict=True))


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


def assert_times(rows: dict[str, list[dict[str, Any]]], truths: dict[str, Truth]) -> None:
    """Each request is there once, and its stamps are the client's."""
    assert {name: len(rows.get(name, [])) for name in truths} == dict.fromkeys(truths, 1)
    said = {name: (rows[name][0]["ts_start"], rows[name][0]["ts_end"]) for name in truths}
    assert {
        name: (said[name], truth) for name, truth in truths.items() if not truth.is_true(*said[name])
    } == {}
