"""Traces of a FastAPI or Starlette service: one file, standard library only. To adopt it:

    from tracing import Tracing
    app.add_middleware(Tracing)

It records each request in TRACE_DIR/events.<pid>.jsonl, as docs/cctf.md defines (invocations.jsonl), one
file a worker process; calls to the next hop (call() below) in calls.<pid>.jsonl; its requests in flight
each second in system_stats.<pid>.jsonl; its start and stop in placement_events.jsonl. Without TRACE_DIR ids
are passed on and nothing is recorded. Other settings, also from the environment: NODE_ID, STAGE, APP_ID,
MODULE_ID, INSTANCE_ID, and TRACE_PID=0 where the pid means nothing outside (a container).

A trace goes on from `traceparent` (W3C Trace Context), else from `X-Trace-Id`, which every answer has.

When a line is written: just before the last part of the answer's body is handed to the server. So no
answered request is missing after a kill -9, ts_end is that moment, and what a request does later
(background tasks) is not in it. An answer that never ends has its line when the app returns.

cpu_time_ms: every step of the request's coroutine and of the tasks that it starts is timed with the
thread's CPU clock, and so is what it sends to threads (anyio.to_thread, run_in_threadpool, asyncio.to_thread,
ThreadPoolExecutor). Not seen: threads that the app starts itself, subprocesses, the server's own parsing.
asyncio (or uvloop) only.
"""

