"""Bytes a second of one NIC from the text of `ifstat -i NIC 1` (ifstat 1.1).

In:         eth0
       KB/s in  KB/s out
       8740.94     15.19
Out:  NicSample(rx_Bps=8950723, tx_Bps=15555), bytes a second; None where ifstat prints n/a

ifstat's KB is 1024 bytes. It divides by the wall clock, so its figure is wrong for the interval in
which that clock is stepped; the recorder holds the NIC's own counters beside it. Source: ifstat(1).
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from tracekit.units import kib_rate_to_bytes


class NicSample(Struct, frozen=True):
    """rx_Bps, tx_Bps: bytes a second received and sent, over the interval before; None is unknown."""

    rx_Bps: int | None
    tx_Bps: int | None


def parse(lines: Iterable[str]) -> Iterator[NicSample]:
    """One sample for each row of two figures."""
    for line in lines:
        words = line.split()
        if len(words) == 2 and all(_is_figure(word) for word in words):
            received, sent = (None if word == "n/a" else kib_rate_to_bytes(float(word)) for word in words)
            yield NicSample(received, sent)


def _is_figure(word: str) -> bool:
    return word == "n/a" or word.replace(".", "", 1).isdigit()
