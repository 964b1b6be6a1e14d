"""What one client may ask for. Every bound is answered with 4xx and a sentence."""

import re
import zlib

import anyio
from fastapi import HTTPException, Request

MAX_HEAD_BYTES = 64 << 10  # request line and headers; app/serve.py tells the server
MAX_BODY_BYTES = 1 << 20
MAX_INFLATED_BYTES = 8 << 20
MAX_VALUE_BYTES = 64 << 10
MAX_CPU_MS = 10_000
MAX_RESP_KB = 1024
BODY_S = 30.0  # a whole body must have come by then

_KEY = re.compile(r"[A-Za-z0-9._-]{1,128}")


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. 413 as soon as it is told or seen to be larger than limit, 408 where it is too slow."""
    told = request.headers.get("content-length", "0")
    if told.isdecimal() and int(told) > limit:
        raise HTTPException(413, f"the body has {told} bytes; at most {limit} are taken")
    try:
        with anyio.fail_after(BODY_S):
            return await _collect(request, limit)
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {BODY_S:.0f} s") from None


async def _collect(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise HTTPException(413, f"the body has more than {limit} bytes")
    return bytes(body)


def checked_key(key: str) -> str:
    """A key of the store, or 400."""
    if not _KEY.fullmatch(key):
        raise HTTPException(400, "a key is 1 to 128 letters, digits, '.', '_' or '-'")
    return key


def checked_number(name: str, text: str, most: int) -> int:
    """A whole number from 0 to most, or 400."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
        raise HTTPException(400, f"{name} must be a whole number from 0 to {most}")
    return int(text)


def inflate(data: bytes) -> bytes:
    """The content of a gzip file, all members. 413 above MAX_INFLATED_BYTES, 400 where it is no gzip."""
    out = bytearray()
    while data:
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            out += member.decompress(data, MAX_INFLATED_BYTES + 1 - len(out))
        except zlib.error as error:
            raise HTTPException(400, f"the body is no gzip file: {error}") from error
        if len(out) > MAX_INFLATED_BYTES:
            raise HTTPException(413, f"the body holds more than {MAX_INFLATED_BYTES} bytes")
        if not member.eof:
            raise HTTPException(400, "the body is no whole gzip file: its end is missing")
        data = member.unused_data.lstrip(b"\0")  # padding is allowed
    return bytes(out)
