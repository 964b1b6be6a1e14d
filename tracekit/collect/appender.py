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
        self.rows = 0
        self.last_error: str | None = None
        self._lock = Lock()
        self._keep_bytes = keep_bytes
        self._pending = b""
        self._failed_at: Stamp | None = None
        self._lost = 0
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o640)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")  # a killed writer's half line must not swallow our first

    def append(self, lines: bytes, count: int) -> Failure | None:
        """Append count newline-terminated lines; returns the failure that has just ended, if one has."""
        with self._lock:
            data = self._pending + lines
            try:
                self._write_all(data)
            except OSError as error:
                self.last_error = errno.errorcode.get(error.errno or 0, str(error))
                if len(data) <= self._keep_bytes:
                    self._pending = data
                else:
                    self._failed_at = self._failed_at or now()
                    self._lost += count
                return None
            self._pending = b""
            self.rows += count
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

    def _write_all(self, lines: bytes) -> None:
        written = os.write(self._descriptor, lines)
        if written == len(lines):
            return
        size = os.fstat(self._descriptor).st_size
        os.ftruncate(self._descriptor, size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def is_in_place(self) -> bool:
        """Whether path still names the file that is being written."""
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close the descriptor; append must not be called again."""
        os.close(self._descriptor)
