"""Reading raw JSON lines a block at a time: typed, strict, and no line without an account.

A block of whole lines is decoded in one call. That call would take two records on one line or one
record on two, so the block counts only if it has as many records as lines, and each line begins with
"{" and ends with "}" (no JSON value holds "}", newline, "{"). Any doubt, and the block is read again line
by line.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from tracekit.errors import BadLineError
from tracekit.files.members import Members, is_doubled

T = TypeVar("T")
BLOCK = 1 << 16  # larger ones are no faster, and cost memory for each input that is merged
LINE_LIMIT = 1 << 24  # bytes of the longest line that is taken; a command line has up to 2 MiB, escapes apart
_HEAD = 1 << 18  # bytes that are kept of a longer one: what rejected.jsonl shows, in any encoding
_ANY = msgspec.json.Decoder(msgspec.Raw)
_FIRST, _LAST = itemgetter(0), itemgetter(-1)


class Account:
    """What became of the lines of one input: lines = accepted + rejected + duplicates."""

    def __init__(self) -> None:
        self.lines = 0
        self.bytes = 0
        self.rejected: Counter[str] = Counter()
        self.duplicates = 0

    @property
    def accepted(self) -> int:
        """Lines that went into the cctf."""
        return self.lines - self.rejected.total() - self.duplicates


class Batch(Generic[T]):
    """Good lines that follow each other: numbers from 1, lines without their newlines, records.

    text: all lines with their newlines; None where they were not read as one block."""

    def __init__(
        self, numbers: Sequence[int], lines: list[bytes] | None, records: list[T], text: bytes | None = None
    ) -> None:
        """lines: None where text is to be cut into them once they are asked for."""
        self.numbers, self.records, self.text = numbers, records, text
        self._lines = lines

    @property
    def lines(self) -> list[bytes]:
        if self._lines is None:
            self._lines = self.text[:-1].split(b"\n") if self.text else []
        return self._lines


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most size bytes; none at the end."""


Reject = Callable[[BadLineError, bytes], None]


def ignore(_bad: BadLineError, _line: bytes) -> None:
    """The Reject of a second reading: the first has told."""


