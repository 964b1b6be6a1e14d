"""A generator that works ahead in a process of its own, so that a second CPU is of use.

The process writes what it makes into a pipe and stands still when that is full, or when it waits for an
answer. It holds no other file: a lock ends with its owner, and the process ends with its parent.
"""

import ctypes
import fcntl
import gc
import os
import pickle
import signal
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tracekit.errors import TracekitError
from tracekit.files.sorting import packed, unpacked

_PR_SET_PDEATHSIG = 1  # source: prctl(2)
_PIPE = 1 << 20  # bytes; the most that any user may ask for
_SELDOM = 100_000  # new objects until cycles are looked for; lines and their tuples form none


def ahead(items: Iterable[Any]) -> Generator[Any, Any, None]:
    """What items gives, made in another process; it is made here where none can be had.

    The items are made of int, str, bytes, None, tuples, lists and dicts, and are not bytes themselves. After
    a None the process waits: items, where it is a generator, is sent what is sent here for it. An error of
    items is raised here. Raises TracekitError where the process was killed."""
    parent, (source, sink), (asked, answers) = os.getpid(), os.pipe(), os.pipe()
    try:
        child = os.fork()
    except OSError:  # the user has as many processes as allowed, or there is no memory
        for descriptor in (source, sink, asked, answers):
            os.close(descriptor)
        yield from items
        return
    if child == 0:
        _work(items, sink, asked, parent)
    os.close(sink)
    os.close(asked)
    with suppress(OSError):
        fcntl.fcntl(source, fcntl.F_SETPIPE_SZ, _PIPE)
    try:
        with os.fdopen(source, "rb") as made, os.fdopen(answers, "wb", buffering=0) as told:
            yield from _received(made, told)
    finally:
        _, status = os.waitpid(child, 0)
    if status:
        raise TracekitError(f"a process that read for us ended early (status {status}); parse again")


def _received(made: BinaryIO, told: FileIO) -> Generator[Any, Any, None]:
    with suppress(EOFError, BrokenPipeError):  # the process was killed while it wrote, or waited
        for item in unpacked(made):
            if isinstance(item, bytes):
                raise pickle.loads(item)  # our own process wrote it
            answer = yield item
            if item is None:
                data = memoryview(packed(answer))
                while data:  # a write is short where the process was stopped (Ctrl-Z) meanwhile
                    data = data[told.write(data) :]


def _die_with(parent: int) -> None:
    """SIGKILL for this process once parent has ended, be it busy or not."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # which ended before that
        os._exit(1)


def _work(items: Iterable[Any], sink: int, asked: int, parent: int) -> NoReturn:
    status = 1
    try:
        _die_with(parent)
        gc.set_threshold(_SELDOM)
        for descriptor in [int(one.name) for one in Path("/proc/self/fd").iterdir()]:
            if descriptor > 2 and descriptor not in (sink, asked):
                with suppress(OSError):  # the listing's own
                    os.close(descriptor)
        with os.fdopen(sink, "wb") as made, os.fdopen(asked, "rb") as told:
            try:
                _make(iter(items), made, unpacked(told))
            except Exception as error:
                made.write(packed(pickle.dumps(error)))
        status = 0
    finally:
        os._exit(status)  # without a second flush of what the other process has in its buffers


def _make(items: Iterator[Any], made: BinaryIO, answers: Iterator[Any]) -> None:
    answer = None
    with suppress(StopIteration):  # at the end, of either
        while True:
            item = next(items) if answer is None else items.send(answer)  # type: ignore[attr-defined]
            made.write(packed(item))
            made.flush()  # a small one too is waited for
            answer = next(answers) if item is None else None
