"""Lines that go through as they came: checked, put in order, and otherwise left byte for byte.

Only the sort key moves to the front, and a missing node or stage is put in behind it. Files that are nearly
in order are read in slices of time, by two to four processes; all others are sorted through files.
"""

from collections.abc import Generator, Iterator
from operator import itemgetter
from pathlib import Path

from tracekit.files.reading import Account, Reject
from tracekit.files.sorting import OutOfOrderError, Sorter
from tracekit.parse.entries import LINE, Entries
from tracekit.parse.parts import OnBytes, Parts, Told, take_over
from tracekit.parse.ready import Maker, Ready
from tracekit.parse.slices import sliced
from tracekit.parse.turns import Turns

_LINE = itemgetter(LINE)
Lines = Generator[Ready, None, None]


class Passing:
    """One kind of pass-through lines from all its files, in the order of the key.

    Equal keys: by node, then by file name, then by line."""

    def __init__(
        self, entries: Entries, paths: list[Path], accounts: dict[str, Account], events: int = 0
    ) -> None:
        """accounts: of each path, by its name. events: so many paths, the first by name, are the events'."""
        self._entries = entries
        self._paths = sorted(paths)
        self._accounts = [accounts[path.name] for path in self._paths]
        self._events = events
        self._taken: Iterator[Ready | None] = iter(())

    def read(self, reject: Reject, on_bytes: OnBytes | None = None) -> Lines:
        """The lines of all files; what is wrong with others is told on the way.

        Raises OutOfOrderError where they are not nearly in order: then read_again()."""
        taken = self._taken = self._from_slices(reject, on_bytes)
        try:
            for ready in taken:
                if ready is None:
                    raise OutOfOrderError
                yield ready
        except GeneratorExit:
            taken.close()  # it and we hold each other: its processes would stay
            raise

    def read_again(self, folder: Path) -> Lines:
        """The same from the start, through files in folder.

        The lines that were not read before are accounted for first; no line is accounted for twice."""
        for _ in self._taken:
            pass
        for account in self._accounts:
            account.duplicates = 0
        parts, sorter = Parts(self._entries, self._paths, is_told=False), Sorter(folder)
        maker = Maker(len(self._paths), self._events)
        for order, account in enumerate(self._accounts):
            for entries in parts.read(order, 0, account.bytes):
                sorter.add(entries, sum(map(len, map(_LINE, entries))))
        for entries in sorter.sorted():
            yield from maker.of(entries)
        self._account_doubled(maker.duplicates)

    def _from_slices(self, reject: Reject, on_bytes: OnBytes | None) -> Generator[Ready | None, None, None]:
        """The lines of each slice in its turn; None wherever it shows that the files are out of order."""
        slices = sliced(self._paths, self._entries.key)
        turns = Turns(slices, Parts(self._entries, self._paths), self._events)
        try:
            self._account(turns.take(0), reject, on_bytes)
            for number in range(len(slices)):
                if number + 1 < len(slices):
                    self._account(turns.take(number + 1), reject, on_bytes)
                yield from turns.lines(number)
                self._account_doubled(turns.duplicates)
                if not turns.is_in_order:
                    yield None
        finally:
            turns.close()

    def _account(self, all_told: list[Told], reject: Reject, on_bytes: OnBytes | None) -> None:
        """Take over what a slice tells of each file."""
        for path, account, told in zip(self._paths, self._accounts, all_told, strict=True):
            take_over(told, path.name, account, reject, on_bytes)

    def _account_doubled(self, duplicates: list[int]) -> None:
        for account, count in zip(self._accounts, duplicates, strict=True):
            account.duplicates += count
