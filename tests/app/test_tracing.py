"""The middleware in somebody else's app: what it writes, whatever the app and its clients do."""

import asyncio
import gc
import inspect
import json
import os
import re
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import BackgroundTasks, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from app import tracing
from app.tracing import Tracing, read_origin
from tracekit.records import Call, Invocation, PlacementEvent, SystemStat

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NOW_NS = 1_700_000_000_500_000_000
NS = 10**9


def burn(seconds: float) -> None:
    """Use so much CPU in this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def settings(folder: Path, **more: str) -> dict[str, str]:
    return {"TRACE_DIR": str(folder), "NODE_ID": "vm1", "STAGE": "edge", "INSTANCE_ID": "i", **more}


def ask(app: Any, *requests: tuple[Any, ...], at_once: bool = False) -> list[httpx.Response]:
    """The answers to (method, path, {what httpx takes more}), without a server."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://svc") as client:
            calls = [client.request(*one[:2], **(one[2] if len(one) > 2 else {})) for one in requests]
            return await asyncio.gather(*calls) if at_once else [await call for call in calls]

    return asyncio.run(run())


def rows(folder: Path, name: str, kind: Any) -> list[Any]:
    """The lines of the files of this name as our records; each line must be one."""
    lines = [line for path in sorted(folder.glob(name)) for line in path.read_bytes().splitlines()]
    return [msgspec.json.decode(line, type=kind) for line in lines]


def events(folder: Path) -> list[Invocation]:
    return rows(folder, "events.*.jsonl", Invocation)


def event_of(folder: Path, app: Any, *request: Any) -> Invocation:
    ask(app, request)
    (event,) = events(folder)
    return event


def make_app(folder: Path, *routes: Route, **more: str) -> Starlette:
    app = Starlette(routes=[*routes])
    app.add_middleware(Tracing, environ=settings(folder, **more))
    return app


async def hello(request: Request) -> Response:
    body = await request.body()
    return PlainTextResponse(f"hello {len(body)}")


HELLO = Route("/hello", hello, methods=["GET", "POST"])


# --- what is written


def test_a_request_is_one_event_of_the_format(tmp_path: Path) -> None:
    began_ms = time.time_ns() // 10**6
    answer = ask(make_app(tmp_path, HELLO), ("POST", "/hello?a=1&b=%20", {"content": b"12345"}))[0]
    ended_ms = time.time_ns() // 10**6
    (path,) = tmp_path.glob("events.*.jsonl")
    assert path.name == f"events.{os.getpid()}.jsonl"
    assert path.read_bytes().startswith(b'{"ts_enqueue":')
    (event,) = events(tmp_path)
    assert answer.text == "hello 5"
    assert (event.method, event.path, event.query, event.status) == ("POST", "/hello", "a=1&b=%20", 200)
    assert (event.bytes_in, event.bytes_out) == (5, 7)
    assert (event.node, event.stage, event.module_id, event.app_id) == ("vm1", "edge", "svc", "app")
    assert event.instance_id == f"i-{os.getpid()}"
    assert event.pid == os.getpid()
    stat = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
    assert event.starttime == int(stat[19])
    assert re.fullmatch("[0-9a-f]{32}", event.trace_id or "")
    assert re.fullmatch("[0-9a-f]{16}", event.span_id or "")
    assert event.parent_id is None
    assert event.ts_enqueue and event.ts_start and event.ts_end
    assert began_ms <= event.ts_enqueue == event.ts_start <= event.ts_end <= ended_ms
    assert (event.queue_time_ms, event.queue_source) == (0, None)
    assert event.service_time_ms is not None and event.rt_ms == event.service_time_ms
    assert abs(event.service_time_ms - (event.ts_end - event.ts_start)) <= 1


def test_durations_and_stamps_agree_when_the_wall_clock_is_stepped_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def step(_: Request) -> Response:
        monkeypatch.setattr(tracing, "time_ns", lambda: time.time_ns() - 3600 * NS)
        await asyncio.sleep(0.05)
        return PlainTextResponse("x")

    event = event_of(tmp_path, make_app(tmp_path, Route("/", step)), "GET", "/")
    assert event.ts_end is not None and event.ts_start is not None and event.service_time_ms is not None
    assert 50 <= event.service_time_ms < 1000
    assert abs(event.service_time_ms - (event.ts_end - event.ts_start)) <= 1


