"""What the kernel tells of a process under /proc, as bytes, split the only safe way.

A process name may hold anything, so a stat line is cut at its last ")". Every function raises
OSError (ENOENT, ESRCH, EACCES) where the process is gone or not ours to see: callers expect it.
"""

import os
from contextlib import suppress
from typing import NamedTuple

PROC = "/proc"
_BLOCK = 4096

# Positions after the name in /proc/<pid>/stat. Source: proc(5); field 3 (state) is position 0.
STATE, PPID, SESSION, UTIME, STIME, CUTIME, CSTIME, THREADS, STARTTIME = 0, 1, 3, 11, 12, 13, 14, 17, 19


DEAD = (b"Z", b"X")  # states of a process that has ended


class Stat(NamedTuple):
    """A stat line: comm as text, the rest still bytes; fields[UTIME] and so on."""

    comm: str
    fields: list[bytes]


def parse_stat(line: bytes) -> Stat:
    """Split one /proc/<pid>/stat line. Raises ValueError where it is none."""
    opening, closing = line.index(b"("), line.rindex(b")")
    fields = line[closing + 2 :].split()
    if len(fields) <= STARTTIME:
        raise ValueError("a stat line has at least 22 fields")
    return Stat(as_text(line[opening + 1 : closing]), fields)


def is_dead(fields: list[bytes]) -> bool:
    """Whether the whole process has ended; its first thread may have, and others go on."""
    return fields[STATE] in DEAD and int(fields[THREADS]) <= 1


def as_text(raw: bytes) -> str:
    """Text for JSON; a byte that is not UTF-8 is shown as \\xNN."""
    return raw.decode("utf-8", "backslashreplace")


def read(pid: int, name: str, root: str = PROC) -> bytes:
    """The whole of /proc/<pid>/<name>; open() and its stream would cost half as much again."""
    descriptor = os.open(f"{root}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        whole = block = os.read(descriptor, _BLOCK)
        while len(block) == _BLOCK:  # the kernel gives less than asked for at the end alone
            block = os.read(descriptor, _BLOCK)
            whole += block
        return whole
    finally:
        os.close(descriptor)


def read_stat(pid: int, root: str = PROC) -> Stat:
    """The stat line of a process."""
    return parse_stat(read(pid, "stat", root))


def read_cmdline(pid: int, root: str = PROC) -> str:
    """The command line, arguments joined by a space; "" for a kernel thread."""
    return as_text(read(pid, "cmdline", root).rstrip(b"\0").replace(b"\0", b" "))


def dead_threads_ms(pid: int, clk_tck: int, root: str = PROC) -> float:
    """CPU in ms that threads of the process had used which have ended before now.

    The process's total (stat, in ticks) less what its living threads used (schedstat, in ns). Less than
    two ticks is the rounding of the total, and none."""
    fields = read_stat(pid, root).fields
    total_ms = (int(fields[UTIME]) + int(fields[STIME])) * 1000 / clk_tck
    living_ns = 0
    for thread in os.listdir(f"{root}/{pid}/task"):  # noqa: PTH208 - pathlib costs more
        try:
            living_ns += int(read(pid, f"task/{thread}/schedstat", root).split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    dead_ms = total_ms - living_ns / 1e6
    return dead_ms if dead_ms > 2000 / clk_tck else 0.0


def is_hiding() -> bool:
    """Whether /proc keeps the processes of other users from this one (hidepid=2). Source: proc(5)."""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:  # noqa: PTH123 - as read
        options = [line.split()[3].split(",") for line in mounts if line.split()[1:3] == [PROC, "proc"]]
    hidden = {"hidepid=2", "hidepid=invisible", "hidepid=4", "hidepid=ptraceable"}
    return os.geteuid() != 0 and any(hidden & set(option) for option in options)


class NewestPid:
    """The pid that was given last, to a process or a thread: while it stays the same nothing was forked.

    Source: proc(5), the fifth field of loadavg, which stays open."""

    def __init__(self, root: str = PROC) -> None:
        self._descriptor: int | None = None
        with suppress(OSError):
            self._descriptor = os.open(f"{root}/loadavg", os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes | None:
        """None where that is not told."""
        return os.pread(self._descriptor, 128, 0).split()[-1] if self._descriptor is not None else None


def list_pids(root: str = PROC) -> dict[int, int]:
    """Every process there is now, with the inode of its directory: another process has another one."""
    with os.scandir(root) as entries:
        return {int(entry.name): entry.inode() for entry in entries if entry.name.isdigit()}


def starttime(pid: int, root: str = PROC) -> int | None:
    """Field 22 of stat, which with the pid names a process; None where it is gone or a zombie."""
    try:
        fields = read_stat(pid, root).fields
    except (OSError, ValueError):
        return None
    return None if fields[STATE] in DEAD else int(fields[STARTTIME])
