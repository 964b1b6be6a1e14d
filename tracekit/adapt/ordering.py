"""A file of lines in byte order, written whole, in constant memory however long the input is.

A log is nearly in order: a line that starts before another ends after it by the length of a request. So
lines are held in a window; what leaves it in order goes straight to the file, and the few that come too
late go to runs beside it, which are merged in at the end.
"""

import heapq
import os
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from tracekit.jsonl import replacing

WINDOW = 1 << 12  # lines
_STEP = WINDOW // 2
_MOST_RUNS = 64


class SortedFile:
    """Lines, each with its newline, that take the place of path in byte order when close() is called."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._window: list[bytes] = []
        self._late: list[bytes] = []
        self._runs: list[IO[bytes]] = []
        self._last = b""
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._main = os.fdopen(
            os.open(self._beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640), "w+b"
        )

    @property
    def is_empty(self) -> bool:
        """Whether no line came."""
        return not self._window and not self._last

    def add(self, lines: list[bytes]) -> None:
        """Take lines in any order."""
        self._window += lines
        if len(self._window) >= WINDOW + _STEP:
            self._window.sort()
            self._emit(self._window[:-WINDOW])
            del self._window[:-WINDOW]

    def close(self) -> None:
        """Write what is left and put the file in its place, flushed to disk."""
        self._window.sort()
        self._emit(self._window)
        if self._late:
            self._spill()
        self._main.flush()
        if self._runs:
            with replacing(self._path) as stream:
                stream.writelines(heapq.merge(*map(_from_start, [self._main, *self._runs])))
            self._beside.unlink()
        else:
            os.fsync(self._main.fileno())
            self._beside.replace(self._path)
        self._let_go()

    def abandon(self) -> None:
        """Leave path as it was."""
        self._beside.unlink(missing_ok=True)
        self._let_go()

    def _emit(self, lines: list[bytes]) -> None:
        """Sorted lines: those before the last one written are late."""
        if lines and lines[0] < self._last:
            count = bisect_left(lines, self._last)
            self._late += lines[:count]
            lines = lines[count:]
            if len(self._late) >= WINDOW:
                self._spill()
        if lines:
            self._last = lines[-1]
            self._main.write(b"".join(lines))

    def _spill(self) -> None:
        self._late.sort()
        self._runs.append(self._run(self._late))
        self._late = []
        if len(self._runs) >= _MOST_RUNS:
            merged = self._run(heapq.merge(*map(_from_start, self._runs)))
            for run in self._runs:
                run.close()
            self._runs = [merged]

    def _run(self, lines: Iterable[bytes]) -> IO[bytes]:
        run = tempfile.TemporaryFile(dir=self._path.parent)  # noqa: SIM115 - it is merged later
        run.writelines(lines)
        return run

    def _let_go(self) -> None:
        for stream in (self._main, *self._runs):
            stream.close()


def _from_start(stream: IO[bytes]) -> Iterator[bytes]:
    stream.seek(0)
    return iter(stream)
