"""Processes told by an entry of their environment, which whoever started them put there.

A pid in a file is never trusted: before each signal the process that a pidfd holds is looked at again.
"""

import os
import signal
from contextlib import suppress

from tracekit.collect import procfs


def living(entry: bytes) -> list[int]:
    """The processes that have this entry (NAME=value) and have not ended."""
    found = []
    for pid in procfs.list_pids():
        with suppress(OSError, ValueError):
            if procfs.read_stat(pid).fields[procfs.STATE] not in procfs.DEAD and _has(pid, entry):
                found.append(pid)
    return found


def is_leader(pid: int) -> bool:
    """Whether the process leads its session."""
    return session_of(pid) == pid


def session_of(pid: int) -> int | None:
    """The pid that led the process's session; None where it is gone."""
    try:
        return int(procfs.read_stat(pid).fields[procfs.SESSION])
    except OSError:
        return None


def send_signal(pid: int, entry: bytes, signum: int) -> None:
    """Signal the process, if it has the entry; the pidfd keeps its pid from becoming another's meanwhile."""
    with suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if _has(pid, entry):
                signal.pidfd_send_signal(pidfd, signum)
        finally:
            os.close(pidfd)


def _has(pid: int, entry: bytes) -> bool:
    return entry in procfs.read(pid, "environ").split(b"\0")
