"""Documents and lines of JSON on disk: read with the file's name in each error, written atomically."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tracekit.errors import TracekitError


def encode(value: object) -> bytes:
    """One compact line, UTF-8, newline-terminated, strict (NaN raises ValueError)."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def read_document(path: Path) -> dict[str, Any]:
    """The object in a .json file; {} where there is no such file.

    Raises TracekitError where it is no file, empty, torn, no object, or not to be written again as it is."""
    try:
        value = json.loads(_read_file(path), parse_constant=_refuse_constant)
        encode(value)  # Python reads half of a surrogate pair, and 1e400 as infinity; neither can be written
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise TracekitError(f"{path}: not a JSON document ({error}); restore it or remove it") from error
    if not isinstance(value, dict):
        raise TracekitError(f"{path}: wanted one JSON object; restore it or remove it")
    return value


def _read_file(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe's open would wait
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("no regular file")
        return stream.read()


@contextmanager
def replacing(path: Path, is_flushed: bool = True) -> Iterator[BinaryIO]:
    """A file to write that takes the place of path, whole, when the block ends well.

    is_flushed: to disk before that; what can be made again need not wait for it. The new file stands beside
    path meanwhile, under a name of this process; an error removes it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            if is_flushed:
                os.fsync(stream.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_document(path: Path, value: object) -> None:
    """Replace path atomically with value as indented JSON."""
    with replacing(path) as stream:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
        stream.write(text.encode() + b"\n")


def update_document(path: Path, **changes: object) -> dict[str, Any]:
    """Replace path atomically with its object plus changes; keys that others wrote stay."""
    value = read_document(path) | changes
    write_document(path, value)
    return value
