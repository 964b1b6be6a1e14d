"""Readers of the text that collectors print: tools/collectors/<name>.sh has its <name>.py here.

Each offers parse(lines) -> iterator of samples without a time: the recorder stamps a sample when it
arrives, for the tools print no date. A collector that prints JSON lines needs no reader.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from msgspec import Struct


class Reader(Protocol):
    """A module of this package."""

    def parse(self, lines: Iterable[str]) -> Iterator[Struct]:
        """Samples in the order of the lines; a line that is none yields nothing."""


def reader_for(collector: str) -> Reader | None:
    """The reader of a collector's text, by the collector's name; None where it prints JSON lines."""
    name = f"{__name__}.{collector}"
    return import_module(name) if find_spec(name) else None
