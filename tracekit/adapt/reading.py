"""Input of any shape as blocks of whole lines: plain, .gz of many members, rotated sets, CRLF, BOM, stdin.

Lines are bytes: a log holds whatever a client sent, also what is not UTF-8.
"""

import glob
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tracekit.errors import TracekitError

BLOCK = 1 << 15
LINE_LIMIT = 1 << 24  # bytes of the longest line that is taken
HEAD = 1 << 16  # bytes that are kept of a longer one
STDIN = "-"
_BOM = b"\xef\xbb\xbf"
_MAGIC = {
    b"\x28\xb5\x2f\xfd": "zstd: unpack it first (zstd -d)",
    b"BZh": "bzip2: unpack it first (bunzip2)",
    b"\xfd7zXZ": "xz: unpack it first (unxz)",
}
_ROTATED = re.compile(r"(?P<stem>.+?)(?:[-.]\d{8,})?(?:\.(?P<number>\d{1,5}))?(?:\.gz)?")


class Block(NamedTuple):
    """Whole lines that follow each other, each with its newline but the last one of a file, perhaps.

    first: number of the first line, from 1. is_last: nothing follows. is_long: one line beyond LINE_LIMIT,
    of which data is the head."""

    file: str
    first: int
    data: bytes
    is_last: bool = False
    is_long: bool = False

    def lines(self) -> list[bytes]:
        """Without their newlines."""
        lines = self.data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        return lines


def expand(words: Sequence[str]) -> list[str]:
    """The files that words name, globs expanded, each once: an older part of a rotated set comes first.

    Raises TracekitError where a word names nothing."""
    found: dict[Path, str] = {}
    for word in words:
        names = [word] if word == STDIN or Path(word).exists() else glob.glob(word, recursive=True)  # noqa: PTH207
        if not names:
            raise TracekitError(f"{word}: no such file; IN names files or globs, blanks in quotes")
        for name in names:
            if Path(name).is_dir():
                raise TracekitError(f"{name}: is a directory; name its files, such as {name}/*.log")
            found.setdefault(Path(name).resolve() if name != STDIN else Path(STDIN), name)
    return sorted(found.values(), key=_age)


def _age(name: str) -> tuple[str, int, str]:
    match = _ROTATED.fullmatch(name)
    if match is None:
        return name, 0, name
    return match["stem"], -int(match["number"] or 0), name


def stem_of(name: str) -> str:
    """The name of a log without what rotation adds to it: access.log of /x/access.log.2.gz."""
    base = Path(name).name
    match = _ROTATED.fullmatch(base)
    return match["stem"] if match else base


def read(name: str, say: Callable[[str], None], size: int = BLOCK) -> Iterator[Block]:
    """The lines of a file, or of stdin ("-"), in pieces of about size bytes.

    say: told of a damaged .gz, which gives what it holds up to there. Raises OSError, and TracekitError
    where the file is packed otherwise."""
    with nullcontext(sys.stdin.buffer) if name == STDIN else Path(name).open("rb") as raw:
        yield from split(_chunks(raw, name, say, size), "stdin" if name == STDIN else Path(name).name)


def _chunks(raw: BinaryIO, name: str, say: Callable[[str], None], size: int) -> Iterator[bytes]:
    head = raw.read(size)
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise TracekitError(f"{name}: is {what}")
    if head.startswith(b"\x1f\x8b"):
        yield from _unpacked(head, raw, lambda what: say(f"{name}: {what}"), size)
        return
    while head:
        yield head
        head = raw.read(size)


def _unpacked(head: bytes, raw: BinaryIO, say: Callable[[str], None], size: int) -> Iterator[bytes]:
    """The text of all members of a gzip file."""
    packer, data = zlib.decompressobj(wbits=31), head
    while data:
        try:
            yield packer.decompress(data, size)
        except zlib.error as error:
            say(f"the .gz is damaged, what follows is lost ({error})")
            return
        if packer.eof:
            data = packer.unused_data.lstrip(b"\0") or raw.read(size)
            packer = zlib.decompressobj(wbits=31) if data else packer
        else:
            data = packer.unconsumed_tail or raw.read(size)
    if not packer.eof:
        say("the last member of the .gz is cut off")


def split(chunks: Iterator[bytes], file: str) -> Iterator[Block]:
    """Blocks of whole lines from any pieces of a text, LF at their ends."""
    rest, first, is_long = b"", 1, False
    is_start = True
    for chunk in chunks:
        data = rest + chunk
        if is_start and len(data) >= len(_BOM):
            data, is_start = data.removeprefix(_BOM), False
        if is_long:
            end = chunk.find(b"\n") + 1
            if not end:
                continue
            yield Block(file, first, rest, is_long=True)
            first, is_long, data = first + 1, False, chunk[end:]
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if len(rest) > LINE_LIMIT:
            rest, is_long = rest[:HEAD], True
        if end:
            lines = data[:end]
            yield Block(file, first, lines.replace(b"\r\n", b"\n"))
            first += lines.count(b"\n")
    if rest:
        yield Block(file, first, rest.removeprefix(_BOM) if is_start else rest, not is_long, is_long)
