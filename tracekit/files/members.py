"""Members that an object has twice: JSON leaves open which one counts, so readers differ.

Decoding does not tell, but counting does: each member has a colon, and a dict keeps one of two members. Where
a block has as many colons as members were decoded, none was there twice; only colons in values, or a member
that is really there twice, make a closer look necessary.
"""

import json
import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET

_BLANKS = re.compile(rb'"[ \t\r]+:')
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Members:
    """Finds members that are there twice in lines of one kind of record."""

    # What lines most likely begin with, where hardly anyone asks for single ones: a block of such lines is
    # proved without being cut.
    opening: bytes | None = None

    def __init__(self, record: type[Any]) -> None:
        fields = msgspec.structs.fields(record)
        self._width = len(fields)
        self._may_lack = any(not one.required for one in fields)
        # A field with another default than UNSET does not tell whether the line had it.
        self._can_count = all(one.required or one.default is UNSET for one in fields)
        self._record, self._fields = record, fields
        self._always = {one.name for one in fields}  # that all lines had so far
        self._decoder = self._narrow = msgspec.json.Decoder(record)
        if self._can_count and self._may_lack:
            self._narrow_to([])

    def decode(self, block: bytes) -> list[Any]:
        """The records of a block of lines. Raises msgspec.MsgspecError where one is bad.

        The members that all lines have are made required, so that decoding tells that they are there."""
        try:
            return self._narrow.decode_lines(block)
        except msgspec.ValidationError:
            records = self._decoder.decode_lines(block)
            if self._can_count and self._may_lack:
                self._narrow_to(records)
            return records

    def _narrow_to(self, records: list[Any]) -> None:
        columns = {name: map(attrgetter(name), records) for name in self._always}
        self._always = {name for name, values in columns.items() if UNSET not in values}
        fields = [
            (one.name, one.type, *([] if one.name in self._always else [UNSET])) for one in self._fields
        ]
        narrow = msgspec.defstruct(self._record.__name__, fields, frozen=True, kw_only=True, gc=False)
        self._narrow = msgspec.json.Decoder(narrow)

    def are_doubled(self, block: bytes, records: Sequence[Any]) -> bool:
        """Whether a line of the block has a member twice. block: good lines; records: of decode."""
        colons = block.count(b":")
        least = len(self._always) * len(records)
        if self._can_count and (colons == least or colons == self._told(records)):
            return False
        objects = _OBJECT.decode_lines(block)
        members = sum(map(len, objects))
        if members == colons:
            return False
        if members == block.count(b'":') and not _BLANKS.search(block):
            return False
        lines = block[:-1].split(b"\n")
        return any(
            len(one) != line.count(b":") and is_doubled(line)
            for one, line in zip(objects, lines, strict=True)
        )

    def _told(self, records: Sequence[Any]) -> int:
        """How many members of the lines are fields of the record."""
        absent = sum(msgspec.structs.astuple(one).count(UNSET) for one in records) if self._may_lack else 0
        return self._width * len(records) - absent


def is_doubled(line: bytes) -> bool:
    """Whether an object in the line, at any depth, has a member twice. line: one good JSON object."""
    found = False

    def members(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({name for name, _ in pairs}) < len(pairs)

    json.loads(line, object_pairs_hook=members, parse_int=str, parse_float=str)
    return found
