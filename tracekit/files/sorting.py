"""Sorting in bounded memory, through files.

An entry is a tuple that sorts as it should, of int, str, bytes and None. Blocks are lists of entries.
"""

import marshal
import struct
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

Entry = tuple[Any, ...]
MEMORY = 1 << 23  # bytes of lines that are sorted at a time
FAN_IN = 32  # sorted files that are merged at a time
_CHUNK = 1 << 16  # bytes of lines that are read from such a file at a time
_LENGTH = struct.Struct("<I")


class OutOfOrderError(Exception):
    """The input is further out of order than can be mended while it streams: it must be sorted first."""


def merged(inputs: Iterable[Iterator[list[Entry]]]) -> Iterator[list[Entry]]:
    """The entries of inputs in order, each of which is.

    Holds a chunk of each; what is not above the least of the chunks' last entries is next."""
    alive = [_Cursor(one) for one in inputs]
    while alive := [one for one in alive if one.chunk]:
        limit = min(one.chunk[-1] for one in alive)
        ready: list[Entry] = []
        for one in alive:
            ready += one.up_to(limit)
        ready.sort()
        yield ready


class _Cursor:
    """Where a merge stands in one input; chunk is empty at the end."""

    def __init__(self, chunks: Iterator[list[Entry]]) -> None:
        self._chunks = filter(None, chunks)
        self.chunk: list[Entry] = next(self._chunks, [])
        self._at = 0

    def up_to(self, limit: Entry) -> list[Entry]:
        """The next entries of the chunk that are not above limit."""
        begin, self._at = self._at, bisect_right(self.chunk, limit, self._at)
        ready = self.chunk[begin : self._at]
        if self._at == len(self.chunk):
            self.chunk, self._at = next(self._chunks, []), 0
        return ready


class Sorter:
    """An external merge sort: sorted runs go to files without a name, which end with this process."""

    def __init__(self, folder: Path) -> None:
        """folder: where there is room for the runs."""
        self._folder = folder
        self._entries: list[Entry] = []
        self._size = 0
        self._runs: list[BinaryIO] = []

    def add(self, entries: Iterable[Entry], size: int) -> None:
        """Take entries; size: about their bytes."""
        self._entries += entries
        self._size += size
        if self._size >= MEMORY:
            self._spill()

    def sorted(self) -> Iterator[list[Entry]]:
        """All of them in order."""
        if not self._runs:
            self._entries.sort()
            yield self._entries
            return
        self._spill()
        while len(self._runs) > FAN_IN:
            runs = merged(map(unpacked, self._runs[:FAN_IN]))
            self._runs = [*self._runs[FAN_IN:], self._written(runs)]
        yield from merged(map(unpacked, self._runs))

    def _spill(self) -> None:
        if not self._entries:
            return
        self._entries.sort()
        count = max(len(self._entries) * _CHUNK // self._size, 1)
        chunks = (self._entries[at : at + count] for at in range(0, len(self._entries), count))
        self._runs.append(self._written(chunks))
        self._entries, self._size = [], 0

    def _written(self, chunks: Iterator[list[Entry]]) -> BinaryIO:
        run: BinaryIO = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed when it is read
        for chunk in chunks:
            run.write(packed(chunk))
        run.seek(0)
        return run


def packed(value: Any) -> bytes:
    """As unpacked reads it. value: of int, str, bytes, None, tuples, lists and dicts."""
    data = marshal.dumps(value, 2)  # version 2 looks for no shared objects: twice as fast
    return _LENGTH.pack(len(data)) + data


def unpacked(stream: BinaryIO) -> Iterator[Any]:
    """The values in a stream, which it closes at its end. Raises EOFError where the last one is cut off."""
    with stream:
        while head := stream.read(_LENGTH.size):  # marshal.load would read a few bytes at a time
            yield marshal.loads(stream.read(_LENGTH.unpack(head)[0]))
