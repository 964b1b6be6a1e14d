"""Control groups: which processes are a container's, and what the kernel counts for all of it.

/proc/<pid>/cgroup has a line for each hierarchy, "number:controllers:path"; that of version 2 is "0::path".
A container's processes are those that have its id as one component of the path, alone (cgroupfs) or in
the name that its runtime gives (docker-<id>.scope); what lies below that component is the container's too.

    12:memory:/docker/<id>                           version 1, Docker, cgroupfs
    0::/system.slice/docker-<id>.scope/init.scope    version 2, Docker, systemd, nested
    0::/machine.slice/libpod-<id>.scope/container    version 2, podman, systemd

A figure comes from the hierarchy that has its controller: that of version 1 where there is one, else
version 2; on a hybrid machine both are in use.
Sources: cgroups(7); Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel.
"""

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from tracekit import units
from tracekit.collect import procfs

V2 = ""  # the key of the hierarchy of version 2, which names no controller

# Not libpod-conmon- and crio-conmon-: those hold the container's monitor, which is no part of it.
_RUNTIMES = "docker|nerdctl|libpod|libpod-payload|cri-containerd|crio"
_NO_LIMIT = 2**63 - 2**16  # memory.limit_in_bytes where there is none: 2^63 less a page

# (controller, file); of version 2 with the controller of version 1 that has the figure where it is mounted.
_FILES_V1 = (
    ("cpuacct", "cpuacct.usage"),
    ("cpuacct", "cpuacct.stat"),
    ("cpu", "cpu.stat"),
    ("memory", "memory.usage_in_bytes"),
    ("memory", "memory.limit_in_bytes"),
    ("freezer", "freezer.state"),
)
_FILES_V2 = (
    ("cpuacct", "cpu.stat"),
    ("memory", "memory.current"),
    ("memory", "memory.max"),
    ("freezer", "cgroup.freeze"),
)


class Figures(NamedTuple):
    """What the kernel counted for a cgroup since it was made, memory as it is now; null: not counted here."""

    usage_us: int | None
    user_us: int | None
    system_us: int | None
    nr_periods: int | None
    nr_throttled: int | None
    throttled_us: int | None
    mem_bytes: int | None
    mem_limit_bytes: int | None


@lru_cache(maxsize=4)
def _component(container_id: str) -> re.Pattern[str]:
    named = rf"(?:{_RUNTIMES})-|[^/]*:(?:{_RUNTIMES}):"
    return re.compile(rf"/(?:{named})?{re.escape(container_id)}(?:\.scope)?(?=/|$)")


def container_paths(membership: bytes, container_id: str) -> dict[str, str]:
    """Controller -> path of the container's own cgroup, from a /proc/<pid>/cgroup; {} if it is not of it."""
    if container_id.encode() not in membership:
        return {}
    paths = {}
    for line in membership.decode("utf-8", "surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        found = _component(container_id).search(path.removesuffix(" (deleted)"))
        if found:
            paths.update(dict.fromkeys(controllers.split(","), path[: found.end()]))
    return paths


def mount_points(root: str = procfs.PROC) -> dict[str, str]:
    """Controller -> where its hierarchy is mounted; {} where nothing tells. Source: proc(5), mountinfo."""
    points: dict[str, str] = {}
    try:
        with open(f"{root}/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:  # noqa: PTH123 - as procfs
            lines = [line.split() for line in mounts]
    except FileNotFoundError:
        return {}
    for fields in lines:
        kind, _, options = fields[fields.index("-") + 1 :][:3]
        controllers = {"cgroup": options.split(","), "cgroup2": [V2]}.get(kind, [])
        for controller in controllers:
            points.setdefault(controller, fields[4])
    return points


class Cgroup:
    """A container's cgroup in each hierarchy: its files, kept open."""

    def __init__(self, paths: Mapping[str, str], points: Mapping[str, str]) -> None:
        """paths: as of container_paths; points: as of mount_points.

        Raises FileNotFoundError where the cgroup is not there, in any of them."""
        folders = {name: points[name] + path for name, path in paths.items() if name in points}
        self._clk_tck = os.sysconf("SC_CLK_TCK")
        self._descriptors: dict[tuple[bool, str], int] = {}  # (of version 2, file)
        for controller, file in _FILES_V1:
            if controller in folders:
                self._open(False, folders[controller], file)
        for controller, file in _FILES_V2:
            if V2 in folders and controller not in folders:
                self._open(True, folders[V2], file)
        if not self._descriptors:
            raise FileNotFoundError("the container's cgroup")

    def _open(self, is_v2: bool, folder: str, file: str) -> None:
        try:
            self._descriptors[is_v2, file] = os.open(f"{folder}/{file}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # its controller is not turned on here, or no descriptor is left: that figure is null

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def _read(self, is_v2: bool, file: str) -> bytes | None:
        """The file now; None where there is none. Raises OSError (ENODEV) where the cgroup is gone."""
        descriptor = self._descriptors.get((is_v2, file))
        return None if descriptor is None else os.pread(descriptor, 4096, 0)

    def _number(self, is_v2: bool, file: str) -> int | None:
        text = self._read(is_v2, file)
        return int(text) if text and text != b"max\n" else None

    def _table(self, is_v2: bool, file: str) -> dict[bytes, int]:
        rows = (line.split() for line in (self._read(is_v2, file) or b"").splitlines())
        return {row[0]: int(row[1]) for row in rows}

    def is_there(self) -> bool:
        """Whether it still exists: a container that is started again has another, of the same path."""
        try:
            os.pread(next(iter(self._descriptors.values())), 64, 0)
        except OSError:
            return False
        return True

    def is_frozen(self) -> bool:
        """Whether the container is paused. Raises OSError where it is gone."""
        return self._read(False, "freezer.state") == b"FROZEN\n" or self._number(True, "cgroup.freeze") == 1

    def usage_us(self) -> int | None:
        """CPU that its processes have used, those that ended included. Raises OSError where it is gone."""
        used_ns = self._number(False, "cpuacct.usage")
        return used_ns // 1000 if used_ns is not None else self._table(True, "cpu.stat").get(b"usage_usec")

    def read(self) -> Figures:
        """All figures. Raises OSError where the cgroup is gone."""
        user_us, system_us = self._modes_us()
        limit = self._number(False, "memory.limit_in_bytes")
        if limit is None:
            limit = self._number(True, "memory.max")
        used = self._number(False, "memory.usage_in_bytes")
        return Figures(
            self.usage_us(),
            user_us,
            system_us,
            *self._throttling(),
            mem_bytes=self._number(True, "memory.current") if used is None else used,
            mem_limit_bytes=None if limit is None or limit >= _NO_LIMIT else limit,
        )

    def _modes_us(self) -> tuple[int | None, int | None]:
        ticks = self._table(False, "cpuacct.stat")
        if ticks:
            user_ms, system_ms = (
                units.ticks_to_ms(ticks[mode], self._clk_tck) for mode in (b"user", b"system")
            )
            return user_ms * 1000, system_ms * 1000
        stat = self._table(True, "cpu.stat")
        return stat.get(b"user_usec"), stat.get(b"system_usec")

    def _throttling(self) -> tuple[int | None, int | None, int | None]:
        """(periods, periods in which it was throttled, for how long in us); version 1 counts ns."""
        stat = self._table(False, "cpu.stat") or self._table(True, "cpu.stat")
        throttled_ns = stat.get(b"throttled_time")
        throttled_us = stat.get(b"throttled_usec") if throttled_ns is None else throttled_ns // 1000
        return stat.get(b"nr_periods"), stat.get(b"nr_throttled"), throttled_us
