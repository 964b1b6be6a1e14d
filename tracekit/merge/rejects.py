"""rejected.jsonl of a merge: each line tells its node, and they stand by node, then as they came."""

from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from tracekit.files.reading import Batch
from tracekit.merge.choosing import Member
from tracekit.merge.lines import Lines
from tracekit.records import Name, Record

NAME = "rejected.jsonl"


class _Node(Record, frozen=True):
    node: Name | UnsetType = UNSET


_DECODER = msgspec.json.Decoder(_Node)


def rejects(members: Sequence[Member], on_bytes: Callable[[int], None]) -> Iterator[tuple[bytes, int]]:
    """Whole lines, and how many."""
    for member in members:
        if NAME in member.source.files:
            for batch in Lines(member, NAME, on_bytes).batches():
                yield b"\n".join([*_with_node(batch, member.node), b""]), len(batch.lines)


def _with_node(batch: Batch[object], node: str) -> Iterator[bytes]:
    head = b'{"node":"%b",' % node.encode()
    for line in batch.lines:
        has_node = b'"node"' in line and _DECODER.decode(line).node is not UNSET
        yield line if has_node else head + line.lstrip()[1:].lstrip()
