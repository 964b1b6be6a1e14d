"""Members that an object has twice: JSON leaves open which one counts, so readers differ.

Decoding does not tell, but counting does: each member has a colon, and a dict keeps one of two members. Where
a block has as many colons as members were decoded, none was there twice; only colons in values, or a member
that is really there twice, make a closer look necessary.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

_BLANKS = re.compile(rb'"[ \t\r]+:')
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Members:
    """Finds members that are there twice in lines of one kind of record."""

    def __init__(self, record: type[Any]) -> None:
        fields = msgspec.structs.fields(record)
        self._width = len(fields)
        self._may_lack = any(not one.required for one in fields)
        # A field with another default than UNSET does not tell whether the line had it.
        self._can_count = all(one.required or one.default is UNSET for one in fields)

    def are_doubled(self, block: bytes, records: Sequence[Any]) -> bool:
        """Whether a line of the block has a member twice. block: good lines; records: what they hold."""
        if self._can_count and block.count(b":") == self._told(records):
            return False
        objects = _OBJECT.decode_lines(block)
        members = sum(map(len, objects))
        if members == block.count(b":"):
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
