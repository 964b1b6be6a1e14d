"""Rows of the sampled files, as what takes them wants them: as they come, or again in the order of time."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tracekit.files.reading import Account, Batch, Reader, ignore
from tracekit.files.sorting import Sorter
from tracekit.parse.ledger import Ledger
from tracekit.parse.parts import PartReader, Told, take_over
from tracekit.parse.pieces import Piece, made_in_turn, pieces
from tracekit.parse.series import RawProc
from tracekit.parse.ticks import Ticks, ticks_of

Check = Callable[[Any], str | None]


class Source(Protocol):
    """A raw file, as what its Series takes."""

    def read(self, path: Path, account: Account) -> Generator[Any, None, None]:
        """Some rows at a time, as they come; each line is accounted for."""

    def read_again(self, path: Path, size: int, folder: Path) -> Iterator[Any]:
        """The rows of the first size bytes in the order of time, sorted through files in folder."""


class Rows:
    """Rows as they are."""

    def __init__(self, record: type[Any], ledger: Ledger, check: Check | None = None) -> None:
        self._record, self._ledger, self._check = record, ledger, check

    def read(self, path: Path, account: Account) -> Generator[list[Any], None, None]:
        """Some rows at a time, as they come; each line is accounted for."""
        ledger = self._ledger
        reader = Reader(self._record, ledger.reject, self._check, on_bytes=ledger.on_bytes)
        for batch in reader.read(path, account):
            yield batch.records

    def read_again(self, path: Path, size: int, folder: Path) -> Iterator[list[Any]]:
        """The rows of the first size bytes in the order of time, sorted through files in folder."""
        again = Reader(self._record, ignore, self._check).read(path, Account(), size)
        return _in_time_order(again, self._record, folder)


class TickRows:
    """Rows of processes as Ticks, which other processes make of them."""

    def __init__(self, ledger: Ledger, node: str, clk_tck: int) -> None:
        self._ledger, self._node, self._clk_tck = ledger, node, clk_tck

    def read(self, path: Path, account: Account) -> Generator[Ticks, None, None]:
        """Some rows at a time, as they come; each line is accounted for."""
        reader = PartReader(RawProc)

        def made(piece: Piece) -> tuple[Told, Any]:
            rows = [row for batch in reader.read(path, *piece) for row in batch.records]
            return reader.told, tuple(ticks_of(rows, self._node, self._clk_tck))

        ledger = self._ledger
        with closing(made_in_turn(made, pieces(path, path.stat().st_size))) as all_made:
            for told, ticks in all_made:
                take_over(told, path.name, account, ledger.reject, ledger.on_bytes)
                yield Ticks(*ticks)

    def read_again(self, path: Path, size: int, folder: Path) -> Iterator[Ticks]:
        """The rows of the first size bytes in the order of time, sorted through files in folder."""
        for rows in Rows(RawProc, self._ledger).read_again(path, size, folder):
            yield ticks_of(rows, self._node, self._clk_tck)


def _in_time_order(batches: Iterator[Batch[Any]], record: type[Any], folder: Path) -> Iterator[list[Any]]:
    """The records by ts_ms, equal ones as they came."""
    sorter = Sorter(folder)
    for batch in batches:
        entries = zip(map(_time, batch.records), batch.numbers, batch.lines, strict=True)
        sorter.add(entries, sum(map(len, batch.lines)))
    decoder = msgspec.json.Decoder(record)
    for sorted_entries in sorter.sorted():
        yield decoder.decode_lines(b"\n".join([line for _, _, line in sorted_entries]))


def _time(row: Any) -> int:
    ts_ms: int = row.ts_ms
    return ts_ms
