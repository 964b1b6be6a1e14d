"""What an adapter is: a class that turns blocks of one source's text into records of a sink."""

from argparse import ArgumentParser, Namespace
from typing import ClassVar

from tracekit.adapt.ids import Ids
from tracekit.adapt.reading import Block
from tracekit.adapt.sink import Sink


class Adapter:
    """Override line() for a source of lines that stand alone, take() for one with blocks of its own.

    A record that needs lines from several places is added in finish()."""

    is_whole: ClassVar[bool] = False  # take() wants a file in one block, such as one JSON document

    def __init__(self, options: Namespace, sink: Sink) -> None:
        """options: of the command line, those of add_options() among them."""
        self.options, self.sink = options, sink
        self.ids = Ids("")
        self._ids_of: dict[str, Ids] = {}

    @staticmethod
    def add_options(parser: ArgumentParser) -> None:
        """Options of this source alone."""

    def begin(self, salt: str) -> None:
        """Another input follows. salt: tells equal records of several inputs apart; one set has one."""
        self.ids = self._ids_of.setdefault(salt, Ids(salt))

    def take(self, block: Block) -> None:
        """Lines that follow each other, of the input that began last."""
        self.sink.each(block, self.line)

    def line(self, line: bytes) -> None:
        """One line without its newline. Raises NotTakenError where it is no invocation."""
        raise NotImplementedError

    def finish(self) -> None:
        """All input is read."""
