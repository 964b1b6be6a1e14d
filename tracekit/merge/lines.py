"""One .jsonl file of an input: every line against its record, its order, and the whole against the manifest,
in one pass over its bytes."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, BinaryIO, Literal

import msgspec

from tracekit.errors import BadLineError, TracekitError
from tracekit.files.members import Members
from tracekit.files.reading import Account, Batch, Reader
from tracekit.merge.choosing import Member
from tracekit.merge.inputs import changed
from tracekit.merge.kway import Block
from tracekit.records import FILES, Record

NULL = 1 << 63  # above every number; a line without a key has this plus its ts_end
Look = Callable[[Batch[Any], list[int]], None]
Change = Callable[[Batch[Any], list[int]], tuple[list[int], list[bytes]]]
_BLOCK = 1 << 18
_SAMPLE = 8  # lines; where two of such a distance mostly have one key, those of one key are one piece


class Lines:
    """The lines of one file of a member, in its order."""

    def __init__(self, member: Member, name: str, on_bytes: Callable[[int], None] | None = None) -> None:
        self._source, self._file = member.source, member.source.files[name]
        self._key = FILES[name].sort_key
        record = FILES[name].record
        members = _OfOneNode(record, member)
        if self._key == "ts_ms":  # of which many rows may be: a tick's
            members.opening = b'{"ts_ms":'
        self._opening = members.opening
        self._reader: Reader[Any] = Reader(record, self._refuse, on_bytes=on_bytes, members=members)
        self._last = 0

    def blocks(self, look: Look | None = None, change: Change | None = None) -> Iterator[Block]:
        """Its lines with their keys, those of one key perhaps in one piece. change: gives other ones for a
        batch. look: is shown each batch and the keys that it goes out with.

        Raises TracekitError at the first line that is bad or out of order, and at the end where the file is
        not the one that the manifest lists."""
        for batch in self.batches():
            keys = self._keys(batch)
            block = Block(*change(batch, keys)) if change else self._pieces(batch, keys)
            if look:
                look(batch, block.keys if change else keys)
            yield block

    def batches(self) -> Iterator[Batch[Any]]:
        """The same without keys, for a file that has no order."""
        with (self._source.folder / self._file.name).open("rb", buffering=0) as stream:
            hashed, account = _Hashed(stream), Account()
            yield from self._reader.read_stream(hashed, self._file.name, account)
        if hashed.hexdigest() != self._file.sha256:
            raise changed(self._source, self._file.name)
        if account.lines != self._file.records:
            told = f"{account.lines} records, its manifest says {self._file.records}"
            raise TracekitError(f"{self._source.name}: {self._file.name} has {told}; parse that run again")

    def _keys(self, batch: Batch[Any]) -> list[int]:
        keys = list(map(attrgetter(self._key), batch.records))
        if None in keys:
            keys = [_key_of(one, key) for one, key in zip(batch.records, keys, strict=True)]
        if self._last > keys[0] or sorted(keys) != keys:
            self._refuse_order(batch, keys)
        self._last = keys[-1]
        return keys

    def _pieces(self, batch: Batch[Any], keys: list[int]) -> Block:
        """Lines of one key in one piece, where that makes far fewer pieces than lines."""
        sample = keys[::_SAMPLE]
        if not self._opening or not batch.text or len(set(sample)) * 2 > len(sample):
            return Block(keys, batch.lines)
        text, begins, moments = batch.text, [0], list(dict.fromkeys(keys))
        for key, before in zip(moments[1:], moments, strict=False):
            at = text.find(b"\n%b%d," % (self._opening, key), begins[-1])
            last = text.rfind(b"\n", begins[-1], max(at, 0)) + 1 or begins[-1]
            # Where the first line of this key is written in another way, a later one is found, and the line
            # before that is not written as one of the key before.
            if at < 0 or not text.startswith(b"%b%d," % (self._opening, before), last):
                return Block(keys, batch.lines)
            begins.append(at + 1)
        ends = [*begins[1:], len(text)]
        return Block(moments, [text[begin : end - 1] for begin, end in zip(begins, ends, strict=True)])

    def _refuse(self, bad: BadLineError, _line: bytes) -> None:
        raise self._bad(bad.line, bad.detail)

    def _refuse_order(self, batch: Batch[Any], keys: list[int]) -> None:
        before = [self._last, *keys]
        at = next(index for index, key in enumerate(keys) if key < before[index])
        raise self._bad(batch.numbers[at], f"is not in the order of {self._key}")

    def _bad(self, line: int, detail: str) -> TracekitError:
        """A line that cannot be taken: most likely because the file is not the one that was written."""
        with (self._source.folder / self._file.name).open("rb") as stream:
            hashed = _Hashed(stream)
            while hashed.read(_BLOCK):
                pass
        if hashed.hexdigest() != self._file.sha256:
            return changed(self._source, self._file.name)
        where = f"{self._source.name}: {self._file.name}:{line}"
        return TracekitError(f"{where}: {detail}; `make validate` says more, parse that run again")


class _OfOneNode(Members):
    """Decodes blocks in which every line tells the member's own node and stage, at half of the cost; others
    as their record. A member of an object that is there twice is left to validate."""

    def __init__(self, record: type[Record], member: Member) -> None:
        own = {"node": member.node, "node_id": member.node, "stage": member.document.get("stage")}
        fields: list[Any] = []
        for one in msgspec.structs.fields(record):
            value = own.get(one.name)
            kind = Literal[value] if value else one.type
            fields.append((one.name, kind) if one.required else (one.name, kind, one.default))
        narrow = msgspec.defstruct(f"Own{record.__name__}", fields, frozen=True, kw_only=True, gc=False)
        self._decoder = msgspec.json.Decoder(narrow)
        self._general = msgspec.json.Decoder(record)

    def decode(self, block: bytes) -> list[Any]:
        try:
            return self._decoder.decode_lines(block)
        except msgspec.ValidationError:
            self._decoder = self._general
            return self._decoder.decode_lines(block)

    def are_doubled(self, block: bytes, records: Sequence[Any]) -> bool:
        del block, records
        return False


class _Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._hash = stream, hashlib.sha256()
        self.hexdigest = self._hash.hexdigest

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        return data


def _key_of(record: Any, key: int | None) -> int:
    return NULL + (getattr(record, "ts_end", None) or 0) if key is None else key
