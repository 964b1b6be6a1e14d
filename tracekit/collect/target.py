"""Which processes are meant: PROC_MATCH over name and command line, or those of CONTAINER.

A container's processes are told by the container's id in /proc/<pid>/cgroup: that holds for cgroup v1,
v2 and hybrid, for cgroupfs and systemd names, and it never enters the container.
"""

import re
import subprocess
from collections.abc import Callable

from tracekit.collect import procfs

_FULL_ID = re.compile(r"[0-9a-f]{64}")


def docker_id(container: str) -> str | None:
    """The full id of a Docker container by its name or id; None where there is none (or no engine)."""
    if _FULL_ID.fullmatch(container):
        return container
    command = ["docker", "inspect", "--type", "container", "--format", "{{.Id}}", container]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = done.stdout.strip()
    return found if done.returncode == 0 and _FULL_ID.fullmatch(found) else None


class Target:
    """What to sample. container_id is None until the container has been found."""

    def __init__(
        self,
        proc_match: str,
        container: str,
        is_ours: Callable[[int, int], bool],
        resolve: Callable[[str], str | None] = docker_id,
        root: str = procfs.PROC,
    ) -> None:
        """is_ours(pid, ppid): a process of the collector itself, which is never meant."""
        self.container = container
        self.container_id: str | None = None
        self.is_ours = is_ours
        self._pattern = re.compile(proc_match, re.IGNORECASE) if proc_match else None
        self._resolve = resolve
        self._root = root

    @property
    def is_nothing(self) -> bool:
        """Whether neither a pattern nor a container was given."""
        return self._pattern is None and not self.container

    def find_container(self) -> bool:
        """Look the container up; whether it is known now. Always true without CONTAINER."""
        if self.container:
            self.container_id = self._resolve(self.container)
        return not self.container or self.container_id is not None

    def takes(self, pid: int, comm: str, cmdline: str) -> bool:
        """Whether this process is meant. Raises OSError where it has gone meanwhile."""
        if self.container and not self._is_in_container(pid):
            return False
        return self.matches(comm, cmdline)

    def matches(self, comm: str, cmdline: str) -> bool:
        """Whether the name or the command line is meant; any is where only a container was given."""
        if self._pattern is None:
            return bool(self.container)
        return bool(self._pattern.search(comm) or self._pattern.search(cmdline))

    def _is_in_container(self, pid: int) -> bool:
        wanted = self.container_id
        return wanted is not None and wanted.encode() in procfs.read(pid, "cgroup", self._root)
