"""Which processes are meant: PROC_MATCH over name and command line, those of CONTAINER, and told tasks."""

import re
from collections.abc import Callable

from tracekit.collect import procfs
from tracekit.collect.proc.container import Container, Resolve
from tracekit.collect.proc.tasks import Tasks, is_run_task


class Target:
    """What to sample; container: where one is asked for."""

    def __init__(
        self,
        proc_match: str,
        container: str,
        is_ours: Callable[[int, int], bool],
        resolve: Resolve,
        root: str = procfs.PROC,
        tasks: Tasks | None = None,
    ) -> None:
        """is_ours(pid, ppid): a process of the collector itself, which is never meant.

        resolve: tells the id of a container, such as engine.Engines. tasks: processes that count whatever
        their name is; with CONTAINER none do, for its cgroup accounts for its processes alone."""
        self.container = Container(container, resolve, root) if container else None
        self.is_ours = is_ours
        self.tasks = tasks if tasks is not None and not container else Tasks()
        self._pattern = re.compile(proc_match, re.IGNORECASE) if proc_match else None

    @property
    def is_nothing(self) -> bool:
        """Whether neither a pattern nor a container was given, and no task was told of."""
        return self._pattern is None and not self.container and not self.tasks

    @property
    def has_pattern(self) -> bool:
        """Whether not every process is meant, of the container or of the host."""
        return self._pattern is not None

    def find_container(self, is_any_sampled: bool) -> bool:
        """Whether CONTAINER's id is known; is_any_sampled: a process of it is. True without CONTAINER."""
        return self.container is None or self.container.find(is_any_sampled)

    def takes(self, pid: int, comm: str, cmdline: str) -> bool:
        """Whether this process is meant. Raises OSError where it has gone meanwhile.

        A run_task is not, for what wraps a task is no part of it."""
        if self.container and not self.container.holds(pid):
            return False
        return self.matches(comm, cmdline) and not (self.has_pattern and is_run_task(cmdline))

    def matches(self, comm: str, cmdline: str) -> bool:
        """Whether the name or the command line is meant; any is where only a container was given."""
        if self._pattern is None:
            return self.container is not None
        return bool(self._pattern.search(comm) or self._pattern.search(cmdline))
