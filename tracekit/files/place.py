"""A directory is built beside its final name and put there in one step; killed at any moment, its maker
leaves the older one or the new one, whole."""

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def building(final: Path) -> Iterator[Path]:
    """A folder that becomes final when the block ends well, and goes away when it does not.

    Those that build in one directory take turns. What a killed one left is removed first."""
    descriptor = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in final.parent.glob(f".{final.name}.*.tmp"):
            _remove(left)
        folder = final.parent / f".{final.name}.{os.getpid()}.tmp"
        folder.mkdir(mode=0o750)
        try:
            yield folder
            _take_place(folder, final)
        finally:
            _remove(folder)  # the older one after a swap, or an unfinished one
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Whatever stands there: who may write beside us may have put a link or a file at our names."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _take_place(folder: Path, final: Path) -> None:
    """Put folder at final in one step: there is always a whole one, the older or the new."""
    if not final.exists():
        folder.rename(final)
        return
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE; source: renameat2(2)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at_cwd, os.fsencode(folder), at_cwd, os.fsencode(final), exchange) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(final))
