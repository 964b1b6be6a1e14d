"""The files of one adapter in a run's directory: replaced whole together, or appended to (follow mode)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tracekit.adapt.appending import Appender
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
