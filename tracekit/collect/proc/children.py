"""The CPU of children that ended and that no row holds, for the target's processes and their launchers."""

from collections.abc import Callable, Iterable

from tracekit import units
from tracekit.collect import procfs
from tracekit.collect.proc.launchers import RECENT_MS, Launchers
from tracekit.collect.proc.process import Process
from tracekit.collect.proc.tasks import Tasks
from tracekit.collect.proc.waited import Waited


class Children:
    """Follows the accounts of the target's processes, and of their launchers."""

    def __init__(
        self,
        clk_tck: int,
        is_in_sight: Callable[[int], bool],
        began_ms: int,
        are_ends_told: bool,
        root: str,
        tasks: Tasks,
    ) -> None:
        """clk_tck: ticks a second. is_in_sight(pid): it is sampled. began_ms: since when, in boot time.

        are_ends_told: by exit records, those of launchers and of strangers too."""
        self._tasks = tasks
        self._untold_ms = 0.0  # of tasks that ended
        self._clk_tck = clk_tck
        self._are_ends_told = are_ends_told
        self._is_in_sight = is_in_sight
        self._began_ms = began_ms
        self._waited = Waited(slack_ms=self._to_ms(2))
        self._launchers = Launchers(are_ends_told, root)
        self._gone: list[Process] = []  # launchers, since the last time
        self._strangers: set[int] = set()

    def leave_out(self, pids: Iterable[int]) -> None:
        """Follow these processes as none of the target's.

        What they use goes into their parent's account, and a parent may be a launcher too."""
        for pid in pids:
            process = self._launchers.follow(pid)
            if process:
                self._begin(process)
                self._strangers.add(pid)

    def came(self, process: Process, mono_ms: int) -> None:
        """A process of the target's has come into sight and was sampled."""
        self._begin(process)
        parent = process.ticks(procfs.PPID)
        self._follow(parent, mono_ms)
        if not self._are_ends_told:  # one that came may have had others before it, which nobody saw
            self._launchers.note(parent, mono_ms)

    def changed(self, process: Process) -> None:
        """Its account has grown."""
        self._waited.read(process.pid, self._account_ms(process))

    def ended(self, pid: int, parent: int, cpu_ms: float, mono_ms: int) -> None:
        """A process of the target's ended; rows hold cpu_ms of its life."""
        self._follow(parent, mono_ms)
        self._launchers.note(parent, mono_ms)
        self.another_ended(pid, parent, cpu_ms, mono_ms)

    def may_have_ended(self, pid: int, parent: int, mono_ms: int) -> bool:
        """A process ended that nobody has seen alive: whether its parent launches the target's.

        Then it may be one of them. No row holds its CPU, and the parent's account will have it."""
        if parent not in self._launchers:
            return False
        self._launchers.note(parent, mono_ms)
        self._launchers.ended(pid, parent, mono_ms)
        return True

    def another_ended(self, pid: int, parent: int, cpu_ms: float, mono_ms: int) -> None:
        """A process ended that is not the target's; its launcher may be one of the target's too."""
        self._launchers.ended(pid, parent, mono_ms)
        self._waited.tell(pid, parent, cpu_ms)

    def task_ended(self, wrapper: int, cpu_ms: float) -> None:
        """The task of a wrapper ended, and is out of sight; cpu_ms: of its whole tree, by wait4."""
        self._untold_ms += self._waited.close(wrapper, cpu_ms, is_to_end=self._are_ends_told)

    def pass_over(self, pid: int, fields: list[bytes]) -> None:
        """A process that is not the target's, when it is first looked at; fields: of its stat."""
        if pid not in self._launchers and self._is_old(int(fields[procfs.STARTTIME])):
            waited = int(fields[procfs.CUTIME]) + int(fields[procfs.CSTIME])
            self._waited.begin(pid, self._to_ms(waited))

    def read_launchers(self, mono_ms: int) -> None:
        """Read their accounts; to be done before the target's processes are read."""
        for launcher, is_there in self._launchers.read(mono_ms):
            if is_there:
                self.changed(launcher)
            else:
                self._gone.append(launcher)

    def settle(self, mono_ms: int) -> float:
        """CPU in ms, since the last time, of children that ended and that no row holds."""
        for launcher in self._gone if not self._are_ends_told else ():  # after the ends of its children
            own_ms = self._to_ms(launcher.ticks(procfs.UTIME, procfs.STIME))
            parent = launcher.ticks(procfs.PPID)
            if launcher.pid in self._strangers:
                self._strangers.discard(launcher.pid)
                self.another_ended(launcher.pid, parent, own_ms, mono_ms)
            else:
                self.ended(launcher.pid, parent, own_ms, mono_ms)
        self._gone.clear()
        untold_ms, self._untold_ms = self._untold_ms, 0.0
        return untold_ms + self._waited.settle(
            lambda pid: self._is_in_sight(pid) or self._launchers.counts(pid, mono_ms)
        )

    def _follow(self, parent: int, mono_ms: int) -> None:
        """A process of the target's has come or gone whose parent this is."""
        if self._is_in_sight(parent) or self._tasks.is_wrapper(parent):
            return
        launcher = self._launchers.follow(parent)
        if launcher:
            self._begin(launcher, mono_ms - RECENT_MS)
            above = self._launchers.follow(launcher.ticks(procfs.PPID))
            if above:
                self._begin(above, mono_ms - RECENT_MS)

    def _is_old(self, starttime: int, since_ms: int = 0) -> bool:
        return self._to_ms(starttime) <= max(self._began_ms, since_ms)

    def _begin(self, process: Process, since_ms: int = 0) -> None:
        """since_ms: a launcher that is older has had others to wait for."""
        if self._is_old(process.starttime, since_ms):
            self._waited.begin(process.pid, self._account_ms(process))

    def _account_ms(self, process: Process) -> float:
        return self._to_ms(process.ticks(procfs.CUTIME, procfs.CSTIME))

    def _to_ms(self, ticks: int) -> float:
        return units.ticks_to_ms(ticks, self._clk_tck)
