"""CPU of children that no row holds, by their parents' own account: cutime and cstime.

The kernel adds a process's CPU, and that of the children it has waited for, to its parent's account when
the parent waits for it. What an account grows by, less what rows tell of the children that ended, was used
by children that lived between two samples, by sampled ones after their last sample, and, where exit records
are read, while they were torn down. Children of a parent that ignores SIGCHLD enter no account.
Source: proc(5), /proc/pid/stat, fields 16 and 17; wait_task_zombie() in kernel/exit.c.
"""

from collections.abc import Callable
from dataclasses import dataclass

_REMEMBERED = 1000


@dataclass
class _Account:
    """Of the children of one process, ms. told: rows hold it, or it is older than the run."""

    told_ms: float = 0.0
    read_ms: float = 0.0


class Waited:
    """The accounts of all parents."""

    def __init__(self, slack_ms: float) -> None:
        """slack_ms: the rounding of cutime and cstime; a difference up to it is none."""
        self._slack_ms = slack_ms
        self._accounts: dict[int, _Account] = {}
        self._grown: set[int] = set()  # those that were read since the last time
        self._ended: dict[int, int] = {}  # the last ones: process, and whose account its own went into

    def begin(self, pid: int, waited_ms: float) -> None:
        """Process pid is older than the run, and so is what is in its account by now."""
        self._ended.pop(pid, None)
        self._accounts[pid] = _Account(waited_ms, waited_ms)

    def read(self, pid: int, waited_ms: float) -> None:
        """What the kernel has in the account of pid now."""
        self._ended.pop(pid, None)
        self._accounts.setdefault(pid, _Account()).read_ms = waited_ms
        self._grown.add(pid)

    def tell(self, pid: int, parent: int, cpu_ms: float) -> None:
        """Process pid ended; rows hold cpu_ms of its life's CPU, beside what its own account was told of."""
        own = self._accounts.pop(pid, None)
        for _ in range(len(self._ended)):  # a parent that was told before its child
            if parent not in self._ended:
                break
            parent = self._ended[parent]
        self._ended[pid] = parent
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        account = self._accounts.setdefault(parent, _Account())
        account.told_ms += cpu_ms + (own.told_ms if own else 0.0)

    def close(self, pid: int, waited_ms: float, is_to_end: bool) -> float:
        """Process pid tells itself what its account holds, the last time; ms of it that no row holds.

        is_to_end: its own end will be told too."""
        if pid in self._ended:
            return 0.0  # its own end was told before: what it held is its parent's
        account = self._accounts.pop(pid, _Account())
        if is_to_end:
            self._accounts[pid] = _Account(max(waited_ms, account.told_ms))
        return max(waited_ms - account.told_ms, 0.0)

    def settle(self, counts: Callable[[int], bool]) -> float:
        """ms that no row holds of the children whose end has been told.

        counts(pid): whether the children of pid are the target's; else its account is only followed."""
        unattributed_ms = 0.0
        for pid in self._grown & self._accounts.keys():
            account = self._accounts[pid]
            open_ms = account.read_ms - account.told_ms
            if open_ms > self._slack_ms:
                unattributed_ms += open_ms if counts(pid) else 0.0
                account.told_ms = account.read_ms
        self._grown.clear()
        return unattributed_ms
