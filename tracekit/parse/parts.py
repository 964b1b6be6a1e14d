"""Reading parts of files, each of them whole lines, whose account is handed on with what they hold."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from tracekit.errors import BadLineError
from tracekit.files.reading import Account, Batch, Reader, Reject
from tracekit.files.sorting import Entry
from tracekit.parse.entries import Entries, entries_of

T = TypeVar("T")
OnBytes = Callable[[int], None]
Bad = tuple[int, str, str, bytes]  # number among the lines of the part from 1, reason, detail, text
Told = tuple[int, int, dict[str, int], list[Bad]]  # lines, bytes, rejected by reason, bad lines


class PartReader(Generic[T]):
    """Reads them, one after the other; account, reject and told are of the part that was read last."""

    def __init__(
        self,
        record: type[T],
        check: Callable[[T], str | None] | None = None,
        are_good: Callable[[list[T]], bool] | None = None,
        is_told: bool = True,
    ) -> None:
        """check, are_good: as a Reader's. is_told: keep what is wrong with lines, for told."""
        self._is_told = is_told
        self._begin = 0
        self._bad: list[Bad] = []
        self.account = Account()
        self._reader = Reader(record, self.reject, check, are_good)

    def read(self, path: Path, begin: int, end: int) -> Iterator[Batch[T]]:
        """The good lines of a file from begin to end, in bytes.

        Their numbers grow from part to part of a file, but are not those of lines."""
        self._begin, self._bad, self.account = begin, [], Account()
        self.account.lines = begin
        return self._read(path, begin, end) if begin < end else iter(())

    def _read(self, path: Path, begin: int, end: int) -> Iterator[Batch[T]]:
        with path.open("rb", buffering=0) as stream:
            stream.seek(begin)
            yield from self._reader.read_stream(stream, path.name, self.account, end - begin)

    def reject(self, bad: BadLineError, line: bytes) -> None:
        """Keep a bad line; it is for the reader's caller to count those that are found later."""
        if self._is_told:  # not the error itself, which holds the block by its traceback
            self._bad.append((bad.line - self._begin, bad.reason, bad.detail, line))

    @property
    def told(self) -> Told:
        """What there is to tell, once the part is read."""
        account = self.account
        return account.lines - self._begin, account.bytes, dict(account.rejected), self._bad


class Parts:
    """Reads parts of files whose lines pass as they came."""

    def __init__(self, entries: Entries, paths: list[Path], is_told: bool = True) -> None:
        """is_told: keep what is wrong with lines, for told."""
        self._entries, self._paths = entries, paths
        self._reader: PartReader[Any] = PartReader(
            entries.record, entries.complaint, entries.are_good, is_told
        )

    def read(self, order: int, begin: int, end: int) -> Iterator[list[Entry]]:
        """The entries of a file from begin to end, in bytes, which are whole lines."""
        path, reader = self._paths[order], self._reader
        batches = reader.read(path, begin, end)
        return map(entries_of, self._entries.of(batches, order, path.name, reader.account, reader.reject))

    @property
    def told(self) -> Told:
        """Of the part that was read last."""
        return self._reader.told


def take_over(told: Told, name: str, account: Account, reject: Reject, on_bytes: OnBytes | None) -> None:
    """Add what the next part of a file tells to the account of all of it."""
    lines, size, rejected, bad = told
    for number, reason, detail, text in bad:
        reject(BadLineError(name, account.lines + number, reason, detail), text)
    account.lines += lines
    account.bytes += size
    account.rejected.update(rejected)
    if on_bytes:
        on_bytes(size)
