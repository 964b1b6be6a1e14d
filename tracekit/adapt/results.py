"""The files of one adapter in a run's directory: replaced whole together, or appended to (follow mode)."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tracekit.adapt.ordering import SortedFile
from tracekit.adapt.sink import Lines
from tracekit.jsonl import replacing


class Names:
    """Where the records of a source go."""

    def __init__(self, folder: Path, source: str, tag: str) -> None:
        name = f"{source}-{tag}" if tag else source
        self.invocations = folder / f"invocations.{name}.jsonl"
        self.placement = folder / f"placement_events.{name}.jsonl"
        self.rejected = folder / "rejected" / f"{name}.jsonl"


class Appender:
    """An append-only file: whole lines, each call one write that no other writer's can split."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o640)

    def add(self, lines: list[bytes]) -> None:
        """Append them. Raises OSError (a full disk); then none of them is there, not even in part."""
        data = b"".join(lines)
        if not data:
            return
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            size = os.fstat(self._descriptor).st_size
            written = 0
            try:
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
            except OSError:
                os.ftruncate(self._descriptor, size)
                raise
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


@contextmanager
def appended(names: Names) -> Iterator[dict[str, Lines]]:
    """Files that grow while lines come."""
    invocations, rejected = Appender(names.invocations), Appender(names.rejected)
    try:
        yield {"invocations": invocations, "rejected": rejected, "placement": _Late(names.placement)}
    finally:
        invocations.close()
        rejected.close()


class _Late:
    """A file that is made when there is a line for it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, lines: list[bytes]) -> None:
        file = Appender(self._path)
        try:
            file.add(lines)
        finally:
            file.close()


class _Plain:
    """Lines to a stream, in the order in which they come."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, lines: list[bytes]) -> None:
        self._stream.writelines(lines)


@contextmanager
def replaced(names: Names) -> Iterator[dict[str, Lines]]:
    """Files that take the place of those of an earlier run when the block ends well, and else leave them."""
    names.rejected.parent.mkdir(parents=True, exist_ok=True)
    invocations, placement = SortedFile(names.invocations), SortedFile(names.placement)
    try:
        with replacing(names.rejected) as rejected:
            yield {"invocations": invocations, "placement": placement, "rejected": _Plain(rejected)}
        invocations.close()
        if placement.is_empty:
            names.placement.unlink(missing_ok=True)
        else:
            placement.close()
    finally:
        invocations.abandon()
        placement.abandon()
