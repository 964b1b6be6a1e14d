"""Appending whole lines to a raw file, on a disk that may be full.

One write(2) a call on an O_APPEND descriptor. Where the disk takes only a part, the part is cut off
again, so that no torn line stays; what is lost is counted and told as a Failure when it is over.
"""

import errno
import os
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from tracekit.collect.clock import Stamp, now


def open_raw(path: Path) -> int:
    """A descriptor to append to a file of the run's directory, where an app may write too; mode 0640.

    A planted symbolic link is not followed; a killed writer's half line is ended, so that it does not
    swallow the next. Raises OSError."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            write_all(descriptor, b"\n")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def append_once(path: Path, lines: bytes) -> None:
    """Append whole lines to a raw file that nobody here holds open. Raises OSError."""
    descriptor = open_raw(path)
    try:
        write_all(descriptor, lines)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, lines: bytes) -> None:
    """All of some whole lines, or none: what a full disk took of them is cut off again. Raises OSError."""
    written = os.write(descriptor, lines)
    if written == len(lines):
        return
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    if os.fstat(descriptor).st_size == end:  # no app has appended since
        os.ftruncate(descriptor, end - written)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Failure(NamedTuple):
    """A time in which nothing could be appended."""

    file: str
    reason: str
    began: Stamp
    ended: Stamp
    lines: int


class Appender:
    """A raw file open for appending; safe to call from several threads."""

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        """Open or create path (mode 0640). Raises OSError where that cannot be done.

        keep_bytes: so much is kept while it cannot be written, and written later."""
        self.path = path
        self.last_error: str | None = None
        self._lock = Lock()
        self._keep_bytes = keep_bytes
        self._pending = b""
        self._failed_at: Stamp | None = None
        self._lost = 0
        self._descriptor = open_raw(path)

    def append(self, lines: bytes, count: int) -> Failure | None:
        """Append count newline-terminated lines; returns the failure that has just ended, if one has."""
        with self._lock:
            data = self._pending + lines
            try:
                write_all(self._descriptor, data)
            except OSError as error:
                self.last_error = errno.errorcode.get(error.errno or 0, str(error))
                if len(data) <= self._keep_bytes:
                    self._pending = data
                else:
                    self._failed_at = self._failed_at or now()
                    self._lost += count
                return None
            self._pending = b""
            return self._ended_failure()

    def retry(self) -> Failure | None:
        """Try again to write what is kept."""
        return self.append(b"", 0) if self._pending else None

    def _ended_failure(self) -> Failure | None:
        if self._failed_at is None:
            self.last_error = None
            return None
        failure = Failure(self.path.name, self.last_error or "unknown", self._failed_at, now(), self._lost)
        self._failed_at, self._lost, self.last_error = None, 0, None
        return failure

    def is_in_place(self) -> bool:
        """Whether path still names the file that is being written."""
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close the descriptor; append must not be called again."""
        os.close(self._descriptor)
