"""Free memory from the text of `vmstat -Sm -t 1` (procps).

In:   r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st                 UTC
      3  0      0  24662     12    524    0    0  1064     0 1277 1861 36 13 51  0  0 2026-11-23 02:28:13
Out:  MemSample(mem_free_mb=24662), MB of 10^6 bytes

The first row after the start holds rates since boot and is dropped; later headers come before
ordinary rows. Source: vmstat(8).
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct


class MemSample(Struct, frozen=True):
    """mem_free_mb: memory that nobody uses, MB of 10^6 bytes."""

    mem_free_mb: int


def parse(lines: Iterable[str]) -> Iterator[MemSample]:
    """One sample for each row but the first."""
    column = -1
    is_first = True
    for line in lines:
        words = line.split()
        if "free" in words and "swpd" in words:
            column = words.index("free")
        elif 0 <= column < len(words) and words[column].isdigit():
            if not is_first:
                yield MemSample(int(words[column]))
            is_first = False