def test_the_event_is_on_disk_before_the_last_body_byte_is_handed_over(tmp_path: Path) -> None:
    seen: list[tuple[bool, int]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await send({"type": "http.response.body", "body": b"c"})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            seen.append((message.get("more_body", False), len(events(tmp_path))))

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(Tracing(app, settings(tmp_path))(scope, None, send))  # type: ignore[arg-type]
    assert seen == [(True, 0), (False, 1)]
    assert events(tmp_path)[0].bytes_out == 3


def test_bytes_are_counted_as_streamed_and_none_of_a_head(tmp_path: Path) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1000

    async def stream(request: Request) -> Response:
        async for _ in request.stream():
            pass
        return StreamingResponse(parts())

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"y" * 100

    app = make_app(tmp_path, Route("/", stream, methods=["GET", "HEAD", "POST"]))
    ask(app, ("POST", "/", {"content": body()}), ("HEAD", "/"))
    assert [(one.bytes_in, one.bytes_out) for one in events(tmp_path)] == [(300, 5000), (0, 0)]


def test_an_app_that_fails_is_a_500_and_fails_as_before(tmp_path: Path) -> None:
    async def fail(_: Request) -> Response:
        raise RuntimeError("on purpose")

    (answer,) = ask(make_app(tmp_path, Route("/", fail)), ("GET", "/"))
    assert answer.status_code == 500
    (event,) = events(tmp_path)
    assert (event.status, event.bytes_out) == (500, None)  # the answer is made outside of us


def test_as_the_outermost_layer_it_sees_the_answer_to_a_failure_too(tmp_path: Path) -> None:
    async def fail(_: Request) -> Response:
        raise RuntimeError("on purpose")

    app = Tracing(Starlette(routes=[Route("/", fail)]), settings(tmp_path))
    (answer,) = ask(app, ("GET", "/"))
    (event,) = events(tmp_path)
    assert (event.status, event.bytes_out) == (500, len(answer.content))
    assert answer.headers["x-trace-id"] == event.trace_id


def test_a_failure_after_the_answer_began_keeps_its_status(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"ab"
        raise RuntimeError("on purpose")

    async def stream(_: Request) -> Response:
        return StreamingResponse(broken(), status_code=206)

    ask(make_app(tmp_path, Route("/", stream)), ("GET", "/"))
    assert [(one.status, one.bytes_out) for one in events(tmp_path)] == [(206, 2)]


def test_a_client_that_went_away_unanswered_has_no_status(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    messages = [{"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(Tracing(app, settings(tmp_path))(scope, receive, None))  # type: ignore[arg-type]
    assert [(one.status, one.bytes_in) for one in events(tmp_path)] == [(None, 3)]


def test_a_cancelled_request_has_its_event(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def run() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        task = asyncio.create_task(Tracing(app, settings(tmp_path))(scope, None, None))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert [one.status for one in events(tmp_path)] == [None]


def test_background_work_comes_after_the_event(tmp_path: Path) -> None:
    api = FastAPI()

    @api.get("/")
    async def later(tasks: BackgroundTasks) -> str:
        tasks.add_task(burn, 0.1)
        return "x"

    api.add_middleware(Tracing, environ=settings(tmp_path))
    event = event_of(tmp_path, api, "GET", "/")
    assert event.cpu_time_ms is not None and event.cpu_time_ms < 50


class Kept:
    """What a weak reference can be had of."""


async def answered(send: Any) -> None:
    """What an app sends that has nothing to say."""
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


async def run_with(app: Any, folder: Path, **scope: Any) -> None:
    """app under the middleware, in a task of its own, for a server that takes what it is sent."""

    async def taken(message: Any) -> None:
        assert message["type"].startswith("http.response.")

    scope |= {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    await asyncio.create_task(Tracing(app, settings(folder))(scope, None, taken))  # type: ignore[arg-type]


def test_a_timer_that_was_set_in_a_request_does_not_keep_the_request(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(3600, print)
        loop.call_later(3601, print).cancel()  # which stays in the loop's heap as long as it is not the first
        await answered(send)

    async def run() -> None:
        kept = Kept()
        gone = weakref.ref(kept)
        await run_with(app, tmp_path, kept=[kept])
        del kept
        assert gone() is None

    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()
    assert [one.status for one in events(tmp_path)] == [204]


def test_receive_after_the_request_tells_that_it_is_over(tmp_path: Path) -> None:
    async def run() -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def later() -> Any:
                await asyncio.sleep(0.05)
                return await receive()

            tasks.append(asyncio.create_task(later()))
            await answered(send)

        await run_with(app, tmp_path)
        assert await tasks[0] == {"type": "http.disconnect"}

    asyncio.run(run())


def test_lifespan_gives_placement_events_and_requests_in_flight(tmp_path: Path) -> None:
    inside = threading.Event()

    def wait(_: Request) -> Response:
        inside.wait(5)
        return PlainTextResponse("x")

    app = make_app(tmp_path, Route("/", wait))
    with TestClient(app) as client:
        asking = threading.Thread(target=client.get, args=("/",))
        asking.start()
        time.sleep(2.2)
        inside.set()
        asking.join()
        time.sleep(1.1)
    placed = rows(tmp_path, "placement_events.jsonl", PlacementEvent)
    assert [(one.event, one.node_id, one.module_id, one.app_id) for one in placed] == [
        ("start", "vm1", "svc", "app"),
        ("stop", "vm1", "svc", "app"),
    ]
    stats = rows(tmp_path, "system_stats.*.jsonl", SystemStat)
    assert {one.metric for one in stats} == {"in_flight"}
    assert {one.value for one in stats} == {0, 1}
    assert sum(one.value == 1 for one in stats) in (2, 3)
    assert len({one.ts_ms // 1000 for one in stats}) == len(stats) >= 3
    assert {one.instance_id for one in stats} == {placed[0].instance_id}


def test_websockets_and_inner_apps_pass_through(tmp_path: Path) -> None:
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    inner = make_app(tmp_path / "inner", HELLO)
    app = Starlette(routes=[WebSocketRoute("/ws", echo), Mount("/in", inner)])
    app.add_middleware(Tracing, environ=settings(tmp_path))
    with TestClient(app) as client:
        with client.websocket_connect("/ws") as socket:
            socket.send_text("hi")
            assert socket.receive_text() == "hi"
        assert client.get("/in/hello").text == "hello 0"
    assert [one.path for one in events(tmp_path)] == ["/in/hello"]
    assert not (tmp_path / "inner").exists()


def test_without_a_directory_ids_are_passed_on_and_nothing_is_written(tmp_path: Path) -> None:
    app = Tracing(make_app(tmp_path, HELLO), {})
    (answer,) = ask(app, ("GET", "/hello", {"headers": {"traceparent": f"00-{TRACE}-{SPAN}-01"}}))
    assert answer.headers["x-trace-id"] == TRACE
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_cannot_name_a_node_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give NODE_ID"):
        Tracing(hello, settings(tmp_path, NODE_ID="a b"))  # type: ignore[arg-type]


def test_two_workers_with_one_pid_write_two_files(tmp_path: Path) -> None:
    first, second = (make_app(tmp_path, HELLO) for _ in range(2))
    ask(first, ("GET", "/hello"))
    ask(second, ("GET", "/hello"))
    names = {path.name for path in tmp_path.glob("events.*")}
    assert names == {f"events.{os.getpid()}.jsonl", f"events.{os.getpid()}.1.jsonl"}
    assert len({one.instance_id for one in events(tmp_path)}) == 2


# --- the head of an answer, which goes with what follows it


START: dict[str, Any] = {"type": "http.response.start", "status": 201, "headers": []}
BODY: dict[str, Any] = {"type": "http.response.body", "body": b"abc"}


class Server:
    """Takes what an app sends, and tells its kinds; refuses the head where told to."""

    def __init__(self, refuses: bool = False, seconds: float = 0) -> None:
        self.got: list[str] = []
        self._refuses, self._seconds = refuses, seconds

    async def send(self, message: Any) -> None:
        kind = message["type"].rpartition(".")[2]
        self.got.append(kind)
        if kind == "start":
            burn(self._seconds)
            if self._refuses:
                raise RuntimeError("no such status")

    async def receive(self) -> Any:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def serve(self, app: Any, folder: Path) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        await Tracing(app, settings(folder))(scope, self.receive, self.send)


def test_head_and_body_that_are_made_at_once_go_one_after_the_other_behind_the_event(tmp_path: Path) -> None:
    server, seen = Server(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START})
        seen.append([*server.got])
        await send({**BODY})

    asyncio.run(server.serve(app, tmp_path))
    assert seen == [[]]
    assert server.got == ["start", "body"]
    assert [(one.status, one.bytes_out) for one in events(tmp_path)] == [(201, 3)]


@pytest.mark.parametrize(
    "wait",
    [
        lambda _receive: asyncio.sleep(0.01),
        lambda _receive: asyncio.sleep(0),
        lambda receive: receive(),
        lambda _receive: asyncio.to_thread(burn, 0),
        lambda _receive: asyncio.create_task(asyncio.sleep(0)),
    ],
    ids=["sleep", "yield", "receive", "thread", "task"],
)
def test_the_head_goes_at_once_where_the_app_waits_for_anything(
    tmp_path: Path, wait: Callable[[Any], Any]
) -> None:
    server, seen = Server(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START})
        await wait(receive)
        seen.append([*server.got])
        await send({**BODY})

    asyncio.run(server.serve(app, tmp_path))
    assert seen == [["start"]]
    assert server.got == ["start", "body"]


def test_a_head_that_another_task_sends_goes_at_once(tmp_path: Path) -> None:
    server, seen = Server(), []

    async def answer(send: Any) -> None:
        await send({**START})
        seen.append([*server.got])
        await send({**BODY})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.create_task(answer(send))

    asyncio.run(server.serve(app, tmp_path))
    assert seen == [["start"]]


def test_an_app_that_fails_before_its_head_went_is_a_500(tmp_path: Path) -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({**START})
        raise RuntimeError("on purpose")

    app = Starlette(routes=[Mount("/", half)])
    app.add_middleware(Tracing, environ=settings(tmp_path))
    (answer,) = ask(app, ("GET", "/"))
    assert answer.status_code == 500
    assert [(one.status, one.bytes_out) for one in events(tmp_path)] == [(500, None)]


def test_an_app_that_ends_with_its_head_alone_has_not_answered(tmp_path: Path) -> None:
    server = Server()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START})

    asyncio.run(server.serve(app, tmp_path))
    assert server.got == []  # so the server says 500
    assert [(one.status, one.bytes_out) for one in events(tmp_path)] == [(500, None)]


@pytest.mark.parametrize("waits", [False, True])
def test_the_app_is_told_that_its_head_was_refused(tmp_path: Path, waits: bool) -> None:
    told = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({**START})
            if waits:
                await asyncio.sleep(60)
            await send({**BODY})
        except RuntimeError as error:
            told.append(str(error))

    asyncio.run(Server(refuses=True).serve(app, tmp_path))
    assert told == ["no such status"]


def test_what_else_follows_a_head_goes_behind_it(tmp_path: Path) -> None:
    server = Server()
    (tmp_path / "file").write_bytes(b"12345")

    async def of_a_file(scope: Any, receive: Any, send: Any) -> None:
        await send({**START})
        await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        await send({**START})
        await send({**START, "status": 202})
        await send({**BODY})

    for app in (of_a_file, twice):
        (tmp_path / app.__name__).mkdir()
        asyncio.run(server.serve(app, tmp_path / app.__name__))
    assert server.got == ["start", "pathsend", "start", "start", "body"]
    told = [*events(tmp_path / "of_a_file"), *events(tmp_path / "twice")]
    assert [(one.status, one.bytes_out) for one in told] == [(201, 5), (202, 3)]


def test_sending_the_head_while_the_app_waits_is_cpu_of_the_request(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START})
        await asyncio.sleep(0)
        await send({**BODY})

    asyncio.run(Server(seconds=0.05).serve(app, tmp_path))
    (event,) = events(tmp_path)
    assert event.cpu_time_ms is not None and 50 <= event.cpu_time_ms < 90


# --- ids


def test_a_trace_goes_on_and_is_given_back(tmp_path: Path) -> None:
    (answer,) = ask(
        make_app(tmp_path, HELLO), ("GET", "/hello", {"headers": {"traceparent": f"00-{TRACE}-{SPAN}-01"}})
    )
    (event,) = events(tmp_path)
    assert (event.trace_id, event.parent_id) == (TRACE, SPAN)
    assert answer.headers["x-trace-id"] == TRACE
    assert answer.headers["traceparent"] == f"00-{TRACE}-{event.span_id}-01"


@pytest.mark.parametrize(
    "header",
    [
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",  # version 00 has four fields
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        "",
    ],
)
def test_a_malformed_traceparent_begins_a_new_trace(header: str) -> None:
    origin = read_origin([(b"traceparent", header.encode())], NOW_NS)
    assert re.fullmatch("[0-9a-f]{32}", origin.trace_id)
    assert origin.trace_id != TRACE
    assert origin.parent_id is None


def test_a_later_version_of_the_header_is_understood() -> None:
    origin = read_origin([(b"traceparent", f"cc-{TRACE}-{SPAN}-01-what-comes".encode())], NOW_NS)
    assert (origin.trace_id, origin.parent_id) == (TRACE, SPAN)


def test_two_traceparents_are_none() -> None:
    header = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())
    assert read_origin([header, header], NOW_NS).trace_id != TRACE


@pytest.mark.parametrize("given", ["abc-1", "a" * 128, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", TRACE])
def test_an_old_id_is_taken_and_given_back(tmp_path: Path, given: str) -> None:
    (answer,) = ask(make_app(tmp_path, HELLO), ("GET", "/hello", {"headers": {"x-trace-id": given}}))
    assert answer.headers["x-trace-id"] == given == events(tmp_path)[0].trace_id


@given(st.binary(max_size=200))
def test_only_ids_of_the_format_pass(value: bytes) -> None:
    trace_id = read_origin([(b"x-trace-id", value)], NOW_NS).trace_id
    assert re.fullmatch("[A-Za-z0-9._-]{1,128}", trace_id)
    if not re.fullmatch(rb"[A-Za-z0-9._-]{1,128}", value):
        assert re.fullmatch("[0-9a-f]{32}", trace_id)


@given(st.binary(max_size=120), st.binary(max_size=40))
def test_no_header_can_make_an_origin_fail(traceparent: bytes, stamp: bytes) -> None:
    origin = read_origin([(b"traceparent", traceparent), (b"x-request-start", stamp)], NOW_NS)
    assert origin.enqueue_ns is None or origin.enqueue_ns <= NOW_NS


# --- queueing


@pytest.mark.parametrize(
    ("header", "queue_ns"),
    [
        ("t=1700000000.400", NS // 10),  # nginx: t=${msec}
        ("1700000000400", NS // 10),  # ms
        ("t=1700000000400000", NS // 10),  # us
        ("1700000000400000000", NS // 10),
        ("1700000000", NS // 2),
        ("t=1700000001", None),  # in the future: another clock
        ("t=1600000000", None),  # a day ago
        ("yesterday", None),
        ("t=", None),
    ],
)
def test_a_proxys_stamp_is_the_time_of_enqueueing(header: str, queue_ns: int | None) -> None:
    enqueue_ns = read_origin([(b"x-request-start", header.encode())], NOW_NS).enqueue_ns
    assert enqueue_ns == (None if queue_ns is None else NOW_NS - queue_ns)


def test_queueing_and_service_add_up_to_the_response_time(tmp_path: Path) -> None:
    stamp_ms = time.time_ns() // 10**6 - 250
    header = {"x-request-start": f"t={stamp_ms / 1000:.3f}"}
    event = event_of(tmp_path, make_app(tmp_path, HELLO), "GET", "/hello", {"headers": header})
    assert event.ts_enqueue == stamp_ms
    assert event.queue_source == "x-request-start"
    assert event.queue_time_ms and event.service_time_ms and event.rt_ms and event.ts_start
    assert 250 <= event.queue_time_ms < 2000
    assert abs(event.queue_time_ms - (event.ts_start - event.ts_enqueue)) <= 1
    assert abs(event.rt_ms - event.queue_time_ms - event.service_time_ms) <= 0.01


# --- CPU

BURNT_S = 0.06


def in_loop() -> None:
    burn(BURNT_S)


async def child_tasks() -> None:
    async def half() -> None:
        burn(BURNT_S / 2)

    await asyncio.gather(half(), asyncio.create_task(half()))


async def to_thread() -> None:
    await asyncio.to_thread(burn, BURNT_S)


async def executor() -> None:
    with ThreadPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, burn, BURNT_S)


def cpu_of(folder: Path, work: Callable[[], Any], count: int, **layers: Any) -> list[float]:
    """cpu_time_ms of so many requests at once that each do this work."""
    api = FastAPI()
    if inspect.iscoroutinefunction(work):

        @api.get("/")
        async def endpoint() -> str:
            await asyncio.sleep(0.01)  # they all begin before any goes on
            await work()
            return "x"

    else:

        @api.get("/")
        def sync_endpoint() -> str:
            work()
            return "x"

    if layers.get("base"):
        api.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, call_next: call_next(request))
    api.add_middleware(Tracing, environ=settings(folder))
    gc.collect()  # else a collection of all that the tests hold may fall into a request, and is CPU of it
    ask(api, *[("GET", "/")] * count, at_once=True)
    return [one.cpu_time_ms or 0 for one in events(folder)]


async def in_coroutine() -> None:
    for _ in range(3):
        burn(BURNT_S / 3)
        await asyncio.sleep(0)


@pytest.mark.parametrize("work", [in_loop, in_coroutine, child_tasks, to_thread, executor])
def test_cpu_is_that_of_the_request_alone_among_eight(tmp_path: Path, work: Callable[[], Any]) -> None:
    used = cpu_of(tmp_path, work, 8)
    assert len(used) == 8
    assert all(BURNT_S * 1000 <= one < BURNT_S * 1000 + 25 for one in used), used


def test_cpu_is_seen_through_a_middleware_that_runs_the_app_in_a_task(tmp_path: Path) -> None:
    used = cpu_of(tmp_path, in_coroutine, 3, base=True)
    assert all(BURNT_S * 1000 <= one < BURNT_S * 1000 + 25 for one in used), used


def test_waiting_is_no_cpu(tmp_path: Path) -> None:
    async def wait() -> None:
        await asyncio.sleep(0.2)

    assert all(one < 30 for one in cpu_of(tmp_path, wait, 3))


# --- lines that cannot be written


def test_what_cannot_be_written_fails_no_request_and_is_one_mark_later(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    app = make_app(folder, HELLO)
    with TestClient(app) as client:
        assert [client.get("/hello").status_code for _ in range(3)] == [200] * 3
        folder.mkdir()
        time.sleep(3.5)
        assert client.get("/hello").status_code == 200
    assert len(events(folder)) == 1
    (mark,) = rows(folder, "marks.jsonl", dict)
    assert (mark["collector"], mark["kind"], mark["reason"]) == ("app", "write_error", "ENOENT")
    assert f"events.{os.getpid()}.jsonl: 3 lines" in mark["detail"]
    assert mark["from_ms"] < mark["to_ms"] == mark["ts_ms"]


def test_a_line_stays_below_4_kb_and_is_json_whatever_the_path(tmp_path: Path) -> None:
    long = "%22%01%E2%82%AC%ff" * 1500
    ask(make_app(tmp_path, HELLO), ("GET", f"/{long}?{long}", {"headers": {"x-trace-id": "a" * 128}}))
    (path,) = tmp_path.glob("events.*")
    line = path.read_bytes()
    assert len(line) < 4096
    assert json.loads(line)["status"] == 404


def test_a_half_line_of_a_killed_worker_is_ended_first(tmp_path: Path) -> None:
    (tmp_path / f"events.{os.getpid()}.jsonl").write_bytes(b'{"ts_enqu')
    ask(make_app(tmp_path, HELLO), ("GET", "/hello"))
    first, second = (tmp_path / f"events.{os.getpid()}.jsonl").read_bytes().splitlines()
    assert first == b'{"ts_enqu'
    assert json.loads(second)["path"] == "/hello"


# --- calls


def test_a_call_continues_the_trace_below_a_span_of_its_own(tmp_path: Path) -> None:
    headers: dict[str, str] = {}

    async def forward(_: Request) -> Response:
        call = tracing.call("edge:8080")
        headers.update(call.headers)
        call.end(200, 10, 20)
        return PlainTextResponse("x")

    given = {"traceparent": f"00-{TRACE}-{SPAN}-00", "tracestate": "a=1"}
    event = event_of(tmp_path, make_app(tmp_path, Route("/", forward)), "GET", "/", {"headers": given})
    (call,) = rows(tmp_path, "calls.*.jsonl", Call)
    assert (call.trace_id, call.parent_id) == (TRACE, event.span_id)
    assert (call.peer, call.status, call.bytes_out, call.bytes_in) == ("edge:8080", 200, 10, 20)
    assert headers == {"traceparent": f"00-{TRACE}-{call.span_id}-00", "tracestate": "a=1"}


def test_a_call_of_an_old_trace_hands_its_id_on_as_it_came(tmp_path: Path) -> None:
    headers: dict[str, str] = {}

    async def forward(_: Request) -> Response:
        headers.update(tracing.call("edge:8080").headers)
        return PlainTextResponse("x")

    ask(make_app(tmp_path, Route("/", forward)), ("GET", "/", {"headers": {"x-trace-id": "old-1"}}))
    assert headers == {"x-trace-id": "old-1"}


def test_a_call_outside_of_a_request_is_refused() -> None:
    with pytest.raises(LookupError):
        tracing.call("edge:8080")
