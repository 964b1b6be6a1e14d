"""Many sorted inputs to one, a block of each in memory: what is not above the least of the blocks' last keys
is next. Equal keys come in the order of the inputs, then of their lines."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Block(NamedTuple):
    """Lines, or pieces of several lines of one key, in the order of their keys; without the last newline."""

    keys: list[int]
    pieces: list[bytes]


def merged(inputs: Sequence[Iterator[Block]]) -> Iterator[Block]:
    """The lines of all inputs in order; no block is empty."""
    alive = [_Cursor(one, order) for order, one in enumerate(inputs)]
    while alive := [one for one in alive if one.keys]:
        limit, order = min((one.keys[-1], one.order) for one in alive)
        keys: list[int] = []
        pieces: list[bytes] = []
        for one in alive:
            # Of the inputs behind that one, lines of the same key wait: it may have more of them.
            one.take(limit, one.order <= order, keys, pieces)
        yield _in_order(keys, pieces)


def _in_order(keys: list[int], pieces: list[bytes]) -> Block:
    order = sorted(range(len(keys)), key=keys.__getitem__)
    keys.sort()
    return Block(keys, list(map(pieces.__getitem__, order)))


class _Cursor:
    """Where the merge stands in one input; keys is empty at the end."""

    def __init__(self, blocks: Iterator[Block], order: int) -> None:
        self.order = order
        self._blocks = blocks
        self._next()

    def _next(self) -> None:
        self._at = 0
        self.keys, self._pieces = next(self._blocks, Block([], []))

    def take(self, limit: int, with_limit: bool, keys: list[int], pieces: list[bytes]) -> None:
        """Move what is below limit, or at it where so said, to the end of keys and pieces."""
        cut = bisect_right if with_limit else bisect_left
        end = cut(self.keys, limit, self._at)
        keys += self.keys[self._at : end]
        pieces += self._pieces[self._at : end]
        self._at = end
        if end == len(self.keys):
            self._next()
