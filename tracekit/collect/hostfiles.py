"""The kernel's counters of the whole host: CPU, memory, disks, pressure, NICs; one Reading a look.

The files under /proc stay open and are read with pread. What the kernel does not have is None.
Source: proc(5); Documentation/admin-guide/iostats.rst; Documentation/accounting/psi.rst.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tracekit import units
from tracekit.collect import procfs
from tracekit.collect.clock import Stamp
from tracekit.collect.rows import read_number

PRESSURES = ("cpu", "memory", "io")
_BLOCK = 1 << 16


class CpuTicks(NamedTuple):
    """Since boot. busy: user, nice, system, irq, softirq and steal, each.

    A sleeping core's ticks count as idle or as iowait by what it waits for at the reading, so one of the two
    may go back in favour of the other on a sound machine; their sum does not."""

    busy: tuple[int, ...]
    idle: int
    iowait: int
    steal: int | None


class DiskCounters(NamedTuple):
    """Since boot: requests done, bytes moved, ms in which a request was under way."""

    reads: int
    read_bytes: int
    writes: int
    written_bytes: int
    busy_ms: int


class NicCounters(NamedTuple):
    """ifindex tells one NIC of a name from the next; None where sysfs does not know the NIC."""

    ifindex: int | None
    rx_bytes: int
    tx_bytes: int


class Reading(NamedTuple):
    """All counters at one moment. cpu: by "cpu" (all cores), "cpu0", ...; an offline core has none.

    cores: how many there are, online or not. stalled_us: by "cpu_some", "memory_full", ..."""

    stamp: Stamp
    cores: int
    cpu: Mapping[str, CpuTicks]
    available_mb: int | None
    disks: Mapping[str, DiskCounters] | None
    stalled_us: Mapping[str, int]
    nics: Mapping[str, NicCounters]


def parse_cpu(stat: bytes) -> dict[str, CpuTicks]:
    """The cpu lines of /proc/stat. Guest time is left out, for it is in user and nice already."""
    found = {}
    for line in stat.splitlines():
        if line.startswith(b"cpu"):
            name, *words = line.split()
            user, nice, system, idle, iowait, irq, softirq, *steal = map(int, words[:8])
            busy = (user, nice, system, irq, softirq, *steal)
            found[name.decode()] = CpuTicks(busy, idle, iowait, steal[0] if steal else None)
    return found


def parse_available_mb(meminfo: bytes) -> int | None:
    """MemAvailable of /proc/meminfo, MB of 10^6 bytes."""
    found = re.search(rb"^MemAvailable: +(\d+) kB", meminfo, re.MULTILINE)
    return units.bytes_to_mb(int(found.group(1)) * 1024) if found else None


def parse_disks(diskstats: bytes) -> dict[str, DiskCounters]:
    """Every line of /proc/diskstats, by device; partitions and virtual devices included."""
    disks = {}
    for line in diskstats.splitlines():
        _, _, name, *words = line.split()
        reads, _, sectors_read, _, writes, _, sectors_written, _, _, busy_ms = map(int, words[:10])
        moved = units.sectors_to_bytes(sectors_read), units.sectors_to_bytes(sectors_written)
        disks[procfs.as_text(name)] = DiskCounters(reads, moved[0], writes, moved[1], busy_ms)
    return disks


def parse_stalled_us(pressure: bytes) -> dict[str, int]:
    """`some` and `full` of a file of /proc/pressure: microseconds since boot."""
    return {
        kind.decode(): int(total)
        for kind, total in re.findall(rb"^(some|full) .*total=(\d+)$", pressure, re.MULTILINE)
    }


def parse_nics(net_dev: bytes) -> Iterator[tuple[str, int, int]]:
    """(name, bytes received, bytes sent) of each line of /proc/net/dev."""
    for line in net_dev.splitlines()[2:]:
        name, _, counters = line.partition(b":")
        words = counters.split()
        yield procfs.as_text(name.strip()), int(words[0]), int(words[8])


class HostFiles:
    """Reads them all. lo and the primary NIC are left out, and every block device but whole disks."""

    def __init__(self, primary: str, root: str = "") -> None:
        """primary: the NIC that ifstat samples. root: what stands before /proc and /sys."""
        self._left_out = ("lo", primary)
        self._sys = f"{root}/sys"
        names = ("stat", "meminfo", "diskstats", "net/dev", *(f"pressure/{name}" for name in PRESSURES))
        self._files = {name: _open(f"{root}/proc/{name}") for name in names}
        self._cores = _present_cores(Path(self._sys))
        self._is_disk: dict[str, bool] = {}

    def read(self, stamp: Stamp) -> Reading:
        """The counters now; stamp: the moment of now."""
        cpu = parse_cpu(self._read("stat") or b"")
        seen = [int(name[3:]) + 1 for name in cpu if name != "cpu"]
        self._cores = max([self._cores, *seen])
        return Reading(
            stamp,
            self._cores,
            cpu,
            parse_available_mb(self._read("meminfo") or b""),
            self._disks(),
            self._stalled_us(),
            self._nics(),
        )

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in self._files.values():
            if descriptor is not None:
                os.close(descriptor)

    def _read(self, name: str) -> bytes | None:
        """The whole file, which the kernel may give in parts; None where it has none."""
        descriptor = self._files[name]
        if descriptor is None:
            return None
        text = b""
        try:
            while part := os.pread(descriptor, _BLOCK, len(text)):
                text += part
        except OSError:  # pressure may be there and yet turned off (EOPNOTSUPP)
            return None
        return text

    def _disks(self) -> dict[str, DiskCounters] | None:
        diskstats = self._read("diskstats")
        if diskstats is None:
            return None
        found = parse_disks(diskstats)
        self._is_disk = {name: self._is_disk.get(name) or self._has_device(name) for name in found}
        return {name: counters for name, counters in found.items() if self._is_disk[name]}

    def _has_device(self, name: str) -> bool:
        """A whole disk has; a partition, loop, RAM, mapped or md device, whose bytes disks move, has not."""
        return os.path.exists(f"{self._sys}/block/{name.replace('/', '!')}/device")  # noqa: PTH110 - each second

    def _stalled_us(self) -> dict[str, int]:
        return {
            f"{name}_{kind}": total_us
            for name in PRESSURES
            for kind, total_us in parse_stalled_us(self._read(f"pressure/{name}") or b"").items()
        }

    def _nics(self) -> dict[str, NicCounters]:
        return {
            name: NicCounters(self._ifindex(name), received, sent)
            for name, received, sent in parse_nics(self._read("net/dev") or b"")
            if name not in self._left_out
        }

    def _ifindex(self, name: str) -> int | None:
        try:
            return read_number(f"{self._sys}/class/net/{name}/ifindex")
        except (OSError, ValueError):
            return None


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _present_cores(sys: Path) -> int:
    """One more than the number of the last core, from a list such as 0-3,8; 0 where it is not told."""
    try:
        numbers = re.findall(r"\d+", (sys / "devices/system/cpu/present").read_text(encoding="ascii"))
    except OSError:
        return 0
    return int(numbers[-1]) + 1 if numbers else 0
