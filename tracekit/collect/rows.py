"""From a sample to the line of the raw file: the time it arrived goes first, the monotonic clock last."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from tracekit import jsonl
from tracekit.collect.clock import STEP_MS, Stamp
from tracekit.sources.ifstat import NicSample

LONGEST_MS = 1500  # ifstat's interval is one second


def plain_row(sample: msgspec.Struct, stamp: Stamp) -> bytes | None:
    """{"ts_ms", the sample's fields, "mono_ms"}."""
    fields = msgspec.structs.asdict(sample)
    return jsonl.encode({"ts_ms": stamp.ts_ms, **fields, "mono_ms": stamp.mono_ms})


def mark_row(stamp: Stamp, collector: str, kind: str, **more: object) -> bytes:
    """A line of marks.jsonl; more: from_ms, to_ms, reason, detail (null where not given), and numbers."""
    known = dict.fromkeys(("from_ms", "to_ms", "reason", "detail"))
    row = {"ts_ms": stamp.ts_ms, "mono_ms": stamp.mono_ms, "collector": collector, "kind": kind}
    return jsonl.encode({**row, **known, **more})


def routed_mark(stamp: Stamp, collector: str, kind: str, **more: object) -> bytes:
    """The same as a collector prints it, for the recorder to put into marks.jsonl."""
    return b"@marks.jsonl " + mark_row(stamp, collector, kind, **more)


class Counters(NamedTuple):
    """The NIC's own byte counters, and when they were read; ifindex tells one NIC of a name from the next."""

    stamp: Stamp
    ifindex: int
    rx_bytes: int
    tx_bytes: int


class LinkRows:
    """Rows of links.jsonl: ifstat's rates, beside the NIC's byte counters as evidence.

    ifstat divides by the wall clock, and by one second after a time without the NIC. Where the clock was
    stepped since the row before, where that is long ago, and where ifstat knows no rate, the rate is taken
    from the counters over the monotonic clock. Where they began anew there is no row."""

    def __init__(
        self, link: str, iface: str, on_reset: Callable[[str], None], root: str = "/sys/class/net"
    ) -> None:
        """on_reset(detail): a counter went back, or another NIC has the name."""
        self._link = link
        self._on_reset = on_reset
        names = ("ifindex", "statistics/rx_bytes", "statistics/tx_bytes")
        self._files = [f"{root}/{iface}/{name}" for name in names]
        self._before: Counters | None = None

    def __call__(self, sample: NicSample, stamp: Stamp) -> bytes | None:
        """The row, or None where neither ifstat nor the counters know a rate."""
        before, counters = self._before, self._read(stamp)
        self._before = counters or before
        received, sent = sample.rx_Bps, sample.tx_Bps
        reset = _reset(before, counters)
        if reset:
            self._on_reset(f"{self._link}: {reset}")
            return None
        if received is None or sent is None or (before and _is_broken(before.stamp, stamp)):
            own = _rates(before, counters)
            if own is None:
                return None
            received, sent = own
        row = {"ts_ms": stamp.ts_ms, "link": self._link, "rx_Bps": received, "tx_Bps": sent}
        row["mono_ms"] = stamp.mono_ms
        if counters:
            row |= {"rx_bytes_total": counters.rx_bytes, "tx_bytes_total": counters.tx_bytes}
        return jsonl.encode(row)

    def _read(self, stamp: Stamp) -> Counters | None:
        try:
            return Counters(stamp, *(read_number(file) for file in self._files))
        except (OSError, ValueError):
            return None  # the NIC is gone; ifstat's n/a rows tell the same


def read_number(file: str) -> int:
    """The number in a file of sysfs. Raises OSError where the file is gone."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(descriptor, 32))
    finally:
        os.close(descriptor)


def _is_broken(before: Stamp, stamp: Stamp) -> bool:
    """Whether ifstat's idea of the interval is wrong: a stepped clock, or a time without the NIC."""
    stepped = abs(stamp.offset_ms - before.offset_ms) > STEP_MS
    return stepped or stamp.mono_ms - before.mono_ms > LONGEST_MS


def _reset(before: Counters | None, counters: Counters | None) -> str | None:
    """Why the counters are not those that were read before; None where they are."""
    if before is None or counters is None:
        return None
    if counters.ifindex != before.ifindex:
        return f"another NIC has the name (ifindex {counters.ifindex}, before {before.ifindex})"
    if counters.rx_bytes < before.rx_bytes or counters.tx_bytes < before.tx_bytes:
        return "the byte counters went back"
    return None


def _rates(before: Counters | None, counters: Counters | None) -> tuple[int, int] | None:
    """Bytes a second between two readings of the same NIC; None where one is missing."""
    if before is None or counters is None or counters.stamp.mono_ms <= before.stamp.mono_ms:
        return None
    received, sent = counters.rx_bytes - before.rx_bytes, counters.tx_bytes - before.tx_bytes
    elapsed_ms = counters.stamp.mono_ms - before.stamp.mono_ms
    return round(received * 1000 / elapsed_ms), round(sent * 1000 / elapsed_ms)


def stamp_of_last_row(file: Path) -> int | None:
    """ts_ms of the last whole row of a raw file; None where there is none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(stream.seek(0, os.SEEK_END) - 4096, 0))
            lines = stream.read().split(b"\n")
    except OSError:
        return None
    for line in reversed(lines[:-1]):
        try:
            return int(msgspec.json.decode(line, type=dict)["ts_ms"])
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
            continue
    return None
