"""The reference service: real work over HTTP, traced by app/tracing.py.

Each request is served here and then passed on to the next hop, where DEFAULT_NEXT_URL names one; the
client gets this hop's answer when all have done their work. Nothing here asks for itself: there is no
health check and no probe. Environment: DEFAULT_NEXT_URL, KV_PATH (the store that all workers share; without
it each worker has one of its own, which ends with it), and what app/tracing.py takes.
"""

import gzip
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from anyio import to_thread
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from app import limits
from app.kv import BusyError, FullError, Store
from app.relay import Relay
from app.tracing import Tracing

_SMALL_BYTES = 16 << 10  # less work than this is done at once: a thread would cost more
_BURNERS = 4  # threads of /work at once; more would only fight for the interpreter with everybody else


@asynccontextmanager
async def _lifespan(api: FastAPI) -> AsyncIterator[None]:
    with TemporaryDirectory(prefix="svc-") as folder:
        api.state.store = Store(Path(os.environ.get("KV_PATH") or f"{folder}/kv.sqlite"))
        api.state.relay = Relay(os.environ.get("DEFAULT_NEXT_URL", ""))
        api.state.burners = anyio.CapacityLimiter(_BURNERS)
        yield
        await api.state.relay.close()


api = FastAPI(title="Tracekit reference service", lifespan=_lifespan, openapi_url=None)
app = Tracing(api)


async def _worked(function: Any, data: bytes) -> Any:
    """function(data), in a thread where that is worth it."""
    return function(data) if len(data) < _SMALL_BYTES else await run_in_threadpool(function, data)


async def _pass_on(request: Request, answer: Response, target: str, body: bytes = b"") -> Response:
    passed: Response = await request.app.state.relay.pass_on(answer, request.method, target, body)
    return passed


@api.post("/json/validate")
async def validate_json(request: Request) -> Response:
    """Whether the body is JSON: {"valid": true, "type", "bytes"}, else 400 and where it is not."""
    body = await limits.read_body(request)
    try:
        value = await _worked(json.loads, body)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise HTTPException(400, f"the body is not JSON: {reason}") from error
    answer = JSONResponse({"valid": True, "type": type(value).__name__, "bytes": len(body)})
    return await _pass_on(request, answer, "/json/validate", body)


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=6, mtime=0)


@api.post("/blob/gzip")
async def compress(request: Request) -> Response:
    """The body, compressed."""
    body = await limits.read_body(request)
    answer = Response(await _worked(_gzip, body), media_type="application/gzip")
    return await _pass_on(request, answer, "/blob/gzip", body)


@api.post("/blob/gunzip")
async def decompress(request: Request) -> Response:
    """The body, decompressed."""
    body = await limits.read_body(request)
    # A small body may hold much: always in a thread.
    answer = Response(await run_in_threadpool(limits.inflate, body), media_type="application/octet-stream")
    return await _pass_on(request, answer, "/blob/gunzip", body)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@api.post("/hash/sha256")
async def sha256(request: Request) -> Response:
    """{"sha256", "bytes"} of the body."""
    body = await limits.read_body(request)
    answer = JSONResponse({"sha256": await _worked(_sha256, body), "bytes": len(body)})
    return await _pass_on(request, answer, "/hash/sha256", body)


@api.post("/kv/set/{key:path}")
async def set_value(request: Request, key: str) -> Response:
    """Keep the body under key."""
    key = limits.checked_key(key)
    body = await limits.read_body(request, limits.MAX_VALUE_BYTES)
    try:
        await run_in_threadpool(request.app.state.store.put, key, body)
    except FullError as error:
        raise HTTPException(507, f"the store takes no more: {error}") from error
    except BusyError as error:
        raise HTTPException(503, f"the store is busy: {error}", {"Retry-After": "1"}) from error
    answer = JSONResponse({"key": key, "bytes": len(body)})
    return await _pass_on(request, answer, f"/kv/set/{key}", body)


@api.get("/kv/get/{key:path}")
async def get_value(request: Request, key: str) -> Response:
    """What was set under key, or 404."""
    key = limits.checked_key(key)
    value = request.app.state.store.get(key)  # reading waits for no writer: a thread would cost more
    if value is None:
        raise HTTPException(404, f"no value under {key}")
    return await _pass_on(request, Response(value, media_type="application/octet-stream"), f"/kv/get/{key}")


def _burn(cpu_ms: int) -> None:
    until_ns = time.thread_time_ns() + cpu_ms * 10**6
    while time.thread_time_ns() < until_ns:
        pass


@api.api_route("/work", methods=["GET", "POST"])
async def work(request: Request, cpu_ms: str = "0", resp_kb: str = "0") -> Response:
    """Use cpu_ms of CPU and answer resp_kb * 1024 bytes. For checks by hand; no load target uses it."""
    burnt = limits.checked_number("cpu_ms", cpu_ms, limits.MAX_CPU_MS)
    sent = limits.checked_number("resp_kb", resp_kb, limits.MAX_RESP_KB)
    if burnt:
        await to_thread.run_sync(_burn, burnt, limiter=request.app.state.burners)
    answer = StreamingResponse(_stream(sent), media_type="application/octet-stream")
    return await _pass_on(request, answer, f"/work?cpu_ms={burnt}&resp_kb={sent}")


async def _stream(resp_kb: int) -> AsyncIterator[bytes]:
    for _ in range(resp_kb):
        yield b"x" * 1024
