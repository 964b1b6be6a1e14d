"""A live log, followed as it grows: through rotation by rename or by truncation, to the last whole line."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tracekit.adapt.reading import BLOCK, Block, split

LOOK_S = 0.2
_KEPT_LOOKS = 50  # so long a file that was renamed is read on: its writer may not know yet


class _Open:
    """One file of that name, old or new, and its last line as far as it is written."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.name = path.name
        self.inode = os.fstat(self.descriptor).st_ino
        self.quiet_looks = 0
        self._rest, self._next = b"", 1

    def read(self) -> Iterator[Block]:
        """The lines that are whole by now."""
        size = os.fstat(self.descriptor).st_size
        if size < os.lseek(self.descriptor, 0, os.SEEK_CUR):  # truncated: a new log in the old file
            os.lseek(self.descriptor, 0, os.SEEK_SET)
            self._rest, self._next = b"", 1
        while data := os.read(self.descriptor, BLOCK):
            self.quiet_looks = -1
            end = data.rfind(b"\n") + 1
            if not end:
                self._rest += data
                continue
            for block in split(iter([self._rest + data[:end]]), self.name):
                yield block._replace(first=self._next + block.first - 1)
                self._next += block.data.count(b"\n")
            self._rest = data[end:]
        self.quiet_looks += 1

    def rest(self) -> Iterator[Block]:
        """What stands behind the last newline, at the end of all."""
        if self._rest:
            yield Block(self.name, self._next, self._rest, is_last=True)


def follow(path: Path, is_ending: Callable[[float], bool]) -> Iterator[Block]:
    """Blocks as they are written, from the beginning of the file on; it may be made later.

    is_ending(seconds) waits so long and tells whether to end; what is there then is still read."""
    files: list[_Open] = []
    while True:
        last = is_ending(LOOK_S)
        try:
            inode = path.stat().st_ino
            if not any(file.inode == inode for file in files):
                files.append(_Open(path))
        except FileNotFoundError:
            inode = 0
        for file in list(files):
            yield from file.read()
            if last or (file.inode != inode and file.quiet_looks > _KEPT_LOOKS):
                yield from file.rest()
                os.close(file.descriptor)
                files.remove(file)
        if last:
            return
