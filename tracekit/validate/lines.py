"""One .jsonl file of a cctf: each line against its record, the order, the count and the times."""

from collections.abc import Iterator
from itertools import islice
from operator import le
from pathlib import Path
from typing import Any

from tracekit.errors import BadLineError
from tracekit.files.reading import Account, Batch, Reader
from tracekit.records import FILES, ManifestFile, Record
from tracekit.validate.report import Report


def read_lines(path: Path, file: ManifestFile, record: type[Record], report: Report) -> Iterator[Batch[Any]]:
    """The lines that fit the record, a block at a time; whatever is wrong goes into the report."""

    def reject(bad: BadLineError, _line: bytes) -> None:
        report.error("record", file.name, bad.detail, bad.line)

    account = Account()
    order = _Order(file.name, report)
    for batch in Reader(record, reject).read(path, account):
        order.take(batch)
        yield batch
    if file.name != "rejected.jsonl":  # what was not taken is no record of the run
        report.records += account.lines
    if account.lines != file.records:
        report.error("records", file.name, f"has {account.lines} records, the manifest says {file.records}")
    if (order.first, order.last) != (file.first_ts, file.last_ts):
        told = f"the manifest says {file.first_ts} to {file.last_ts}"
        report.error("times", file.name, f"its times go from {order.first} to {order.last}, {told}")


class _Order:
    """The order of the file's sort key: null after all numbers, and then by ts_end."""

    def __init__(self, name: str, report: Report) -> None:
        self._name, self._report = name, report
        self._key = FILES[name].sort_key
        self._at: tuple[bool, int] = (False, 0)  # of the line before: whether it is null, and its number
        self.first: int | None = None
        self.last: int | None = None

    def take(self, batch: Batch[Any]) -> None:
        """Compare each line of the batch with the one before it."""
        if not self._key:
            return
        keys = [getattr(one, self._key) for one in batch.records]
        if None not in keys and self._at <= (False, keys[0]) and all(map(le, keys, islice(keys, 1, None))):
            self._at = (False, keys[-1])
        else:
            self._take_each(batch, keys)
        known = [key for key in keys if key is not None]
        if known:
            self.first = min(known) if self.first is None else min(self.first, *known)
            self.last = max(known) if self.last is None else max(self.last, *known)

    def _take_each(self, batch: Batch[Any], keys: list[int | None]) -> None:
        for line, key, record in zip(batch.numbers, keys, batch.records, strict=True):
            rank = (True, record.ts_end or 0) if key is None else (False, key)
            if rank < self._at:
                self._report.error("order", self._name, f"is not in the order of {self._key}", line)
            self._at = rank
