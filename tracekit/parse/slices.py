"""Cutting files whose lines are nearly in order into slices of time, so that each can be sorted by itself.

A slice owns the keys from first up to end, and of each file the bytes that hold nearly all of them. The
others, of lines that were written late, stand near those bytes, if the file is nearly in order.
"""

import os
import re
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from tracekit.parse.pieces import line_from, pieces

SLICE = 1 << 22  # bytes of lines that are sorted at a time
LAST = 1 << 65  # above every key
GRAIN = 1 << 14  # bytes: how closely a file is cut
_STEP = 1 << 18  # bytes from key to key of those by which it is chosen where to cut
_MANY = 256  # files; more are not worth so many cuts
_LOOK = (1 << 10, 1 << 16)  # bytes in which a line's key is looked for, first and then


class Slice(NamedTuple):
    """Keys from first up to, and without, end; ranges: (begin, end) in bytes of each file, whole lines."""

    first: int
    end: int
    ranges: list[tuple[int, int]]


def sliced(paths: Sequence[Path], key: str) -> list[Slice]:
    """The slices of files that are sorted by key, or nearly.

    Together they have all bytes. Files that cannot be cut are in pieces as large, which own no key: then none
    of the slices owns any."""
    sizes = [path.stat().st_size for path in paths]
    if sum(sizes) < 2 * SLICE:
        return [Slice(0, LAST, [(0, size) for size in sizes])]
    found = _cut(paths, sizes, key) if len(paths) <= _MANY else []
    is_cut = found and max(sum(end - begin for begin, end in one.ranges) for one in found) <= 4 * SLICE
    return found if is_cut else _uncut(paths, sizes)


def _cut(paths: Sequence[Path], sizes: list[int], key: str) -> list[Slice]:
    with ExitStack() as stack:
        files = [stack.enter_context(closing(_Keys(*one, key))) for one in zip(paths, sizes, strict=True)]
        samples = sorted(key for one in files for key in one.samples)
        share = SLICE // _STEP
        bounds = [0, *sorted({*samples[share : len(samples) - share // 2 : share]} - {0, LAST}), LAST]
        cuts = [[one.cut(bound) for bound in bounds] for one in files]
    return [
        Slice(bounds[at], bounds[at + 1], [(cut[at], cut[at + 1]) for cut in cuts])
        for at in range(len(bounds) - 1)
    ]


def _uncut(paths: Sequence[Path], sizes: list[int]) -> list[Slice]:
    """Piece by piece of the files, so that no more is held at a time than of others."""
    nothing, filled = [(0, 0)] * len(paths), 0
    found = [nothing.copy()]
    for order, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        for begin, end in pieces(path, size, SLICE):
            if filled and filled + end - begin > SLICE:
                found.append(nothing.copy())
                filled = 0
            found[-1][order] = begin, end
            filled += end - begin
    return [Slice(0, 0, ranges) for ranges in found]


class _Keys:
    """Where about the keys of a file stand, if it is in their order."""

    def __init__(self, path: Path, size: int, key: str) -> None:
        """size: of the file's first bytes, beyond which it may have grown."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._pattern = re.compile(rb'"%b"[ \t]*:[ \t]*(\d{1,18})[^\d]' % key.encode())
        self.size = size
        self._last = (0, -1, 0)  # where a key was looked for last, where its line begins, the key
        self.samples = [self._key(at) for at in range(0, self.size - _STEP, _STEP)]

    def close(self) -> None:
        """Look for no more."""
        os.close(self._file)

    def cut(self, bound: int) -> int:
        """Where the lines begin whose key is not below bound, to about GRAIN bytes."""
        if bound in (0, LAST):
            return self.size if bound else 0
        begin = max(bisect_left(self.samples, bound) - 1, 0) * _STEP
        end = min(begin + 2 * _STEP, self.size)
        grains = range(begin, end, GRAIN)
        found = bisect_left(grains, bound, key=self._key)
        return min(line_from(self._file, grains[found] if found < len(grains) else end), self.size)

    def _key(self, at: int) -> int:
        """The key of the first line from there on that has one."""
        first, begin, key = self._last
        if not first <= at <= begin:  # else it is the same line: some are very long
            begin = line_from(self._file, at)
            key = self._key_at(begin)
            self._last = at, begin, key
        return key

    def _key_at(self, begin: int) -> int:
        for size in _LOOK:
            found = self._pattern.search(os.pread(self._file, size, begin))
            if found:
                return int(found[1])
        return LAST
