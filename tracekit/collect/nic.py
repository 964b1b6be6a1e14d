"""What becomes of the primary NIC: down and up, renamed, gone and back. Looked at once a second.

A NIC is the kernel's interface index; the name that was asked for may move to another one.
Source: Documentation/ABI/testing/sysfs-class-net, ifindex and operstate.
"""

from collections.abc import Callable
from pathlib import Path

from tracekit.collect.clock import Stamp
from tracekit.collect.rows import read_number

SYSFS = "/sys/class/net"
_UP = ("up", "unknown")  # unknown: the driver does not tell, as that of lo


class NicWatch:
    """Marks of series nic, one for each change. from_ms: when the NIC was last seen as it was before."""

    def __init__(self, iface: str, mark: Callable[..., None], root: str = SYSFS) -> None:
        """mark(series, kind, **more) writes a mark. Call look() before anything changes."""
        self._iface = iface
        self._mark = mark
        self._root = root
        self._ifindex: int | None = None  # of the interface that had the name last
        self._away: str | None = None  # "renamed" or "gone", where none has the name
        self._away_since_ms = 0
        self._down_since_ms: int | None = None
        self._looked_ms: int | None = None

    def look(self, stamp: Stamp) -> None:
        """See what has changed since the last look."""
        ifindex = self._read_ifindex(self._iface)
        if self._ifindex is not None and ifindex != self._ifindex:
            self._look_where_it_is(stamp)
        if ifindex is not None:
            if self._away:
                self._tell_back(stamp, ifindex)
            self._ifindex = ifindex
            self._look_at_link(stamp)
        self._looked_ms = stamp.ts_ms

    def _read_ifindex(self, name: str) -> int | None:
        try:
            return read_number(f"{self._root}/{name}/ifindex")
        except (OSError, ValueError):
            return None

    def _look_where_it_is(self, stamp: Stamp) -> None:
        """The NIC does not have the name any more: another name, or none."""
        names = (path.name for path in Path(self._root).iterdir())
        new_name = next((name for name in names if self._read_ifindex(name) == self._ifindex), None)
        away = "gone" if new_name is None else "renamed"
        if away == self._away:
            return
        if self._away is None:
            self._away_since_ms = self._before(stamp)
            self._down_since_ms = None
        self._away = away
        what = f"is {new_name} now" if new_name else "is no longer there"
        detail = f"{self._iface} (ifindex {self._ifindex}) {what}"
        self._mark("nic", away, from_ms=self._before(stamp), detail=detail)

    def _tell_back(self, stamp: Stamp, ifindex: int) -> None:
        same = f"the same NIC (ifindex {ifindex})"
        other = f"another NIC (ifindex {ifindex}, before {self._ifindex}), with counters of its own"
        detail = f"{self._iface} is {same if ifindex == self._ifindex else other}"
        span = {"from_ms": self._away_since_ms, "to_ms": stamp.ts_ms}
        self._mark("nic", "back", **span, reason=self._away, detail=detail)
        self._away = None

    def _look_at_link(self, stamp: Stamp) -> None:
        try:
            state = Path(f"{self._root}/{self._iface}/operstate").read_text(encoding="ascii").strip()
        except OSError:
            return  # it has gone since: the next look tells
        if state not in _UP and self._down_since_ms is None:
            self._down_since_ms = self._before(stamp)
            self._mark("nic", "link_down", from_ms=self._down_since_ms, reason=state)
        elif state in _UP and self._down_since_ms is not None:
            self._mark("nic", "link_up", from_ms=self._down_since_ms, to_ms=stamp.ts_ms)
            self._down_since_ms = None

    def _before(self, stamp: Stamp) -> int:
        """When the NIC was last seen otherwise; this moment where this is the first look."""
        return stamp.ts_ms if self._looked_ms is None else self._looked_ms
