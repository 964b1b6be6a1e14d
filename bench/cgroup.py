"""A cgroup of its own for each program that is measured: what it forks counts, also when that has ended."""

import os
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_MOUNT = Path("/sys/fs/cgroup")


class Memory(NamedTuple):
    """Of all its processes, MB of 10^6 bytes. pss_mb: a page that n processes share counts 1/n for each."""

    rss_mb: float
    pss_mb: float


class Cgroup:
    """A cgroup that counts CPU: v1 cpuacct where that is mounted, else v2."""

    def __init__(self, name: str) -> None:
        v1 = _MOUNT / "cpuacct"
        self._folder = (v1 if v1.is_dir() else _MOUNT) / name
        self._folder.mkdir()

    def enter(self) -> None:
        """Put the calling process in; called in the child before exec."""
        (self._folder / "cgroup.procs").write_text("0")

    def cpu_us(self) -> float:
        """CPU of everything that ever ran in it."""
        usage = self._folder / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1000
        return int((self._folder / "cpu.stat").read_text().split()[1])

    def pids(self) -> list[int]:
        """The processes in it now."""
        return [int(word) for word in (self._folder / "cgroup.procs").read_text().split()]

    def cpu_us_by_name(self) -> "Counter[str]":
        """CPU of each living program, of all its threads; what has ended is not in it."""
        used: Counter[str] = Counter()
        for pid in self.pids():
            with suppress(OSError):  # it has just ended
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                name = Path(next((word for word in words if word.endswith(".py")), words[0])).name
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    used[name] += int((thread / "schedstat").read_text().split()[0]) // 1000
        return used

    def memory(self) -> Memory:
        """What its processes hold. Source: proc(5), smaps_rollup."""
        sums: Counter[str] = Counter()
        for pid in self.pids():
            with suppress(OSError):  # it has just ended
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                    name, kb = line.split()[:2]
                    sums[name] += int(kb)
        return Memory(sums["Rss:"] * 1024 / 1e6, sums["Pss:"] * 1024 / 1e6)

    def end(self) -> None:
        """Kill what is in it, and remove it."""
        for _ in range(200):
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(OSError):  # EBUSY: not all have gone yet
                self._folder.rmdir()
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self._folder} could not be emptied")
