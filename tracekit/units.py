"""Every conversion between the kernel's units and the trace's, once.

MB is 10^6 bytes, kB (rss_kb) is 1024 bytes, Bps is bytes a second, bps is bits a second.
"""

from collections.abc import Iterable


def ticks_to_ms(ticks: int, clk_tck: int) -> int:
    """CPU time in ms, rounded down, from kernel clock ticks.

    clk_tck: ticks a second (sysconf _SC_CLK_TCK), > 0. Source: proc(5), fields utime and stime."""
    return ticks * 1000 // clk_tck


def all_ticks_to_ms(ticks: Iterable[int], clk_tck: int) -> list[int]:
    """The same of many."""
    return [one * 1000 // clk_tck for one in ticks]


def pages_to_kb(pages: int, page_size: int) -> int:
    """Memory in kB (1024 bytes) from pages of page_size bytes. Source: proc(5), statm."""
    return pages * page_size // 1024


def kib_rate_to_bytes(kib_per_s: float) -> int:
    """Bytes a second from ifstat's "KB/s", which are 1024 bytes. Source: ifstat(1)."""
    return round(kib_per_s * 1024)


def bytes_to_mb(size_bytes: int) -> int:
    """MB (10^6 bytes), rounded down, as `vmstat -Sm` prints."""
    return size_bytes // 1_000_000


def mbit_to_bps(mbit_per_s: int) -> int:
    """Bits a second from the speed file of a NIC (Mbit/s); 0 = unknown (-1 in a VM).

    Source: Documentation/ABI/testing/sysfs-class-net, speed."""
    return max(mbit_per_s, 0) * 1_000_000


def sectors_to_bytes(sectors: int) -> int:
    """Bytes from sectors of /proc/diskstats, which are 512 bytes whatever the disk's own are.

    Source: Documentation/admin-guide/iostats.rst."""
    return sectors * 512
