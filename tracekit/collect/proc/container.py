"""The container that CONTAINER names, seen from the host by its cgroup; it is never entered.

It may start late, be started again (the same id, or another one of the same name), be paused, or never
come. Each of that is a mark, and while it is there each tick has a row of cgroup_metrics.jsonl.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

from tracekit import jsonl
from tracekit.collect import procfs
from tracekit.collect.clock import Stamp
from tracekit.collect.proc import cgroup
from tracekit.collect.proc.cgroup import Cgroup, Figures
from tracekit.collect.rows import routed_mark

ABSENT_MS = 2000  # a restart that takes less is one mark, and no absence besides

Resolve = Callable[[str], str | None]  # a name or an id -> the full id; must not wait


class Container:
    """Knows the container's id and cgroup, and whether it is there."""

    def __init__(self, name: str, resolve: Resolve, root: str = procfs.PROC) -> None:
        """root: where /proc is."""
        self.name = name
        self.id: str | None = None
        self.number = 0  # how many cgroups it has had so far
        self._resolve = resolve
        self._root = root
        self._points = cgroup.mount_points(root)
        self._paths: dict[str, str] = {}
        self._cgroup: Cgroup | None = None
        self._marked_id: str | None = None  # of the latest mark that it came
        self._missing_since: Stamp | None = None  # None: it is there
        self._paused_since: Stamp | None = None
        self._last: Stamp | None = None
        self._is_missing_told = False

    # --- for the search

    def find(self, is_any_sampled: bool) -> bool:
        """Whether its id is known. An engine is asked only while nothing of the container is in sight."""
        if not is_any_sampled and not (self._cgroup and self._cgroup.is_there()):
            found = self._resolve(self.name)
            if found and found != self.id:
                self.id, self._paths = found, {}
        return self.id is not None

    def holds(self, pid: int) -> bool:
        """Whether the process is in the container. Raises OSError where it has gone meanwhile."""
        if self.id is None:
            return False
        paths = cgroup.container_paths(procfs.read(pid, "cgroup", self._root), self.id)
        self._paths = self._paths or paths
        return bool(paths)

    # --- for each tick

    def usage_us(self) -> int | None:
        """CPU in us that all of its processes have used since it was started; None where nobody tells."""
        try:
            return self._cgroup.usage_us() if self._cgroup else None
        except OSError:
            return None

    def look(self, stamp: Stamp, is_any_sampled: bool, say: Callable[[str], None]) -> Iterator[bytes]:
        """The row of this tick, and marks for what has changed since the tick before.

        is_any_sampled: a process of it is; say: one message for people."""
        before = self._cgroup
        figures = self._read()
        if figures or (is_any_sampled and before is None):  # its cgroup may be out of sight from here
            is_other = before is not None and before is not self._cgroup
            if self._marked_id is None or self._missing_since or is_other:
                yield self._came(stamp)
                say(f"container {self.name} is there: {self.id}")
            self._marked_id, self._missing_since, self._is_missing_told = self.id, None, False
            yield from self._pause(stamp)
        else:
            self._missing_since, self._paused_since = self._missing_since or self._last or stamp, None
            if stamp.mono_ms - self._missing_since.mono_ms >= ABSENT_MS and not self._is_missing_told:
                yield self._absent(stamp, to_ms=None)
                say(f"container {self.name} is not there; looking for it each second")
                self._is_missing_told = True
        if figures:
            row = {"ts_ms": stamp.ts_ms, "container": self.id, **figures._asdict(), "mono_ms": stamp.mono_ms}
            yield b"@cgroup_metrics.jsonl " + jsonl.encode(row)
        self._last = stamp

    def end(self, stamp: Stamp, say: Callable[[str], None]) -> Iterator[bytes]:
        """At the end of sampling: a mark where it is not there."""
        if self._missing_since:
            yield self._absent(stamp, to_ms=stamp.ts_ms)
            if self._marked_id is None:
                say(f"container {self.name} never came: no process of it was sampled")

    def _read(self) -> Figures | None:
        """The figures, where the cgroup is there: the one that is open, or the next one of the same path."""
        figures = self._figures()
        if figures is None and self._paths:
            with suppress(OSError):
                self._cgroup = Cgroup(self._paths, self._points)
                self.number += 1
            figures = self._figures()
        return figures

    def _figures(self) -> Figures | None:
        if self._cgroup is None:
            return None
        try:
            return self._cgroup.read()
        except OSError:
            self._cgroup.close()
            self._cgroup = None
            return None

    # --- marks

    def _came(self, stamp: Stamp) -> bytes:
        since = self._missing_since or self._last
        span = {"from_ms": since.ts_ms if since else None, "to_ms": stamp.ts_ms}
        if self._marked_id is None:
            return _mark(stamp, "container_found", **span, detail=f"container {self.name}: {self.id}")
        reason = "same id" if self.id == self._marked_id else "another id"
        detail = f"container {self.name}: {self.id}"
        return _mark(stamp, "container_restart", **span, reason=reason, detail=detail)

    def _absent(self, stamp: Stamp, to_ms: int | None) -> bytes:
        since = self._missing_since or stamp
        reason = "never seen" if self._marked_id is None else "gone"
        span = {"from_ms": since.ts_ms, "to_ms": to_ms}
        return _mark(stamp, "container_absent", **span, reason=reason, detail=f"container {self.name}")

    def _pause(self, stamp: Stamp) -> Iterator[bytes]:
        is_paused = self._is_frozen()
        since = self._paused_since
        if is_paused and not since:
            self._paused_since = stamp
            yield _mark(stamp, "container_paused", from_ms=stamp.ts_ms, detail=f"container {self.name}")
        elif since and not is_paused:
            self._paused_since = None
            span = {"from_ms": since.ts_ms, "to_ms": stamp.ts_ms}
            yield _mark(stamp, "container_resumed", **span, detail=f"container {self.name}")

    def _is_frozen(self) -> bool:
        try:
            return self._cgroup is not None and self._cgroup.is_frozen()
        except OSError:
            return False


def _mark(stamp: Stamp, kind: str, **more: object) -> bytes:
    return routed_mark(stamp, "proc", kind, **more)
