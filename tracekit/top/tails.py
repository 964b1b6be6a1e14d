"""The end of a raw file: whole lines, while another process appends to it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

Row = TypeVar("Row", bound=msgspec.Struct)


def tail(path: Path, limit: int) -> tuple[bytes, bool]:
    """The whole lines in the last limit bytes of a file, and whether these are all of its lines.

    A line that is half written is left out. Where there is no such file: no lines, all of them."""
    try:
        with path.open("rb") as stream:
            start = max(0, stream.seek(0, os.SEEK_END) - limit)
            stream.seek(start)
            data = stream.read(limit)
    except OSError:
        return b"", True
    data = data[: data.rfind(b"\n") + 1]
    return (data[data.find(b"\n") + 1 :], False) if start else (data, True)


def rows(data: bytes, kind: type[Row]) -> Sequence[Row]:
    """The lines that are records of that kind, in their order; others are parse's to tell of."""
    decoder = msgspec.json.Decoder(kind)
    try:
        return decoder.decode_lines(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return [row for line in data.splitlines() if (row := _row(line, decoder))]


def _row(line: bytes, decoder: "msgspec.json.Decoder[Row]") -> Row | None:
    try:
        return decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
