"""A file that several processes may append to at the same time."""

import fcntl
import os
from pathlib import Path


class Appender:
    """An append-only file: whole lines, each call one write that no other writer's can split."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o640)

    def add(self, lines: list[bytes]) -> None:
        """Append them. Raises OSError (a full disk); then none of them is there, not even in part."""
        data = b"".join(lines)
        if not data:
            return
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            size = os.fstat(self._descriptor).st_size
            written = 0
            try:
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
            except OSError:
                os.ftruncate(self._descriptor, size)
                raise
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
