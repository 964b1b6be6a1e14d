"""Reading parts of files whose lines pass as they came."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracekit.errors import BadLineError
from tracekit.files.reading import Account, Reader
from tracekit.files.sorting import Entry
from tracekit.parse.entries import Entries, entries_of

Bad = tuple[int, str, str, bytes]  # number among the lines of the part from 1, reason, detail, text
Told = tuple[int, int, dict[str, int], list[Bad]]  # lines, bytes, rejected by reason, bad lines


class Parts:
    """Reads them, one after the other."""

    def __init__(self, entries: Entries, paths: list[Path], is_told: bool = True) -> None:
        """is_told: keep what is wrong with lines, for told."""
        self._entries, self._paths = entries, paths
        self._is_told = is_told
        self._bad: list[Bad] = []
        self._reader: Reader[Any] = Reader(entries.record, self._reject, entries.complaint, entries.are_good)
        self.told: Told = (0, 0, {}, [])  # of the part that was read last

    def read(self, order: int, begin: int, end: int) -> Iterator[list[Entry]]:
        """The entries of a file from begin to end, in bytes, which are whole lines.

        Their numbers grow from part to part of a file, but are not those of lines."""
        self._bad, self.told = [], (0, 0, {}, [])
        if begin == end:
            return
        path, account = self._paths[order], Account()
        account.lines = begin
        with path.open("rb", buffering=0) as stream:
            stream.seek(begin)
            batches = self._reader.read_stream(stream, path.name, account, end - begin)
            yield from map(entries_of, self._entries.of(batches, order, path.name, account, self._reject))
        bad = [(number - begin, reason, detail, text) for number, reason, detail, text in self._bad]
        self.told = account.lines - begin, account.bytes, dict(account.rejected), bad

    def _reject(self, bad: BadLineError, line: bytes) -> None:
        if self._is_told:  # not the error itself, which holds the block by its traceback
            self._bad.append((bad.line, bad.reason, bad.detail, line))
