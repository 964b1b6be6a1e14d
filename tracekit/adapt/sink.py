"""Where an adapter's records go: invocations, placement events, and what was not taken, with the reason."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from tracekit import jsonl
from tracekit.adapt.account import Account, NotTakenError, SkippedError
from tracekit.adapt.reading import HEAD, Block
from tracekit.records import Invocation, PlacementEvent

_FIELDS = tuple(one.name for one in msgspec.structs.fields(Invocation))
_ALWAYS = (*_FIELDS[: _FIELDS.index("query")], "source", "queue_source")
_REST = [name for name in _FIELDS if name not in _ALWAYS]  # left out where they are not known


class Lines(Protocol):
    """A file that takes lines with their newlines."""

    def add(self, lines: list[bytes]) -> None:
        """Take them in any order."""


class Sink:
    """Checks, encodes and counts what an adapter found.

    node, stage: of every record that brings none. modules: the module_ids met."""

    def __init__(self, source: str, node: str, stage: str | None, files: dict[str, Lines]) -> None:
        """files: "invocations", "placement", "rejected"."""
        self.source, self.node, self.stage = source, node, stage
        self.account = Account()
        self.modules: set[str] = set()
        self.first_bad: list[str] = []
        self.at = ("", 0)  # file and number of the line that each() is at
        self._files = files

    def add_lines(self, lines: list[bytes]) -> None:
        """Invocations that are encoded already, each with its newline."""
        self.account.taken += len(lines)
        self._files["invocations"].add(lines)

    def add(self, **known: Any) -> None:
        """One invocation. Raises NotTakenError where a field is not as the trace wants it."""
        self.add_lines([self.encoded(known)])

    def encoded(self, known: dict[str, Any]) -> bytes:
        """The line of one invocation; ts_end comes second where there is no ts_enqueue to sort it by."""
        full = {"ts_enqueue": None, "node": self.node, "stage": self.stage, "source": self.source, **known}
        try:
            record = msgspec.convert(full, Invocation)
        except msgspec.ValidationError as error:
            raise NotTakenError("type", str(error)) from error
        if record.module_id is not None:
            self.modules.add(record.module_id)
        if record.ts_enqueue is None and record.ts_end is None:
            raise NotTakenError("no_stamp", "neither ts_enqueue nor ts_end is known")
        values = {"ts_enqueue": record.ts_enqueue}
        if record.ts_enqueue is None:
            values["ts_end"] = record.ts_end
        values |= {name: full.get(name) for name in _ALWAYS}
        values |= {name: full[name] for name in _REST if full.get(name) is not None}
        return msgspec.json.encode(values) + b"\n"

    def place(self, ts_ms: int, event: str, **known: Any) -> None:
        """An instance of a module started or stopped. known: node_id, app_id, module_id, instance_id."""
        full = {
            "ts": ts_ms,
            "app_id": None,
            "module_id": None,
            "instance_id": None,
            "node_id": self.node,
            **known,
        }
        full["event"] = event
        try:
            msgspec.convert(full, PlacementEvent)
        except msgspec.ValidationError as error:
            raise NotTakenError("type", f"placement event: {error}") from error
        self._files["placement"].add([jsonl.encode(full)])

    def not_taken(self, file: str, line: int, why: NotTakenError, text: bytes) -> None:
        """Count what was not taken; keep it, unless it is known to be no invocation."""
        if isinstance(why, SkippedError):
            self.account.skipped[why.reason] += 1
            return
        self.account.rejected[why.reason] += 1
        if len(self.first_bad) < 5 and why.reason != "torn":
            self.first_bad.append(f"{file}:{line}: {why.detail} [{why.reason}]")
        shown = text[:HEAD].decode("utf-8", "backslashreplace")
        row = {"file": file, "line": line, "reason": why.reason, "text": shown}
        self._files["rejected"].add([jsonl.encode(row)])

    def each(self, block: Block, take: Callable[[bytes], None]) -> None:
        """Call take(line) for each line of a block; what it raises is counted and kept."""
        if block.is_long:
            self.not_taken(block.file, block.first, NotTakenError("long", "the line is too long"), block.data)
            return
        lines = block.lines()
        for number, line in enumerate(lines, block.first):
            is_torn = block.is_last and number == block.first + len(lines) - 1
            self.attempt(block.file, number, line, partial(_take_line, take, line), is_torn)

    def attempt(
        self, file: str, line: int, text: bytes, take: Callable[[], None], is_torn: bool = False
    ) -> None:
        """Call take(); where it raises, the text is counted and kept as not taken."""
        self.at = (file, line)
        try:
            take()
        except NotTakenError as error:
            why = error
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            why = NotTakenError("type", f"{type(error).__name__}: {error}")  # a value of another shape
        else:
            return
        if is_torn and not isinstance(why, SkippedError):
            why = NotTakenError("torn", "the last line is cut off")
        self.not_taken(file, line, why, text)


def _take_line(take: Callable[[bytes], None], line: bytes) -> None:
    if not line.strip():
        raise NotTakenError("empty", "the line is empty")
    take(line)
