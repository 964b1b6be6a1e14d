"""Slices of time in their turn: some processes read them, and a line that stands among the bytes of another
slice is handed to its own.

That goes as far back as to the slice before, which waits for it; a line that is later is out of order.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator
from typing import Any

from tracekit.files.ahead import ahead
from tracekit.files.sorting import Entry
from tracekit.parse.entries import KEY
from tracekit.parse.parts import Parts, Told
from tracekit.parse.ready import Maker, Ready
from tracekit.parse.slices import Slice

_PROCESSES = 4  # at most: what they make goes through one that hashes and writes
_STRANGERS = 8192  # lines that wait for their slice; with more, the files are not in order


class Turns:
    """The slices of some files. First take(0), then of each in its turn: take(number + 1), lines(number).

    is_in_order: whether they were so far; when they were not, no more lines come."""

    def __init__(self, slices: list[Slice], parts: Parts, events: int) -> None:
        """events: the first so many files are the events'."""
        cpus = len(os.sched_getaffinity(0))
        count = min(max(cpus, 2), len(slices), _PROCESSES)
        work = [_worked(slices[first::count], parts, events) for first in range(count)]
        self._sources = list(map(ahead, work)) if cpus > 1 and len(slices) > 1 else work
        self._bounds = [one.first for one in slices]
        self._guests: list[list[Entry]] = [[] for _ in slices]
        self._waiting = 0  # guests, of all slices
        self.is_in_order = slices[0].end > 0
        self.duplicates: list[int] = []  # in each file, of the slice whose lines came last
        for source in self._sources:
            next(source)  # all of them are at work

    def close(self) -> None:
        """End the processes."""
        for source in self._sources:
            source.close()

    def take(self, number: int) -> list[Told]:
        """What the bytes of a slice tell of each file."""
        told: list[Told]
        told, strangers = next(self._sources[number % len(self._sources)])
        self._waiting += _STRANGERS + 1 if strangers is None else len(strangers)
        self.is_in_order = self.is_in_order and self._waiting <= _STRANGERS
        for entry in strangers if self.is_in_order else ():
            owner = bisect_right(self._bounds, entry[KEY]) - 1
            self._guests[owner].append(entry)
            self.is_in_order = self.is_in_order and owner >= number - 1
        return told

    def lines(self, number: int) -> Iterator[Ready]:
        """The lines of a slice."""
        source = self._sources[number % len(self._sources)]
        next(source)
        guests, self._guests[number] = self._guests[number], []
        self._waiting -= len(guests)
        item = source.send(guests if self.is_in_order else None)
        while isinstance(item, tuple):
            yield Ready(*item)
            item = next(source)
        self.duplicates = item


def _worked(slices: list[Slice], parts: Parts, events: int) -> Generator[Any, list[Entry] | None, None]:
    """Yields 0, then of each slice: what it tells of each file and the lines there of other slices, None,
    its lines, and its duplicates in each file.

    For the None of a slice it is sent the lines that stood elsewhere, or None where things are out of order.
    Meanwhile it has read the next one."""
    yield 0  # which is no question: it goes on at once
    told, entries = _read(parts, slices[0])
    for number, one in enumerate(slices, 1):
        begin, end = (bisect_left(entries, (bound,)) for bound in (one.first, one.end))
        strangers = entries[:begin] + entries[end:]
        yield told, strangers if one.end and len(strangers) <= _STRANGERS else None
        own = entries[begin:end]
        told, entries = _read(parts, slices[number]) if number < len(slices) else ([], [])
        guests = yield None
        maker = Maker(len(one.ranges), events)
        if guests is not None:
            yield from map(tuple, maker.of(sorted(own + guests) if guests else own))
        yield maker.duplicates


def _read(parts: Parts, one: Slice) -> tuple[list[Told], list[Entry]]:
    """What a slice's bytes tell, file by file, and its entries in order."""
    told: list[Told] = []
    entries: list[Entry] = []
    for order, (begin, end) in enumerate(one.ranges):
        for found in parts.read(order, begin, end):
            entries += found if one.end else ()
        told.append(parts.told)
    entries.sort()
    return told, entries
