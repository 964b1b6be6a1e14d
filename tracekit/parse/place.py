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
    """A folder that becomes run_dir/cctf when the block ends well, and goes away when it does not."""
    _sweep(run_dir)
    folder = run_dir / f".cctf.{os.getpid()}.tmp"
    folder.mkdir(mode=0o750)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # tells another parse that this folder is in use
        yield folder
        _take_place(folder, run_dir / "cctf")
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the older cctf after a swap, or an unfinished one
        os.close(descriptor)


def _sweep(run_dir: Path) -> None:
    """Remove what a killed parse left."""
    for folder in run_dir.glob(".cctf.*.tmp"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # a parse that runs just now
        else:
            shutil.rmtree(folder)
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
