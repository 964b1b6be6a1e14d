"""A file read in pieces of whole lines, which processes of their own take in turn where there are CPUs."""

import os
from collections.abc import Callable, Generator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, TypeVar

from tracekit.files.ahead import ahead
from tracekit.files.reading import BLOCK

PIECE = BLOCK - (1 << 9)  # bytes; with the rest of a line it is read at once, and larger ones are no faster
_LOOK, _LOOK_MOST = 1 << 10, 1 << 18  # bytes in which a line's end is looked for, first and at most
_PROCESSES = 4  # at most: what they make goes through one that hashes and writes
_WORTH = 16  # items for which a process is worth its start, some ms
Piece = tuple[int, int]  # begin and end in bytes
T = TypeVar("T")


def pieces(path: Path, size: int, step: int = PIECE) -> list[Piece]:
    """The first size bytes of a file as whole lines, step bytes and the rest of a line each.

    The last one may have less, and lack its newline."""
    cuts = [0]
    with path.open("rb", buffering=0) as stream:
        while cuts[-1] < size:
            cuts.append(min(line_from(stream.fileno(), cuts[-1] + step), size))
    return list(pairwise(cuts))


def line_from(file: int, at: int) -> int:
    """Where the first line of a file begins that does not begin before `at`; its size, where none does."""
    size = _LOOK
    while at:
        data = os.pread(file, size, at - 1)
        newline = data.find(b"\n")
        if newline >= 0 or not data:
            return at + newline if data else at - 1
        at, size = at + len(data), min(2 * size, _LOOK_MOST)
    return 0


def made_in_turn(make: Callable[[T], Any], items: Sequence[T]) -> Generator[Any, None, None]:
    """make(item) of each, in order. What it gives is what ahead() can hand on."""
    count = min(len(os.sched_getaffinity(0)), len(items) // _WORTH, _PROCESSES)
    if count < 2:
        yield from map(make, items)
        return
    sources = [ahead(chain([0], map(make, items[first::count]))) for first in range(count)]
    try:
        for source in sources:
            next(source)  # all of them are at work
        for number in range(len(items)):
            yield next(sources[number % count])
    finally:
        for source in sources:
            source.close()
