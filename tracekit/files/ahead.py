"""An iterator that works ahead in a process of its own, so that a second CPU is of use.

The process writes what it makes into a pipe and stands still when that is full. It holds no other file: a
lock ends with its owner, and the process ends with its parent.
"""

import ctypes
import fcntl
import os
import pickle
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tracekit.errors import TracekitError
from tracekit.files.sorting import packed, unpacked

_PR_SET_PDEATHSIG = 1  # source: prctl(2)
_PIPE = 1 << 20  # bytes; the most that any user may ask for


def ahead(items: Iterable[Any]) -> Iterator[Any]:
    """What items gives, made in another process; it is made here where none can be had.

    The items are made of int, str, bytes, None, tuples and lists, and are not bytes themselves. An error of
    items is raised here. Raises TracekitError where the process was killed."""
    source, sink = os.pipe()
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:  # the user has as many processes as allowed, or there is no memory
        os.close(source)
        os.close(sink)
        yield from items
        return
    if child == 0:
        _work(items, sink, parent)
    os.close(sink)
    with suppress(OSError):
        fcntl.fcntl(source, fcntl.F_SETPIPE_SZ, _PIPE)
    try:
        with os.fdopen(source, "rb") as stream:
            yield from _received(stream)
    finally:
        _, status = os.waitpid(child, 0)
    if status:
        raise TracekitError(f"a process that read for us ended early (status {status}); parse again")


def _received(stream: BinaryIO) -> Iterator[Any]:
    with suppress(EOFError):  # the process was killed while it wrote
        for item in unpacked(stream):
            if isinstance(item, bytes):
                raise pickle.loads(item)  # our own process wrote it
            yield item


def _die_with(parent: int) -> None:
    """SIGKILL for this process once parent has ended, be it busy or not."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # which ended before that
        os._exit(1)


def _work(items: Iterable[Any], sink: int, parent: int) -> NoReturn:
    status = 1
    try:
        _die_with(parent)
        for descriptor in [int(one.name) for one in Path("/proc/self/fd").iterdir()]:
            if descriptor > 2 and descriptor != sink:
                with suppress(OSError):  # the listing's own
                    os.close(descriptor)
        with os.fdopen(sink, "wb") as stream:
            try:
                for item in items:
                    stream.write(packed(item))
                    stream.flush()  # a small one too is waited for
            except Exception as error:
                stream.write(packed(pickle.dumps(error)))
        status = 0
    finally:
        os._exit(status)  # without a second flush of what the other process has in its buffers
