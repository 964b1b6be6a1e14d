"""More of the host, once a second: two Readings of the kernel's counters become one row.

A counter that went back makes what rests on it null, and a reset mark; never a spike, never a zero.
Rates are over the monotonic clock, so a late row covers more time (dt_ms) and loses nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tracekit import jsonl
from tracekit.collect import clock
from tracekit.collect.clock import Stamp
from tracekit.collect.hostfiles import DiskCounters, HostFiles, Reading
from tracekit.collect.journal import span
from tracekit.collect.rows import routed_mark

INTERVAL_MS = 1000
SHORTEST_S = 0.05
STALLS = ("cpu_some", "memory_some", "memory_full", "io_some", "io_full")
Resets = list[str]


class HostSampler:
    """Writes a row of host_extra.jsonl, and one of links.jsonl for each further NIC, at each grid point."""

    def __init__(self, node: str, files: HostFiles, write: Callable[[bytes], object]) -> None:
        self._node = node
        self._files = files
        self._write = write
        self._before: Reading | None = None

    def run(self, wait: Callable[[float], bool]) -> None:
        """Tick at each whole second of the wall clock, and once at the start, which gives no row.

        wait(seconds) returns whether it is time to end."""
        self.tick(clock.now())
        deadline = _next_deadline()
        while not wait(deadline - time.monotonic()):
            self.tick(clock.now())
            deadline = _next_deadline()
        self._files.close()

    def tick(self, stamp: Stamp) -> None:
        """Read everything; write what has changed since the reading before."""
        before, after = self._before, self._files.read(stamp)
        self._before = after
        if before is None or after.stamp.mono_ms <= before.stamp.mono_ms:
            return
        resets: Resets = []
        links = list(link_rows(self._node, before, after, resets))
        lines = [jsonl.encode(host_row(before, after, resets))]
        lines += [b"@links.jsonl " + jsonl.encode(row) for row in links]
        if resets:
            between = span(before.stamp, after.stamp)
            lines.append(routed_mark(stamp, "host", "reset", **between, detail="; ".join(resets)))
        self._write(b"".join(lines))


def _next_deadline() -> float:
    """Monotonic s of the next whole second; where that is at hand, of the one after.

    A slewed clock may wake us just before the second: that tick was this second's. A rate over a few ms
    would mean nothing."""
    seconds = clock.seconds_to_grid(INTERVAL_MS)
    return time.monotonic() + seconds + (1 if seconds < SHORTEST_S else 0)


def host_row(before: Reading, after: Reading, resets: Resets) -> dict[str, Any]:
    """The line of host_extra.jsonl. Adds to resets what went back."""
    elapsed_ms = after.stamp.mono_ms - before.stamp.mono_ms
    cores = [f"cpu{number}" for number in range(after.cores)]
    return {
        "ts_ms": after.stamp.ts_ms,
        **_shares(before, after, resets),
        "core_util_pct": [_utilisation(before, after, core, resets) for core in cores],
        "mem_available_mb": after.available_mb,
        "disks": None if after.disks is None else list(_disk_rows(before, after, elapsed_ms, resets)),
        "psi": _pressure(before, after, elapsed_ms, resets),
        "dt_ms": elapsed_ms,
        "mono_ms": after.stamp.mono_ms,
    }


def link_rows(node: str, before: Reading, after: Reading, resets: Resets) -> Iterator[dict[str, Any]]:
    """A line of links.jsonl for each further NIC that was there at both readings, unless it was reset."""
    elapsed_ms = after.stamp.mono_ms - before.stamp.mono_ms
    for name, now in after.nics.items():
        last = before.nics.get(name)
        if last is None:
            continue
        link = f"{node}.nic.{name}"
        if now.ifindex != last.ifindex and None not in (now.ifindex, last.ifindex):
            resets.append(f"{link}: another NIC has the name")
            continue
        moved = _differences(link, last[1:], now[1:], resets)
        if moved:
            received, sent = (round(_per_s(count, elapsed_ms)) for count in moved)
            row = {"ts_ms": after.stamp.ts_ms, "link": link, "rx_Bps": received, "tx_Bps": sent}
            totals = {"rx_bytes_total": now.rx_bytes, "tx_bytes_total": now.tx_bytes}
            yield {**row, "mono_ms": after.stamp.mono_ms, **totals}


def _differences(what: str, before: Sequence[int], after: Sequence[int], resets: Resets) -> list[int] | None:
    """By how much each counter grew; None where one went back."""
    grown = [now - last for last, now in zip(before, after, strict=True)]
    if min(grown) < 0:
        resets.append(f"{what}: a counter went back by {-min(grown)}")
        return None
    return grown


def _per_s(count: int, elapsed_ms: int) -> float:
    return count * 1000 / elapsed_ms


def _cpu_grown(before: Reading, after: Reading, name: str, resets: Resets) -> list[int] | None:
    """Ticks of each kind of work, and at the end those without; None for a core that is or was offline."""
    last, now = before.cpu.get(name), after.cpu.get(name)
    if last is None or now is None:
        return None
    pair = [(*one.busy, one.idle + one.iowait) for one in (last, now)]
    return _differences(name, pair[0], pair[1], resets)


def _utilisation(before: Reading, after: Reading, core: str, resets: Resets) -> float | None:
    """100 - %idle - %iowait of one core, as cpu_util is of all."""
    grown = _cpu_grown(before, after, core, resets)
    return round(100 * sum(grown[:-1]) / sum(grown), 2) if grown and sum(grown) else None


def _shares(before: Reading, after: Reading, resets: Resets) -> dict[str, float | None]:
    """Percent of the time of all cores that was iowait, and that was steal."""
    shares: dict[str, float | None] = {"iowait_pct": None, "steal_pct": None}
    grown = _cpu_grown(before, after, "cpu", resets)
    if not grown or not sum(grown):
        return shares
    last, now = before.cpu["cpu"], after.cpu["cpu"]
    waited = _differences("idle, iowait", (last.idle, last.iowait), (now.idle, now.iowait), resets)
    if waited:
        shares["iowait_pct"] = round(100 * waited[1] / sum(grown), 2)
    if last.steal is not None and now.steal is not None:
        shares["steal_pct"] = round(100 * (now.steal - last.steal) / sum(grown), 2)
    return shares


def _disk_rows(before: Reading, after: Reading, elapsed_ms: int, resets: Resets) -> Iterator[dict[str, Any]]:
    """What each disk did; all null for one that was not there before or began anew."""
    for name, now in (after.disks or {}).items():
        last = (before.disks or {}).get(name)
        grown = _differences(name, last, now, resets) if last else None
        row: dict[str, Any] = {"dev": name}
        names = ("read_Bps", "write_Bps", "reads_per_s", "writes_per_s", "busy_pct")
        yield row | (_disk_rates(DiskCounters(*grown), elapsed_ms) if grown else dict.fromkeys(names))


def _disk_rates(grown: DiskCounters, elapsed_ms: int) -> dict[str, Any]:
    return {
        "read_Bps": round(_per_s(grown.read_bytes, elapsed_ms)),
        "write_Bps": round(_per_s(grown.written_bytes, elapsed_ms)),
        "reads_per_s": round(_per_s(grown.reads, elapsed_ms), 3),
        "writes_per_s": round(_per_s(grown.writes, elapsed_ms), 3),
        "busy_pct": round(100 * grown.busy_ms / elapsed_ms, 2),
    }


def _pressure(before: Reading, after: Reading, elapsed_ms: int, resets: Resets) -> dict[str, Any] | None:
    """Stalled ms a second of each kind, which is microseconds a ms; None where the kernel tells of none."""
    if not after.stalled_us:
        return None
    row: dict[str, Any] = {}
    for name in STALLS:
        last, now = before.stalled_us.get(name), after.stalled_us.get(name)
        grown = None if last is None or now is None else _differences(f"psi {name}", [last], [now], resets)
        row[f"{name}_ms_per_s"] = round(grown[0] / elapsed_ms, 3) if grown else None
    return row
