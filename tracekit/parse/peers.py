"""The links to the peers that were probed: the delay, from the least round trip of all probes."""

from collections.abc import Iterable

from tracekit.records import ClockProbe, Link


def pair_links(probes: Iterable[ClockProbe]) -> list[Link]:
    """links.json: one "<node>--<peer>" for each peer that answered; its bandwidth is not known."""
    least: dict[tuple[str, str], int] = {}
    for one in probes:
        pair = one.node, one.peer
        rtt_us = (one.t4_us - one.t1_us) - (one.t3_us - one.t2_us)
        if rtt_us >= 0:  # less: a clock was stepped between two of its stamps
            least[pair] = min(rtt_us, least.get(pair, rtt_us))
    return [
        Link(link=f"{u}--{v}", u=u, v=v, iface=None, BW_bps=0, PR_s=least[u, v] / 2e6)
        for u, v in sorted(least)
    ]
