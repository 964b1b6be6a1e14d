"""Lines that go through as they came: checked, merged in order, and otherwise left byte for byte.

Only the sort key moves to the front, and a missing node or stage is put in behind it.
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from tracekit.errors import BadLineError
from tracekit.files.ahead import ahead
from tracekit.files.reading import BLOCK, Account, Reader, Reject, ignore
from tracekit.files.sorting import FAN_IN, Entry, Sorter, merged, straightened
from tracekit.parse.entries import (
    KEY,
    LINE,
    NULL,
    ORDER,
    SPAN,
    TRACE,
    Entries,
    entries_of,
    for_another_process,
)

_WINDOW = 1 << 22  # bytes of lines that are held back to bring late ones into order
_LARGE = 1 << 23  # bytes of a file that are worth a process to read them
_RECENT = 20_000  # entries without a key among which a doubled one is told
_KEY, _LINE, _SPAN = itemgetter(KEY), itemgetter(LINE), itemgetter(SPAN)


class Passing:
    """One kind of pass-through lines from all its files, in the order of the key.

    Equal keys: by node, then by file name, then by line."""

    def __init__(self, entries: Entries, paths: list[Path], accounts: dict[str, Account]) -> None:
        """accounts: of each path, by its name."""
        self._entries = entries
        self._paths = sorted(paths)
        self._accounts = accounts
        self._inputs: list[Iterator[list[Entry]]] = []

    def read(
        self, reject: Reject, folder: Path, on_bytes: Callable[[int], None] | None = None
    ) -> Iterator[list[Entry]]:
        """The entries of all files, merged as they are read; through files in folder where those are many.

        Raises OutOfOrderError where a line comes too late for that: then read_again()."""
        reader = self._reader(reject, on_bytes)
        has_cpus = len(os.sched_getaffinity(0)) > 1
        self._inputs = []
        for order, path in enumerate(self._paths):
            if has_cpus and len(self._paths) <= FAN_IN and path.stat().st_size >= _LARGE:
                self._inputs.append(self._relayed(order, path, reject, on_bytes))
                continue
            account = self._accounts[path.name]
            batches = reader.read(path, account)
            self._inputs.append(map(entries_of, self._entries.of(batches, order, path.name, account, reject)))
        if len(self._inputs) > FAN_IN:
            return _sorted(self._inputs, folder)
        window = _WINDOW // BLOCK // max(len(self._inputs), 1)
        return merged(straightened(one, window) for one in self._inputs)

    def read_again(self, folder: Path) -> Iterator[list[Entry]]:
        """The same from the start, through files in folder.

        The lines that were not read before are accounted for first; no line is accounted for twice."""
        for unread in self._inputs:
            for _ in unread:
                pass
        reader = self._reader(ignore, None)
        inputs = []
        for order, path in enumerate(self._paths):
            batches = reader.read(path, Account(), self._accounts[path.name].bytes)
            inputs.append(map(entries_of, self._entries.of(batches, order, path.name, Account(), ignore)))
        return _sorted(inputs, folder)

    def _relayed(
        self, order: int, path: Path, reject: Reject, on_bytes: Callable[[int], None] | None
    ) -> Iterator[list[Entry]]:
        """The entries of a file that another process reads; what else it tells comes with each block."""
        account = self._accounts[path.name]
        for columns, (account.lines, length, rejected), bad in ahead(self._told(order, path)):
            if on_bytes:
                on_bytes(length - account.bytes)
            account.bytes, account.rejected = length, Counter(rejected)
            for about, line in bad:
                reject(BadLineError(*about), line)
            if columns:
                yield entries_of(columns)

    def _told(self, order: int, path: Path) -> Iterator[tuple[Any, ...]]:
        """Each block of a file's entries, the account so far, and the bad lines since the last block."""
        account, bad = Account(), list[tuple[Any, ...]]()

        def reject(one: BadLineError, line: bytes) -> None:
            bad.append(((one.file, one.line, one.reason, one.detail), line))

        batches = self._reader(reject, None).read(path, account)
        for columns in self._entries.of(batches, order, path.name, account, reject):
            yield for_another_process(columns), (account.lines, account.bytes, dict(account.rejected)), bad
            bad.clear()
        yield None, (account.lines, account.bytes, dict(account.rejected)), bad

    def _reader(self, reject: Reject, on_bytes: Callable[[int], None] | None) -> Reader[Any]:
        entries = self._entries
        return Reader(entries.record, reject, entries.complaint, entries.are_good, on_bytes)


def _sorted(inputs: Iterable[Iterator[list[Entry]]], folder: Path) -> Iterator[list[Entry]]:
    sorter = Sorter(folder)
    for one in inputs:
        for entries in one:
            sorter.add(entries, sum(map(len, map(_LINE, entries))))
    return sorter.sorted()


class Unique:
    """Drops each entry that has key, trace and span (or what stands for them) of one before it; entries
    come in order.

    Those without a key do not stand together: they are compared with the last _RECENT such entries."""

    def __init__(self) -> None:
        self.duplicates: Counter[int] = Counter()  # by the order of their file
        self._at = -1
        self._seen: dict[tuple[Any, Any], None] = {}  # at that key, the oldest first

    def kept(self, entries: list[Entry]) -> list[Entry]:
        """Those that are no duplicates. An entry without trace or span never is one."""
        going_on = bisect_left(entries, (self._at + 1,))  # so many have the last key once more
        kept, others = [one for one in entries[:going_on] if self._is_new(one)], entries[going_on:]
        if others and not self._has_only_new(others):
            others = [one for one in others if self._is_new(one)]
        return kept + others

    def _is_new(self, entry: Entry) -> bool:
        key = min(entry[KEY], NULL)
        if key != self._at:
            self._at, self._seen = key, {}
        identity = entry[TRACE], entry[SPAN]
        if None in identity:
            return True
        if identity in self._seen:
            self.duplicates[entry[ORDER]] += 1
            return False
        self._seen[identity] = None
        if len(self._seen) > _RECENT:
            del self._seen[next(iter(self._seen))]
        return True

    def _has_only_new(self, entries: list[Entry]) -> bool:
        """Whether the spans alone tell that none is a duplicate. entries: above the last key."""
        last = entries[-1][KEY]
        if last >= NULL or len(set(map(_SPAN, entries))) < len(entries):
            return False
        at_last = entries[bisect_left(entries, (last,)) :]
        self._at, self._seen = last, {(entry[TRACE], entry[SPAN]): None for entry in at_last}
        return True


def text_of(entries: list[Entry]) -> bytes:
    """The lines of entries, each with its newline."""
    return b"\n".join([*map(_LINE, entries), b""])


def known_keys(entries: list[Entry]) -> list[int]:
    """The keys of entries in order, but for the nulls."""
    keys = list(map(_KEY, entries))
    return keys[: bisect_left(keys, NULL)]
