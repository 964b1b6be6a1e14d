"""CPU utilisation from the text of `mpstat 1` (sysstat).

In:   02:28:12     CPU    %usr   %nice    %sys %iowait    %irq   %soft  %steal  %guest  %gnice   %idle
      02:28:13     all   35.18    0.00   13.07    0.50    0.00    0.50    0.00    0.00    0.00   50.75
Out:  CpuSample(cpu_util=48.75), percent of all cores, = 100 - %idle - %iowait, two decimals

A 12-hour clock puts AM or PM into the header and the rows alike, so a value is found by its place in
the header that went before. The averages at the end are no sample. Source: mpstat(1).
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct


class CpuSample(Struct, frozen=True):
    """cpu_util: percent of all cores, 0 to 100, over the second before."""

    cpu_util: float


def parse(lines: Iterable[str]) -> Iterator[CpuSample]:
    """One sample for each "all" row under a header."""
    header: list[str] = []
    for line in lines:
        words = line.split()
        if "CPU" in words and "%idle" in words:
            header = words
        elif header and len(words) == len(header) and words[0] != "Average:":
            row = dict(zip(header[1:], words[1:], strict=True))
            if row["CPU"] == "all":
                yield CpuSample(_utilisation(float(row["%idle"]), float(row["%iowait"])))


def _utilisation(idle_pct: float, iowait_pct: float) -> float:
    # Each column is rounded to 0.01 by itself: their sum may be 100.01, which is 0 busy.
    return max(round(100 - idle_pct - iowait_pct, 2), 0.0)
