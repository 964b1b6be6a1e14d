"""The parents of the target's processes that are not the target's themselves."""

from collections.abc import Iterator

from tracekit.collect import procfs
from tracekit.collect.proc.process import Process, open_process

RECENT_MS = 3000
INIT = 1  # waits for anybody's children


class Launchers:
    """Such as a batch script: a process of the target's that ends enters its launcher's account.

    Other children may be in that account too, so it counts only while a child of the target's has lately gone
    (or come, where nothing tells of ends). A launcher's own launcher is followed, for it waits for it."""

    def __init__(self, are_ends_told: bool, root: str) -> None:
        """are_ends_told: of all processes, to ended()."""
        self._are_ends_told = are_ends_told
        self._root = root
        self._processes: dict[int, Process] = {}
        self._lately_ms: dict[int, int] = {}  # when a child that is the target's came or went
        self._stirred_ms: dict[int, int] = {}  # when any child went

    def __contains__(self, pid: int) -> bool:
        return pid in self._processes

    def follow(self, pid: int) -> Process | None:
        """Keep pid in sight from now on; None where that cannot be, or was so before."""
        if pid <= INIT or pid in self._processes:
            return None
        try:
            stat = procfs.read_stat(pid, self._root)
            process = open_process(pid, int(stat.fields[procfs.STARTTIME]), self._root)
        except OSError:
            return None
        process.fields = stat.fields
        self._processes[pid] = process
        return process

    def note(self, pid: int, mono_ms: int) -> None:
        """A child of pid that is the target's has gone, or come."""
        self._lately_ms[pid] = mono_ms

    def ended(self, pid: int, parent: int, mono_ms: int) -> None:
        """Any process ended: it launches nothing more, and its parent may wait for it now."""
        if self._are_ends_told:
            self._forget(pid)
            if parent in self._processes:
                self._stirred_ms[parent] = mono_ms

    def counts(self, pid: int, mono_ms: int) -> bool:
        """Whether what pid waits for now may be the target's."""
        lately_ms = self._lately_ms.get(pid)
        return lately_ms is not None and mono_ms - lately_ms <= RECENT_MS

    def read(self, mono_ms: int) -> Iterator[tuple[Process, bool]]:
        """Each launcher, with its stat read anew, and whether it is still there; else it is forgotten.

        Where ends are told, only those that have lost a child lately: no other's account has grown."""
        for pid, process in list(self._processes.items()):
            if self._are_ends_told and mono_ms - self._stirred_ms.get(pid, -RECENT_MS) >= RECENT_MS:
                continue
            try:
                process.fields = procfs.parse_stat(process.read_stat()).fields
                yield process, True
            except OSError:
                self._forget(pid)
                yield process, False

    def _forget(self, pid: int) -> None:
        process = self._processes.pop(pid, None)
        if process:
            self._lately_ms.pop(pid, None)
            self._stirred_ms.pop(pid, None)
            process.close()
