"""The files of a cctf as they are written: counted, hashed, and sorted where they did not come in order."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from tracekit.files.sorting import Sorter
from tracekit.records import FILES, ManifestFile

_ENCODER = msgspec.json.Encoder()
_NUMBER = re.compile(rb'\{"\w+":(\d+)')
_BLOCK = 1 << 18


class LinesFile:
    """One .jsonl file of a cctf. Lines must have the sort key first; they may come in any order."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self._key = FILES[name].sort_key
        self._stream: BinaryIO = self.path.open("wb")
        self._hash = hashlib.sha256()
        self._records = 0
        self._bytes = 0
        self._first: int | None = None
        self._last: int | None = None
        self._is_sorted = True

    def write(self, records: Sequence[msgspec.Struct], keys: Sequence[int] | None = None) -> None:
        """Append records; keys: their sort keys, if the caller has them at hand."""
        if records:
            if keys is None:
                keys = [getattr(record, self._key) for record in records] if self._key else []
            self._put(_ENCODER.encode_lines(records), len(records), keys)

    def write_text(self, text: bytes, count: int, keys: Sequence[int]) -> None:
        """Append so many whole lines, in the order of the sort key; keys: those that are not null."""
        self._put(text, count, keys)

    def _put(self, data: bytes, count: int, keys: Sequence[int]) -> None:
        self._stream.write(data)
        self._hash.update(data)
        self._records += count
        self._bytes += len(data)
        if not keys:
            return
        in_order = sorted(keys)
        follows = self._last is None or self._last <= keys[0]
        self._is_sorted = self._is_sorted and follows and in_order == keys
        self._first = in_order[0] if self._first is None else min(self._first, in_order[0])
        self._last = in_order[-1] if self._last is None else max(self._last, in_order[-1])

    def end(self) -> None:
        """Write no more, so that another file of the same name can take its place."""
        self._stream.close()

    def close(self) -> ManifestFile:
        """Finish the file, sorted by time; the line order of equal times stays."""
        self.end()
        if not self._is_sorted:
            self._sort()
        return ManifestFile(
            name=self.path.name,
            records=self._records,
            bytes=self._bytes,
            sha256=self._hash.hexdigest(),
            first_ts=self._first,
            last_ts=self._last,
        )

    def _sort(self) -> None:
        beside = self.path.with_suffix(".sorting")
        self._hash = hashlib.sha256()
        sorter = Sorter(self.path.parent)
        for number, lines in enumerate(_blocks_of_lines(self.path)):
            keyed = ((_time_of(line), (number, at), line) for at, line in enumerate(lines))
            sorter.add(keyed, sum(map(len, lines)))
        with beside.open("wb") as target:
            for entries in sorter.sorted():
                data = b"".join([line for _, _, line in entries])
                self._hash.update(data)
                target.write(data)
        beside.replace(self.path)


def _blocks_of_lines(path: Path) -> Iterator[list[bytes]]:
    with path.open("rb") as source:
        while lines := source.readlines(_BLOCK):
            yield lines


def _time_of(line: bytes) -> int:
    found = _NUMBER.match(line)
    return int(found.group(1)) if found else 1 << 63  # null sorts after every number


def write_json(folder: Path, name: str, value: object) -> ManifestFile:
    """Write a .json document of a cctf, indented, in the order of the record's fields."""
    data = msgspec.json.format(_ENCODER.encode(value), indent=2) + b"\n"
    (folder / name).write_bytes(data)
    return ManifestFile(
        name=name,
        records=len(value) if isinstance(value, list) else 1,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        first_ts=None,
        last_ts=None,
    )
