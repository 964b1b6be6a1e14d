"""Links between nodes: each direction sends one message after the other at its bandwidth, then the delay
passes.

A message from u to v goes over the measured pair "u--v" (or "v--u") where links.json has it, else over the
NIC of u and that of v. What links.json does not know takes no time, and is counted.
"""

from tracekit.records import Link
from tracekit.replay.model import Count, ns

_NS_PER_S = 1_000_000_000


class _Direction:
    """One direction of one link. bps 0: not known."""

    __slots__ = ("bps", "delay", "free_at")

    def __init__(self, link: Link) -> None:
        self.bps = link.BW_bps
        self.delay = 0 if link.PR_s is None else ns(link.PR_s * 1000)
        self.free_at = 0

    def pass_on(self, now: int, size: int) -> int:
        """When the last bit of size bytes that are there now has left."""
        if not self.bps:
            return now
        self.free_at = max(self.free_at, now) + size * 8 * _NS_PER_S // self.bps
        return self.free_at


class Network:
    """All links of a data set."""

    def __init__(self, links: list[Link], count: Count) -> None:
        self._links = {link.link: link for link in links}
        self._paths: dict[tuple[str, str], tuple[list[_Direction], int]] = {}
        self._directions: dict[tuple[str, str], _Direction] = {}
        self._count = count

    def deliver(self, now: int, source: str, target: str, size: int) -> int:
        """When a message of size bytes that source sends now is at target, ns."""
        if source == target:
            return now
        path = self._paths.get((source, target))
        if path is None:
            path = self._paths[source, target] = self._find(source, target)
        directions, delay = path
        for direction in directions:
            now = direction.pass_on(now, size)
        return now + delay

    def _find(self, source: str, target: str) -> tuple[list[_Direction], int]:
        for name, way in ((f"{source}--{target}", "out"), (f"{target}--{source}", "back")):
            if name in self._links:
                one = self._direction(name, way)
                return [one], one.delay
        hops = [(f"{source}.nic", "out"), (f"{target}.nic", "in")]
        known = [self._direction(name, way) for name, way in hops if name in self._links]
        if not any(one.bps for one in known):
            self._count.unknown_links.add(f"{source}--{target}: bandwidth")
        # PR_s of a NIC is half a round trip through the whole path: one of the two ends tells it.
        delay = next((one.delay for one in known if one.delay), 0)
        if not delay:
            self._count.unknown_links.add(f"{source}--{target}: delay")
        return known, delay

    def _direction(self, name: str, way: str) -> _Direction:
        """The same object for every path over it: messages of several peers queue at one NIC."""
        if (name, way) not in self._directions:
            self._directions[name, way] = _Direction(self._links[name])
        return self._directions[name, way]
