"""What vegeta shall send: one JSON target a line, each with its own traceparent.

vegeta's seq is no line number under load, and a request that fails has no response headers. So the ids
stand in the URL's fragment too: that is never sent, and comes back with each result.
Source: vegeta README, JSON format; RFC 9110, 4.2.5.
"""

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

KEYS = 32  # of the store, that kvset sets and kvget asks for
_BLOB_BYTES = 16 << 10
_KINDS = ("json", "gzip", "gunzip", "hash", "kvset", "kvget")
MIXES = {
    "json": ("json",),
    "gzip": ("gzip", "gunzip"),
    "hash": ("hash",),
    "kvset": ("kvset",),
    "kvget": ("kvget",),
    "all": _KINDS,
}


class Ask(NamedTuple):
    """A request but for its ids."""

    method: str
    path: str
    body: bytes = b""

    @property
    def name(self) -> str:
        """The path without a key, as it is counted."""
        return "/".join(self.path.split("/")[:3])


def blob() -> bytes:
    """16 KiB that compress to about a half: the same on every machine."""
    words = [hashlib.sha256(b"%d" % number).hexdigest().encode() for number in range(_BLOB_BYTES // 64)]
    return b"".join(words)


def document() -> bytes:
    """A JSON document of some kB: an order with a hundred lines."""
    lines = [{"sku": f"A-{number:05d}", "count": number % 7, "price": number * 1.25} for number in range(100)]
    return json.dumps({"order": 4711, "customer": "Zoë", "lines": lines}).encode()


def asks_of(kind: str, number: int) -> Ask:
    """The number-th request of a kind."""
    key = f"key-{number % KEYS}"
    return {
        "json": Ask("POST", "/json/validate", _DOCUMENT),
        "gzip": Ask("POST", "/blob/gzip", _BLOB),
        "gunzip": Ask("POST", "/blob/gunzip", _GZIPPED),
        "hash": Ask("POST", "/hash/sha256", _BLOB),
        "kvset": Ask("POST", f"/kv/set/{key}", _VALUE),
        "kvget": Ask("GET", f"/kv/get/{key}"),
    }[kind]


_DOCUMENT = document()
_BLOB = blob()
_GZIPPED = gzip.compress(_BLOB, mtime=0)
_VALUE = _BLOB[:1024]


def target_lines(base: str, kinds: tuple[str, ...]) -> Iterator[bytes]:
    """Targets without end: the kinds in turn, each with a new trace and span."""
    bodies: dict[bytes, str] = {}
    for number in count():
        ask = asks_of(kinds[number % len(kinds)], number // len(kinds))
        body = bodies.get(ask.body) or bodies.setdefault(ask.body, base64.b64encode(ask.body).decode())
        ids = os.urandom(24).hex()
        trace_id, span_id = ids[:32], ids[32:]
        yield (
            f'{{"method":"{ask.method}","url":"{base}{ask.path}#{trace_id}-{span_id}","body":"{body}",'
            f'"header":{{"traceparent":["00-{trace_id}-{span_id}-01"]}}}}\n'
        ).encode()