class Reader(Generic[T]):
    """Reads files of one kind of record; each bad line goes to reject and into the file's account."""

    def __init__(
        self,
        record: type[T],
        reject: Reject,
        check: Callable[[T], str | None] | None = None,
        are_good: Callable[[list[T]], bool] | None = None,
        on_bytes: Callable[[int], None] | None = None,
        members: Members | None = None,
    ) -> None:
        """check: what is wrong with a well-typed record, as "reason: detail"; None where nothing is.

        are_good: quickly, whether check finds nothing in any of them. on_bytes: told of each block read.
        members: decodes whole blocks, another way than this does by itself."""
        self._decoder = msgspec.json.Decoder(record)
        self._members = members or Members(record)
        self._reject = reject
        self._check = check
        self._are_good = are_good
        self._on_bytes = on_bytes

    def read(self, path: Path, account: Account, size: int | None = None) -> Iterator[Batch[T]]:
        """The good records of path in the order of the file; size: of its first bytes only."""
        with path.open("rb") as stream:
            yield from self.read_stream(stream, path.name, account, size)

    def read_stream(
        self, stream: Readable, name: str, account: Account, size: int | None = None
    ) -> Iterator[Batch[T]]:
        """The same of an open file; name: as errors tell it."""
        for block, is_last, is_long, length in _blocks(stream, size):
            account.bytes += length
            if self._on_bytes:
                self._on_bytes(length)
            first = account.lines + 1
            if is_long:
                self._reject_long(block, name, account)
                continue
            batch = self._fast(block, first)
            if batch is None:
                lines = block.split(b"\n")
                is_torn = lines[-1] != b""
                if not is_torn:
                    lines.pop()
                batch = self._slow(lines, first, is_torn and is_last, name, account)
                account.lines += len(lines)
            else:
                account.lines += len(batch.records)
            if batch.records:
                yield batch

    def _reject_long(self, head: bytes, name: str, account: Account) -> None:
        account.lines += 1
        account.rejected["long"] += 1
        detail = f"the line has more than {LINE_LIMIT >> 20} MiB"
        self._reject(BadLineError(name, account.lines, "long", detail), head)

    def _fast(self, block: bytes, first: int) -> Batch[T] | None:
        if not block.endswith(b"}\n") or b"\r" in block:
            return None
        try:
            if not block.isascii():
                block.decode()
            records: list[T] = self._members.decode(block)
            batch = Batch(range(first, first + len(records)), None, records, block)
            if not self._are_lines(batch, block) or self._members.are_doubled(block, records):
                return None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if self._check and not self._passes(records):
            return None
        return batch

    def _are_lines(self, batch: Batch[T], block: bytes) -> bool:
        """Whether each line has one record, and each record one line."""
        count, opening = len(batch.records), self._members.opening
        if opening and block.startswith(opening) and block.count(b"}\n" + opening) == count - 1:
            return block.count(b"\n") == count
        return len(batch.lines) == count and _are_objects(batch.lines)

    def _passes(self, records: list[T]) -> bool:
        if self._are_good:
            return self._are_good(records)
        return not any(self._check(record) for record in records)  # type: ignore[misc] # it is there

    def _slow(self, lines: list[bytes], first: int, is_torn: bool, name: str, account: Account) -> Batch[T]:
        numbers: list[int] = []
        good: Batch[T] = Batch(numbers, [], [])
        for number, line in enumerate(lines, first):
            line_is_torn = is_torn and number == first + len(lines) - 1
            try:
                record = self._one(line, line_is_torn, name, number)
            except BadLineError as bad:
                account.rejected[bad.reason] += 1
                self._reject(bad, line)
                continue
            numbers.append(number)
            # A raw return is white space in JSON, but many readers take it for the end of the line.
            good.lines.append(line.strip().replace(b"\r", b" "))
            good.records.append(record)
        return good

    def _one(self, line: bytes, is_torn: bool, name: str, number: int) -> T:
        def bad(reason: str, detail: str) -> BadLineError:
            return BadLineError(name, number, reason, detail)

        try:
            line.decode()
            record: T = self._decoder.decode(line)
            if is_doubled(line):
                raise bad("key", "an object has a member twice")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            why = _why_no_json(line)  # a wrong type ends decoding early, whatever follows it
            if why and is_torn:
                why = ("torn", "the last line is cut off")
            raise bad(*(why or ("type", str(error)))) from error
        complaint = self._check(record) if self._check else None
        if complaint:
            reason, _, detail = complaint.partition(": ")
            raise bad(reason, detail)
        return record


def _are_objects(lines: list[bytes]) -> bool:
    """Whether each line begins with "{" and ends with "}", so that no record goes over a line's end."""
    try:
        return set(map(_FIRST, lines)) == {ord("{")} and set(map(_LAST, lines)) == {ord("}")}
    except IndexError:  # an empty line
        return False


def _why_no_json(line: bytes) -> tuple[str, str] | None:
    """(reason, detail) of a line that is no JSON; None where it is."""
    if not line.strip():
        return "empty", "the line is empty"
    try:
        line.decode()
        _ANY.decode(line)
    except UnicodeDecodeError as error:
        return "utf8", f"byte {error.start + 1} is not UTF-8"
    except (msgspec.MsgspecError, RecursionError) as error:
        return ("nul", "the line holds NUL bytes") if b"\0" in line else ("json", str(error))
    return None


class _Block(NamedTuple):
    """Whole lines, of which only the last one of a file may lack its newline; or the head of a long line."""

    data: bytes
    is_last: bool
    is_long: bool
    length: int  # bytes of the file that it stands for


def _blocks(stream: Readable, size: int | None) -> Iterator[_Block]:
    """The file in the order of its lines; of a line beyond LINE_LIMIT the head alone, in constant memory."""
    rest, length, is_long = b"", 0, False  # of a line that is not whole yet
    left = size if size is not None else 1 << 62
    while data := stream.read(min(BLOCK, left)):
        left -= len(data)
        first = data.find(b"\n") + 1
        is_long = is_long or length + (first or len(data)) > LINE_LIMIT
        if is_long and not first:
            rest, length = (rest + data)[:_HEAD], length + len(data)
            continue
        if is_long:
            yield _Block((rest + data[: first - 1])[:_HEAD], False, True, length + first)
            rest, length, is_long, data = b"", 0, False, data[first:]
        end = data.rfind(b"\n") + 1
        if end:
            yield _Block(rest + data[:end], False, False, length + end)
            rest, length = data[end:], len(data) - end
        else:
            rest, length = rest + data, length + len(data)
    if rest:
        yield _Block(rest, True, is_long, length)
