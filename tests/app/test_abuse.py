"""What a hostile client may try: each is answered with 4xx and a sentence, and nobody else suffers."""

import gzip
import http.client
import re
import select
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from conftest import Checkout
from services import events, peak_kb, processes_of, serving

KB_64_MIB = 64 << 10


@pytest.fixture(scope="module")
def base(checkout: Checkout) -> Iterator[str]:
    with serving(checkout, "abuse") as url:
        yield url


def address(base: str) -> tuple[str, int]:
    return "127.0.0.1", int(base.rpartition(":")[2])


def raw(base: str, head: bytes, body: bytes = b"") -> bytes:
    """What comes back for these bytes, up to the end of the connection."""
    with socket.create_connection(address(base), timeout=10) as connection:
        connection.sendall(head + b"Host: svc\r\nConnection: close\r\n\r\n" + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/work?cpu_ms=1000000000", 400),
        ("GET", "/work?cpu_ms=abc", 400),
        ("GET", "/work?cpu_ms=-5", 400),
        ("GET", "/work?cpu_ms=1e3", 400),
        ("GET", "/work?cpu_ms=%D9%A3", 400),
        ("GET", "/work?resp_kb=1000000000000", 400),
        ("POST", "/kv/set/" + "k" * 50_000, 400),
        ("POST", "/kv/set/%00", 400),
        ("POST", "/kv/set/..%2fetc%2fpasswd", 400),
        ("POST", "/kv/set/a%20b", 400),
        ("GET", "/kv/get/never-set", 404),
        ("GET", "/kv/set/a", 405),
        ("GET", "/openapi.json", 404),
    ],
)
def test_a_bad_request_is_4xx_and_a_sentence(base: str, method: str, target: str, status: int) -> None:
    answer = httpx.request(method, f"{base}{target}")
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)


def test_a_head_that_comes_in_pieces_is_taken_as_one(base: str) -> None:
    target = b"/kv/set/" + b"k" * 50_000
    with socket.create_connection(address(base), timeout=10) as connection:
        connection.sendall(b"POST " + target[:40_000])
        time.sleep(0.3)  # for the service to read what there is
        connection.sendall(target[40_000:] + b" HTTP/1.1\r\nHost: svc\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"a key is 1 to 128 letters" in answer


def test_a_head_of_more_than_64_kib_is_400(base: str) -> None:
    # Not one byte more: what the service had not read when it closed would reset the connection.
    with socket.create_connection(address(base), timeout=10) as connection:
        connection.sendall((b"GET /" + b"k" * (64 << 10))[: (64 << 10) + 1])
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/json/validate", b"{"),
        ("/json/validate", b"[" * 100_000),
        ("/json/validate", b"\xff\xfe\x00"),
        ("/blob/gunzip", b"no gzip at all"),
        ("/blob/gunzip", gzip.compress(b"cut off")[:-6]),
    ],
)
def test_a_bad_body_is_400_and_a_sentence(base: str, path: str, body: bytes) -> None:
    answer = httpx.post(f"{base}{path}", content=body)
    assert answer.status_code == 400
    assert "the body is" in answer.json()["detail"]


@pytest.mark.parametrize("given", [b'a"b', b"a\x01b", b"a" * 60_000, "€".encode(), b"", b"a b", b"\xff" * 40])
def test_an_id_that_is_none_is_replaced(checkout: Checkout, base: str, given: bytes) -> None:
    answer = raw(base, b"GET /work HTTP/1.1\r\nX-Trace-Id: " + given + b"\r\n")
    status = int(answer.split()[1])
    assert status == 200 or 400 <= status < 500
    if status == 200:
        found = re.search(rb"\r\nx-trace-id: (.*)\r\n", answer)
        assert found
        assert re.fullmatch(rb"[0-9a-f]{32}", found[1])


def test_no_line_of_the_events_is_longer_than_4_kb(checkout: Checkout, base: str) -> None:
    httpx.get(f"{base}/{'%22' * 5_000}", params={"trace_id": "\r\n" * 3000})
    for path in checkout.logs("abuse").glob("events.*.jsonl"):
        assert all(len(line) < 4096 for line in path.read_bytes().splitlines())
    assert events(checkout.logs("abuse"))[-1]["status"] in (400, 404)


def chunked_gigabyte(base: str) -> int:
    """Bytes of a 1 GB body without a length that were sent before the answer came; it must be 413."""
    sent = 0
    with socket.create_connection(address(base), timeout=10) as connection:
        connection.sendall(b"POST /blob/gzip HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n")
        while sent < 1 << 30 and not select.select([connection], [], [], 0)[0]:
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    return sent


def test_bombs_and_slow_bodies_cost_others_nothing_and_little_memory(base: str) -> None:
    (pid,) = processes_of("abuse")
    before_kb = peak_kb(pid)
    ended, slowest_ms = threading.Event(), [0.0]

    def innocent() -> None:
        with httpx.Client(base_url=base) as client:
            while not ended.is_set():
                began = time.monotonic()
                assert client.post("/json/validate", content=b"[1,2,3]").status_code == 200
                slowest_ms.append((time.monotonic() - began) * 1000)
                time.sleep(0.01)

    other = threading.Thread(target=innocent)
    other.start()
    try:
        slow = http.client.HTTPConnection(*address(base))
        slow.putrequest("POST", "/hash/sha256")
        slow.putheader("Content-Length", "100000")
        slow.endheaders(b"x")  # and no more of it
        bomb = gzip.compress(bytes(300_000_000), compresslevel=9)
        for _ in range(3):
            assert httpx.post(f"{base}/blob/gunzip", content=bomb).status_code == 413
        told = raw(base, b"POST /blob/gzip HTTP/1.1\r\nContent-Length: 1000000000\r\n")
        assert told.startswith(b"HTTP/1.1 413 ")
        assert chunked_gigabyte(base) < 100 << 20
        assert httpx.get(f"{base}/work", params={"cpu_ms": 500}).status_code == 200
    finally:
        ended.set()
        other.join()
        slow.close()
    assert len(slowest_ms) > 20
    assert sorted(slowest_ms)[len(slowest_ms) // 2] < 100, slowest_ms
    assert peak_kb(pid) - before_kb < KB_64_MIB
