"""One process in sight: its two files under /proc, kept open, so that no other process can take its place."""

import os
from dataclasses import dataclass, field

from tracekit.collect import procfs
from tracekit.collect.procfs import STARTTIME


@dataclass
class Process:
    """descriptors: of stat and statm; None where there were none left, then both are opened each time."""

    pid: int
    starttime: int
    root: str
    descriptors: tuple[int, int] | None
    head: bytes  # the constant parts of its row in proc_metrics.jsonl
    tail: bytes
    fields: list[bytes] = field(default_factory=lambda: [b"0"] * 16)  # of stat at the last sample
    dead_ms: float = 0.0  # CPU of threads that had ended before the exit records were listened to

    def read(self) -> tuple[bytes, bytes]:
        """(stat, statm) now. Raises OSError where the process is gone."""
        if self.descriptors:
            return os.pread(self.descriptors[0], 1024, 0), os.pread(self.descriptors[1], 256, 0)
        stat = procfs.read(self.pid, "stat", self.root)
        if int(procfs.parse_stat(stat).fields[STARTTIME]) != self.starttime:
            raise ProcessLookupError(self.pid)
        return stat, procfs.read(self.pid, "statm", self.root)

    def read_stat(self) -> bytes:
        """stat now, where that is enough. Raises OSError where the process is gone."""
        return os.pread(self.descriptors[0], 1024, 0) if self.descriptors else self.read()[0]

    def ticks(self, *places: int) -> int:
        """The sum of these fields of stat at the last sample."""
        return sum(int(self.fields[place]) for place in places)

    def close(self) -> None:
        """Let go of the descriptors."""
        for descriptor in self.descriptors or ():
            os.close(descriptor)


def open_process(pid: int, starttime: int, root: str = procfs.PROC) -> Process:
    """The process that has this pid and start time.

    Raises OSError where it is gone, another has its pid by now, or it may not be read."""
    head, tail = b',"pid":%d,"rss_kb":' % pid, b',"starttime":%d}\n' % starttime
    process = Process(pid, starttime, root, None, head, tail)
    opened: list[int] = []
    try:
        for name in ("stat", "statm"):
            opened.append(os.open(f"{root}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        for descriptor in opened:
            os.close(descriptor)
        if isinstance(error, (FileNotFoundError, ProcessLookupError, PermissionError)):
            raise
        return process  # no descriptor left (EMFILE, ENFILE)
    process.descriptors = (opened[0], opened[1])
    if int(procfs.parse_stat(os.pread(opened[0], 1024, 0)).fields[STARTTIME]) != starttime:
        process.close()
        raise ProcessLookupError(pid)
    return process
