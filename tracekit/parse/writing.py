"""The files of a cctf as they are written: counted, hashed, and sorted where they did not come in order."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import msgspec

from tracekit.records import FILES, ManifestFile, Record

_ENCODER = msgspec.json.Encoder()
_NUMBER = re.compile(rb'\{"\w+":(\d+)')


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

    def write(self, records: Sequence[Record]) -> None:
        """Append records."""
        if records:
            keys = [getattr(record, self._key) for record in records] if self._key else []
            self._put(_ENCODER.encode_lines(records), len(records), keys)

    def write_lines(self, lines: Sequence[bytes], keys: Sequence[int | None]) -> None:
        """Append lines without their newline, in the order of the sort key: keys, null last."""
        if lines:
            self._put(b"\n".join(lines) + b"\n", len(lines), [key for key in keys if key is not None])

    def _put(self, data: bytes, count: int, keys: Sequence[int]) -> None:
        self._stream.write(data)
        self._hash.update(data)
        self._records += count
        self._bytes += len(data)
        if keys:
            self._is_sorted = self._is_sorted and self._follows(keys)
            self._first = min(keys) if self._first is None else min(self._first, *keys)
            self._last = max(keys) if self._last is None else max(self._last, *keys)

    def _follows(self, keys: Sequence[int]) -> bool:
        if self._last is not None and keys[0] < self._last:
            return False
        return all(before <= after for before, after in pairwise(keys))

    def close(self) -> ManifestFile:
        """Finish the file, sorted by time; the line order of equal times stays."""
        self._stream.close()
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
        with self.path.open("rb") as source, beside.open("wb") as target:
            for line in sorted_lines((_time_of(line), line) for line in source):
                self._hash.update(line)
                target.write(line)
        beside.replace(self.path)


def _time_of(line: bytes) -> bytes:
    found = _NUMBER.match(line)
    return b"%020d" % int(found.group(1)) if found else b"~"  # null sorts after every number


def sorted_lines(keyed: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Lines in the order of their keys, equal keys in the order they came.

    keyed: (key, line)."""
    for _, _, line in sorted((key, number, line) for number, (key, line) in enumerate(keyed)):
        yield line


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
