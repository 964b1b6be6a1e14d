"""Entries in order to lines that are ready to be written, once each."""

from bisect import bisect_left
from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple

from tracekit.files.sorting import Entry
from tracekit.parse.entries import KEY, LINE, NULL, ORDER
from tracekit.parse.unique import Unique

_LINES = 512  # that are handed on at a time
_LINE = itemgetter(LINE)


class Ready(NamedTuple):
    """Whole lines in order. keys: the first and the last that are not null.

    view: those of the events alone; None where these are all."""

    text: bytes
    records: int
    keys: list[int]
    view: bytes | None


class Maker:
    """Makes them of the entries of some files, which come in order."""

    def __init__(self, files: int, events: int) -> None:
        """files: how many there are; events: how many of them, the first, are the events'."""
        self._events = events if events < files else 0
        self._unique, self._derived = Unique(), Unique()  # the events alone may lose other duplicates
        self._orders = range(files)

    def of(self, entries: list[Entry]) -> Iterator[Ready]:
        """The lines of these entries, but for duplicates."""
        if self._events:
            own = self._derived.kept([one for one in entries if one[ORDER] < self._events])
            yield Ready(b"", 0, [], text_of(own))
        kept = self._unique.kept(entries)
        view = b"" if self._events else None
        for at in range(0, len(kept), _LINES):
            some = kept[at : at + _LINES]
            known = bisect_left(some, (NULL,))
            keys = [some[0][KEY], some[known - 1][KEY]] if known else []
            yield Ready(text_of(some), len(some), keys, view)

    @property
    def duplicates(self) -> list[int]:
        """How many there were in each file."""
        return [self._unique.duplicates[order] for order in self._orders]


def text_of(entries: list[Entry]) -> bytes:
    """The lines of entries, each with its newline."""
    return b"\n".join([*map(_LINE, entries), b""])
