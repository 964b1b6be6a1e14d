"""What every HTTP source has in common: the request line, body sizes, the stamp of a load balancer, gRPC."""

import re
from typing import Any

from tracekit.adapt.account import NotTakenError

BODILESS = frozenset({"GET", "HEAD", "DELETE"})  # without a content length they have no body
_REQUEST = re.compile(r"([A-Za-z][A-Za-z_-]{0,63}) (\S.*?)(?: HTTP/\d+(?:\.\d+)?)?", re.DOTALL)
_GRPC_PATH = re.compile(r"/([\w.]+)/\w+")
_SINCE = re.compile(r"(?:t=)?(\d{10,19})(?:\.(\d{1,6}))?")


def request(line: str) -> dict[str, Any]:
    """method, path and query of "GET /a?b HTTP/1.1", also of HTTP/0.9 and of a target with blanks in it.

    Raises NotTakenError where that is no request: nothing, or TLS on a plain port."""
    match = _REQUEST.fullmatch(line)
    if match is None or (" " in match[2] and " HTTP/" not in line):
        raise NotTakenError("request", f"{line[:60]!a} is no request")
    return {"method": match[1], **target(match[2])}


def target(uri: str) -> dict[str, Any]:
    """path and query of a request's target; query is None where there is no "?"."""
    path, mark, query = uri.partition("?")
    return {"path": path, "query": query if mark else None}


def size(text: str | None) -> int | None:
    """A count of bytes; None where the source has none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def body_in(method: str | None, length: str | None) -> int | None:
    """Body bytes received, by content length: without one, 0 for GET, HEAD and DELETE, and else not known."""
    known = size(length)
    return 0 if known is None and method in BODILESS else known


def grpc_module(path: str) -> str | None:
    """The service of a gRPC path, /package.Service/Method."""
    match = _GRPC_PATH.fullmatch(path)
    return match[1] if match else None


def enqueued_us(header: str | None, start_us: int) -> int | None:
    """us since the epoch by X-Request-Start ("t=" or not; s, ms or us, told by size).

    None where there is none, or it is after the start: then the clock of its writer is not ours."""
    match = _SINCE.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    digits = match[1]
    unit = 10 ** max(16 - len(digits), 0) if len(digits) in (10, 13, 16) else 0
    fraction = int((match[2] or "0").ljust(6, "0")) * unit // 10**6
    stamp_us = int(digits) * unit + fraction
    return stamp_us if 0 < stamp_us <= start_us else None
