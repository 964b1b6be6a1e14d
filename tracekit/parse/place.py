"""A cctf directory is built beside its final name and put there in one step; killed at any moment, parse
leaves the older one or the new one, whole."""

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def building(run_dir: Path) -> Iterator[Path]:
    """A folder that becomes run_dir/cctf when the block ends well, and goes away when it does not.

    Two parses of one run take turns. What a killed one left is removed first."""
    descriptor = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in run_dir.glob(".cctf.*.tmp"):
            shutil.rmtree(left)
        folder = run_dir / f".cctf.{os.getpid()}.tmp"
        folder.mkdir(mode=0o750)
        try:
            yield folder
            _take_place(folder, run_dir / "cctf")
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # the older cctf after a swap, or an unfinished one
    finally:
        os.close(descriptor)


def _take_place(folder: Path, final: Path) -> None:
    """Put folder at final in one step: there is always a whole cctf, the older or the new."""
    if not final.exists():
        folder.rename(final)
        return
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE; source: renameat2(2)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at_cwd, os.fsencode(folder), at_cwd, os.fsencode(final), exchange) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(final))
