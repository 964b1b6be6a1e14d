"""Servers on loopback for the adapters' tests."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


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


def log_lines(path: Path, count: int) -> None:
    """Wait until the log has so many lines."""
    wait_for(
        lambda: path.exists() and path.read_bytes().count(b"\n") >= count, f"{count} lines in {path.name}"
    )