import asyncio
import atexit
import errno
import fcntl
import itertools
import json
import logging
import os
import random
import re
import socket
import sys
import threading
import time
import types
from asyncio import get_running_loop
from binascii import hexlify
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache, partial
from json.encoder import encode_basestring
from pathlib import Path
from time import monotonic_ns, thread_time_ns, time_ns
from typing import Any, NamedTuple

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_HEADERS = frozenset((b"traceparent", b"tracestate", b"x-trace-id", b"x-request-start"))
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_W3C_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_ANY_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_STAMP = re.compile(rb"(?:t=)?(\d{10})(?:\.(\d{1,9}))?|(?:t=)?(\d{13}|\d{16}|\d{19})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_QUEUE_NS = 3600 * 10**9  # an X-Request-Start older than this, or in the future, is no time of queueing
_TEXT_BYTES = 1000  # a path or a query of more bytes, as JSON, is cut: a line stays below 4 kB
_CUT = 160  # at most six bytes each
_TRACED = "tracekit.tracing"

_log = logging.getLogger(__name__)


# --- where the trace comes from


class Origin(NamedTuple):
    """trace_id: of the trace that this request goes on, or a new one; parent_id: the caller's span."""

    trace_id: str
    parent_id: str | None
    flags: str
    tracestate: str | None
    enqueue_ns: int | None  # wall clock; None where no proxy has stamped the request


# Of our own: random.seed() in the app must not repeat ids. os.urandom would let go of the interpreter each
# time, and a busy thread would take it.
_dice = random.Random()
os.register_at_fork(after_in_child=_dice.seed)


def _new_id(size: int) -> str:
    """An id of so many bytes, in hex."""
    return _dice.getrandbits(8 * size).to_bytes(size, "big").hex()


def _only(headers: list[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    """The value of a header that is there once, else b""."""
    found = [value for name, value in headers if name == wanted]
    return found[0] if len(found) == 1 else b""


def read_origin(headers: list[tuple[bytes, bytes]], now_ns: int) -> Origin:
    """What the request's headers (names in lower case) say; anything malformed counts as not there.

    X-Request-Start: s, ms, us or ns since the epoch, after an optional t=. Source: W3C Trace Context, 3.2."""
    ours = [header for header in headers if header[0] in _HEADERS]
    enqueue_ns = _read_stamp(_only(ours, b"x-request-start"), now_ns)
    match = _TRACEPARENT.fullmatch(_only(ours, b"traceparent"))
    if match and not (match[1] == b"00" and match[5]) and match[2].strip(b"0") and match[3].strip(b"0"):
        flags = f"{int(match[4], 16) & 3:02x}"
        state = b",".join(value for name, value in ours if name == b"tracestate")
        tracestate = state.decode("ascii") if state.isascii() and 0 < len(state) <= 512 else None
        return Origin(match[2].decode(), match[3].decode(), flags, tracestate, enqueue_ns)
    given = _only(ours, b"x-trace-id")
    trace_id = given.decode() if _ANY_ID.fullmatch(given) else _new_id(16)
    return Origin(trace_id, None, "01", None, enqueue_ns)


def _read_stamp(value: bytes, now_ns: int) -> int | None:
    match = _STAMP.fullmatch(value)
    if not match:
        return None
    if match[1]:
        stamp_ns = int(match[1]) * 10**9 + int((match[2] or b"0").ljust(9, b"0"))
    else:
        stamp_ns = int(match[3]) * 10 ** (19 - len(match[3]))
    return stamp_ns if 0 <= now_ns - stamp_ns <= _QUEUE_NS else None


# --- the CPU of one request


class Meter:
    """CPU time that one request has used: steps on the event loop, and calls in other threads, in ns."""

    on_loop = 0
    began = 0  # of the step that runs just now; 0: none does
    is_in_task = False  # whether that step is one of a task which the request has started
    in_threads: list[int] | None = None  # as long as nothing has been sent there

    def total_ns(self) -> int:
        """Until now; to be called on the event loop."""
        running = thread_time_ns() - self.began if self.began else 0
        return self.on_loop + running + sum(self.in_threads or ())

    def step(self, resume: Callable[..., Any], *arguments: Any) -> Any:
        """resume(*arguments), timed. A task that starts eagerly runs inside a step that is timed already."""
        if self.began:
            return resume(*arguments)
        self.is_in_task = True
        self.began = thread_time_ns()
        try:
            return resume(*arguments)
        finally:
            self.on_loop += thread_time_ns() - self.began
            self.began = 0
            self.is_in_task = False


def _timed(times: list[int], function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
    """function(*arguments, **named), timed in the thread that runs it."""
    began = thread_time_ns()
    try:
        return function(*arguments, **named)
    finally:
        times.append(thread_time_ns() - began)  # atomic, as += is not


class _MeteredTask(Coroutine[Any, Any, Any]):
    """The coroutine of a task, each step timed. It may be closed before its first step, as any may."""

    def __init__(self, coroutine: Any, meter: Meter) -> None:
        self._coroutine, self._meter = coroutine, meter

    def send(self, value: Any) -> Any:
        return self._meter.step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        return self._meter.step(self._coroutine.throw, *error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self  # it has all of a generator that await uses

    def __iter__(self) -> "_MeteredTask":
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def __getattr__(self, name: str) -> Any:  # cr_frame and the like, for asyncio's debugging
        return getattr(self._coroutine, name)


def _count_threads() -> None:
    """Time what a request sends to threads, by wrapping the two functions that all ways lead through."""
    if hasattr(ThreadPoolExecutor.submit, _TRACED):
        return
    submit = ThreadPoolExecutor.submit

    def counted_submit(self: ThreadPoolExecutor, function: Any, /, *arguments: Any, **named: Any) -> Any:
        return submit(self, _carried(function), *arguments, **named)

    setattr(counted_submit, _TRACED, True)
    ThreadPoolExecutor.submit = counted_submit  # type: ignore[method-assign, assignment]
    anyio = sys.modules.get("anyio.to_thread")
    if anyio is not None:
        run_sync = anyio.run_sync

        def counted_run_sync(function: Any, *arguments: Any, **named: Any) -> Any:
            return run_sync(_carried(function), *arguments, **named)

        anyio.run_sync = counted_run_sync  # type: ignore[attr-defined]


def _carried(function: Callable[..., Any]) -> Callable[..., Any]:
    span = _current.get()
    if span is None or span.is_recorded:
        return function
    times = span.in_threads = span.in_threads or []
    return partial(_timed, times, function)


def _count_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Time the tasks that a request starts, too: each is made by the loop's task factory."""
    inner = loop.get_task_factory()

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **named: Any) -> Any:
        context = named.get("context")
        span = context.get(_current) if context is not None else _current.get()
        if span and not span.is_recorded:
            coroutine = _MeteredTask(coroutine, span)
        if inner is not None:
            return inner(loop, coroutine, **named)
        return asyncio.Task(coroutine, loop=loop, **named)

    loop.set_task_factory(factory)


# --- files


def _append(descriptor: int, line: bytes) -> None:
    """One write(2) of a whole line; a part that a full disk took is cut off again. Raises OSError."""
    written = os.write(descriptor, line)
    if written < len(line):
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if os.fstat(descriptor).st_size == end:  # nobody else has appended since
            os.ftruncate(descriptor, end - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _open(path: Path) -> int:
    """path for appending, mode 0640; the half line of a killed writer is ended. Raises OSError."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            _append(descriptor, b"\n")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _line(row: Mapping[str, object]) -> bytes:
    return _json(row).encode("utf-8", "replace") + b"\n"


def _short(text: str) -> str:
    """text as JSON, cut where it is long."""
    shown = encode_basestring(text)
    return shown if len(shown.encode("utf-8", "replace")) <= _TEXT_BYTES else encode_basestring(text[:_CUT])


@lru_cache(maxsize=1024)
def _asked(method: str, path: str, query: bytes) -> bytes:
    """The fields of an event that say what was asked for."""
    told = f'"method":{_short(method)},"path":{_short(path)}'
    if query:
        told += f',"query":{_short(query.decode("latin-1"))}'
    return told.encode("utf-8", "replace")


class _Losses:
    """Lines that could not be written, until one mark has told of them."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.reason = ""
        self.began_ms = self.last_ms = 0

    def add(self, file: str, error: OSError) -> None:
        self.last_ms = time_ns() // 10**6
        self.began_ms = self.began_ms or self.last_ms
        self.reason = errno.errorcode.get(error.errno or 0, str(error))
        self.lines[file] = self.lines.get(file, 0) + 1

    def mark(self, now_ms: int) -> bytes:
        told = ", ".join(f"{file}: {count} lines" for file, count in sorted(self.lines.items()))
        row = {
            "ts_ms": now_ms,
            "mono_ms": time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 10**6,
            "collector": "app",
            "kind": "enospc" if self.reason in ("ENOSPC", "EDQUOT") else "write_error",
            "from_ms": self.began_ms,
            "to_ms": now_ms,
            "reason": self.reason,
            "detail": f"{told} could not be written",
        }
        return _line(row)


class Recorder:
    """The trace files of one worker process. Nothing here ever fails a request."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("TRACE_DIR")
        self.folder = Path(folder) if folder else None
        self.node = environ.get("NODE_ID") or socket.gethostname().split(".")[0]
        self.stage = environ.get("STAGE") or "cloud"
        self.app_id = environ.get("APP_ID") or "app"
        self.module_id = environ.get("MODULE_ID") or "svc"
        for name in (self.node, self.stage):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!a} cannot name a node or a stage: give NODE_ID and STAGE")
        self._tells_pid = environ.get("TRACE_PID") != "0"
        self._instance = environ.get("INSTANCE_ID") or socket.gethostname()
        self.in_flight = 0
        self.tail = b""
        self._tag = str(os.getpid())
        self._files: dict[str, int] = {}
        self._losses = _Losses()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._is_started = False

    @property
    def instance_id(self) -> str:
        """This worker's own."""
        return f"{self._instance}-{self._tag}"

    def start(self) -> None:
        """Claim the files, tell the start, and count the requests in flight from now on."""
        if self._is_started:
            return
        self._is_started = True
        if self.folder is None:
            _log.warning("TRACE_DIR is not set: requests are traced, but nothing is recorded")
        else:
            self._claim()
            self._place("start")
            threading.Thread(target=self._tick, name="tracing", daemon=True).start()
            atexit.register(self.stop)
        self.tail = self._constant()

    def stop(self) -> None:
        """Tell the stop; the worker serves nothing after it."""
        if self._is_started and self.folder is not None and not self._ended.is_set():
            self._ended.set()
            self._place("stop")
            self._tell_losses(time_ns() // 10**6)

    def write(self, kind: str, line: bytes) -> None:
        """Append a line to <kind>.<pid>.jsonl; a failure is counted and told later."""
        if self.folder is None:
            return
        with self._lock:
            try:
                if kind not in self._files:
                    self._files[kind] = _open(self.folder / self._name(kind))
                _append(self._files[kind], line)
            except OSError as error:
                self._losses.add(self._name(kind), error)

    def _name(self, kind: str) -> str:
        return f"{kind}.{self._tag}.jsonl"

    def _claim(self) -> None:
        """A name for our files that no other live worker has: two containers may both be pid 7."""
        assert self.folder is not None
        for number in itertools.count():
            self._tag = f"{os.getpid()}.{number}" if number else str(os.getpid())
            try:
                descriptor = _open(self.folder / self._name("events"))
            except OSError as error:
                _log.warning("%s: cannot be written yet (%s)", self.folder, error.strerror)
                return
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            except OSError:
                pass  # a file system without locks
            self._files["events"] = descriptor
            return

    def _constant(self) -> bytes:
        """The fields that are the same in each event of this worker."""
        fields: dict[str, object] = {
            "app_id": self.app_id,
            "module_id": self.module_id,
            "instance_id": self.instance_id,
            "node": self.node,
            "stage": self.stage,
        }
        if self._tells_pid:
            stat = Path("/proc/self/stat").read_bytes()
            fields |= {"pid": os.getpid(), "starttime": int(stat[stat.rindex(b")") + 2 :].split()[19])}
        return _line(fields)[1:-2]

    def _place(self, event: str) -> None:
        row = {
            "ts": time_ns() // 10**6,
            "app_id": self.app_id,
            "module_id": self.module_id,
            "instance_id": self.instance_id,
            "node_id": self.node,
            "event": event,
        }
        with self._lock:
            self._append_shared("placement_events.jsonl", _line(row))

    def _append_shared(self, name: str, line: bytes) -> bool:
        """A line of a file that others write too; whether it was written."""
        assert self.folder is not None
        try:
            descriptor = _open(self.folder / name)
            try:
                _append(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._losses.add(name, error)
            return False
        return True

    def _tick(self) -> None:
        """Each whole second: how many requests are in flight; what was lost; are the files still there."""
        while not self._ended.wait(1.001 - time.time() % 1):
            now_ms = time_ns() // 10**6
            row = {
                "ts_ms": now_ms,
                "node_id": self.node,
                "stage": self.stage,
                "metric": "in_flight",
                "value": self.in_flight,
                "instance_id": self.instance_id,
            }
            self._drop_removed()
            self.write("system_stats", _line(row))
            if now_ms - self._losses.last_ms > 1500:  # the failure is over
                self._tell_losses(now_ms)

    def _drop_removed(self) -> None:
        """A file that was deleted under us is opened anew by the next write."""
        with self._lock:
            for kind, descriptor in list(self._files.items()):
                if os.fstat(descriptor).st_nlink == 0:
                    os.close(self._files.pop(kind))

    def _tell_losses(self, now_ms: int) -> None:
        with self._lock:
            if self._losses.lines and self._append_shared("marks.jsonl", self._losses.mark(now_ms)):
                self._losses = _Losses()


# --- one request


class Span(Meter):
    """One request on its way through the app."""

    parent_id: bytes | None = None
    flags = "01"
    tracestate: str | None = None
    is_recorded = False
    _enqueue_ns: int | None = None
    _head: Message | None = None  # that waits for the first part of the body
    _status: int | None = None
    _bytes_in = _bytes_out = 0
    _is_gone = _has_failed = False

    def __init__(self, recorder: Recorder, scope: Message, receive: Receive, send: Send) -> None:
        self._recorder, self._scope, self._receive, self._send = recorder, scope, receive, send
        self._start_ns, self._mono_ns = time_ns(), monotonic_ns()
        ids = hexlify(_dice.getrandbits(192).to_bytes(24, "big"))
        self.trace_id, self.span_id = ids[:32], ids[32:]
        if not _HEADERS.isdisjoint(dict(scope["headers"])):
            self._go_on(read_origin(scope["headers"], self._start_ns))
        recorder.in_flight += 1

    def _go_on(self, origin: Origin) -> None:
        self.trace_id, self.flags, self.tracestate = origin.trace_id.encode(), origin.flags, origin.tracestate
        self.parent_id = origin.parent_id.encode() if origin.parent_id else None
        self._enqueue_ns = origin.enqueue_ns

    def traceparent(self, span_id: str) -> str | None:
        """The header that continues this trace below span_id; None where its id is not W3C's."""
        trace_id = self.trace_id.decode()
        return f"00-{trace_id}-{span_id}-{self.flags}" if _W3C_ID.fullmatch(trace_id) else None

    @types.coroutine
    def run(self, app: App) -> Generator[Any, Any, None]:
        """Have the app answer; the event is written in any case.

        Each step of its coroutine is timed: the loop is what await does, written out (PEP 380)."""
        token = _current.set(self)
        try:
            coroutine: Any = app(self._scope, self.receive, self.send)
            resume, value = coroutine.send, None
            while True:
                self.began = thread_time_ns()
                try:
                    waits_for = resume(value)
                except StopIteration:
                    break
                finally:
                    if not self.is_recorded:
                        self.on_loop += thread_time_ns() - self.began
                    self.began = 0
                try:
                    if self._head is not None:
                        yield from _MeteredTask(self._send_head(self._head), self)
                    resume, value = coroutine.send, (yield waits_for)
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as error:
                    resume, value = coroutine.throw, error
            self._fail()
        except Exception:
            self._fail()
            raise
        finally:
            self.record()
            if _current.get() is self:  # else it is closed from another context
                _current.reset(token)
            # A timer keeps the context that it was set in, and this span, even once it is cancelled. It shall
            # not keep the request: the collector of cycles would have four times as much to do.
            self._scope, self._receive, self._send = _NO_SCOPE, _is_over, _is_over

    def _fail(self) -> None:
        """Where the app has not answered somebody who waits, the server (or an outer layer) says 500."""
        if self._status is None and not self._is_gone:
            self._status, self._has_failed = 500, True

    async def receive(self) -> Message:
        """Counts the body's bytes as they come."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes_in += len(message.get("body", b""))
        elif message["type"] == "http.disconnect":
            self._is_gone = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Counts the body's bytes as they go, and records the event before the last of them do.

        The head goes with the next message, or once the app waits: as soon as a server sends it, the client
        wakes up, and where both share a core, once more for a body that comes after the event's write."""
        kind = message["type"]
        head, self._head = self._head, None
        if head is not None:
            self._status = head["status"]
        if kind == "http.response.body":
            self._bytes_out += len(message.get("body", b""))
            if not message.get("more_body"):
                self.record()
        elif kind == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *self._echo()]
            if head is None and self.began and not self.is_in_task:
                self._head = message
                return _held()
            self._status = message["status"]
        elif kind == "http.response.pathsend":
            with suppress(OSError):
                self._bytes_out += Path(message["path"]).stat().st_size
            self.record()
        return self._send(message) if head is None else self._send_both(head, message)

    async def _send_both(self, head: Message, message: Message) -> None:
        await self._send(head)
        await self._send(message)

    async def _send_head(self, head: Message) -> None:
        self._head, self._status = None, head["status"]
        await self._send(head)

    def _echo(self) -> list[tuple[bytes, bytes]]:
        """X-Trace-Id for everybody; traceparent for a client that has sent one."""
        echo = [(b"x-trace-id", self.trace_id)]
        if self.parent_id:
            value = b"00-%b-%b-%b" % (self.trace_id, self.span_id, self.flags.encode())
            echo.append((b"traceparent", value))
        return echo

    def record(self) -> None:
        """Write the event, once."""
        if not self.is_recorded:
            self.is_recorded = True
            self._recorder.in_flight -= 1
            self._recorder.write("events", self._event())

    def _event(self) -> bytes:
        service_ns = monotonic_ns() - self._mono_ns
        scope, start_ns = self._scope, self._start_ns
        enqueue_ns = start_ns if self._enqueue_ns is None else self._enqueue_ns
        queue_ns = start_ns - enqueue_ns
        service = total = _ms(service_ns)
        queue = b"0.000"
        if queue_ns:
            queue, total = _ms(queue_ns), _ms(queue_ns + service_ns)
        sent = 0 if scope["method"] == "HEAD" else self._bytes_out
        return _EVENT % (
            enqueue_ns // 10**6,
            start_ns // 10**6,
            (start_ns + service_ns) // 10**6,
            self.trace_id,
            self.span_id,
            b'"%b"' % self.parent_id if self.parent_id else b"null",
            queue,
            service,
            total,
            _ms(self.total_ns()),
            b"null" if self._status is None else b"%d" % self._status,
            self._bytes_in,
            b"null" if self._has_failed else b"%d" % sent,
            _asked(scope["method"], scope["path"], scope.get("query_string", b"")),
            self._recorder.tail,
            b"null" if self._enqueue_ns is None else b'"x-request-start"',
        )


def _ms(duration_ns: int) -> bytes:
    """In ms, to the microsecond."""
    duration_us = (duration_ns + 500) // 1000
    return b"%d%b" % (duration_us // 1000, _THOUSANDTHS[duration_us % 1000])


async def _held() -> None:
    """What an app awaits whose head is held."""


async def _is_over(*_message: Message) -> Any:
    """What an app that asks, or sends, after its request has ended is told."""
    return {"type": "http.disconnect"}


_NO_SCOPE: Message = {}
_THOUSANDTHS = tuple(b".%03d" % number for number in range(1000))
# In bytes, and of whole numbers: text and floats take half as long again.
_EVENT = (
    b'{"ts_enqueue":%d,"ts_start":%d,"ts_end":%d,"trace_id":"%b","span_id":"%b","parent_id":%b,'
    b'"queue_time_ms":%b,"service_time_ms":%b,"rt_ms":%b,"cpu_time_ms":%b,'
    b'"status":%b,"bytes_in":%d,"bytes_out":%b,%b,%b,"queue_source":%b}\n'
)
_current: ContextVar[Span | None] = ContextVar("tracekit_span", default=None)


class Call:
    """A call to the next hop: a span of its own, below the request that makes it.

    headers: to send with it. end() writes it to calls.<pid>.jsonl."""

    def __init__(self, span: Span, recorder: Recorder, peer: str) -> None:
        self._span, self._recorder, self._peer = span, recorder, peer
        self._span_id = _new_id(8)
        self._start_ns, self._mono_ns = time_ns(), monotonic_ns()
        traceparent = span.traceparent(self._span_id)
        self.headers = {"traceparent": traceparent} if traceparent else {"x-trace-id": span.trace_id.decode()}
        if traceparent and span.tracestate:
            self.headers["tracestate"] = span.tracestate

    def end(
        self, status: int | None = None, bytes_out: int | None = None, bytes_in: int | None = None
    ) -> None:
        """The answer has been received, or (status None) none came. bytes: of the bodies."""
        end_ns = self._start_ns + monotonic_ns() - self._mono_ns
        row = {
            "ts_enqueue": self._start_ns // 10**6,
            "ts_end": end_ns // 10**6,
            "trace_id": self._span.trace_id.decode(),
            "span_id": self._span_id,
            "parent_id": self._span.span_id.decode(),
            "node": self._recorder.node,
            "peer": self._peer,
            "bytes_out": bytes_out,
            "bytes_in": bytes_in,
            "status": status,
        }
        self._recorder.write("calls", _line(row))


def call(peer: str) -> Call:
    """Begin a call to peer (host:port) from the request that is being served.

    Raises LookupError outside of a request."""
    span = _current.get()
    if span is None:
        raise LookupError("no traced request is being served here")
    return Call(span, span._recorder, peer)


# --- the middleware


class Tracing:
    """ASGI middleware: app.add_middleware(Tracing), or app = Tracing(app) as the outermost layer."""

    def __init__(self, app: App, environ: Mapping[str, str] | None = None) -> None:
        self._app = app
        self._recorder = Recorder(os.environ if environ is None else environ)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Requests are traced; all else passes. Inside another Tracing nothing is traced twice."""
        if scope["type"] == "http" and _TRACED not in scope:
            if get_running_loop() is not self._loop:
                self._prepare()
            scope[_TRACED] = True
            await Span(self._recorder, scope, receive, send).run(self._app)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, self._watching(send))
        else:
            await self._app(scope, receive, send)

    def _prepare(self) -> None:
        """Once a process and event loop; here, too, for a server without lifespan events."""
        self._loop = get_running_loop()
        _count_threads()
        _count_tasks(self._loop)
        self._recorder.start()

    def _watching(self, send: Send) -> Send:
        async def watch(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete" and get_running_loop() is not self._loop:
                self._prepare()
            elif message["type"].startswith("lifespan.shutdown."):
                self._recorder.stop()
            await send(message)

        return watch
