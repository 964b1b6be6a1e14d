"""A SimGrid platform of the nodes: hosts, their NICs, and a route for each pair of nodes.

A NIC is two links, one a direction. A message passes the sender's and the receiver's, then a link that only
delays, for PR_s of a NIC is the delay of a whole path. A measured pair "u--v" takes the place of all three.
Source: SimGrid, simgrid.dtd version 4.1; one flop stands for one clock cycle.
"""

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import NamedTuple
from xml.etree import ElementTree as ET

from tracekit.export.hosts import Host
from tracekit.records import Link

DOCTYPE = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">\n'
)
NO_LIMIT_BPS = 8 * 10**15  # bandwidth of what only delays, bits/s


class Route(NamedTuple):
    """From one node to another. bps, delay_s: None where links.json does not know them."""

    source: str
    target: str
    links: tuple[tuple[str, str], ...]  # name and direction
    bps: int | None
    delay_s: float | None


def find_routes(names: Sequence[str], links: Sequence[Link]) -> list[Route]:
    """A route for each pair of nodes, in both directions."""
    known = {link.link: link for link in links}
    routes = []
    for source, target in permutations(sorted(names), 2):
        pair = known.get(f"{source}--{target}")
        back = known.get(f"{target}--{source}")
        if pair or back:
            one = pair or back
            assert one is not None
            direction = "UP" if pair else "DOWN"
            routes.append(Route(source, target, ((one.link, direction),), one.BW_bps or None, one.PR_s))
            continue
        hops = ((f"{source}.nic", "UP"), (f"{target}.nic", "DOWN"))
        nics = [known.get(name) for name, _ in hops]
        rates = [nic.BW_bps for nic in nics if nic and nic.BW_bps]
        delay_s = next((nic.PR_s for nic in nics if nic and nic.PR_s is not None), None)
        routes.append(Route(source, target, hops, min(rates) if len(rates) == 2 else None, delay_s))
    return routes


def platform(
    run_id: str, epoch_ms: int, hosts: Sequence[Host], links: Sequence[Link], routes: Sequence[Route]
) -> bytes:
    """The XML; a bandwidth that is not known is no limit, a delay that is not known is none."""
    root = ET.Element("platform", version="4.1")
    zone = ET.SubElement(root, "zone", id="run", routing="Full")
    ET.SubElement(zone, "prop", id="run_id", value=run_id)
    ET.SubElement(zone, "prop", id="epoch_ms", value=str(epoch_ms))
    for host in hosts:
        ET.SubElement(zone, "host", id=host.name, speed=f"{host.mhz * 1_000_000}f", core=str(host.cores))
    known = {link.link: link for link in links}
    for name in sorted({name for route in routes for name, _ in route.links}):
        link = known.get(name)
        bps = link.BW_bps if link and link.BW_bps else NO_LIMIT_BPS
        is_pair = link is not None and not name.endswith(".nic")
        delay_s = link.PR_s or 0.0 if link and is_pair else 0.0
        _link(zone, name, bps, delay_s, "SPLITDUPLEX")
    for route in routes:
        if not _is_pair(route):
            _link(zone, _delay(route), NO_LIMIT_BPS, route.delay_s or 0.0, "FATPIPE")
    for route in routes:
        element = ET.SubElement(zone, "route", src=route.source, dst=route.target, symmetrical="NO")
        for name, direction in route.links:
            ET.SubElement(element, "link_ctn", id=name, direction=direction)
        if not _is_pair(route):
            ET.SubElement(element, "link_ctn", id=_delay(route))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8")
    return DOCTYPE + text + b"\n"


def _is_pair(route: Route) -> bool:
    return len(route.links) == 1


def _delay(route: Route) -> str:
    return f"{route.source}--{route.target}.delay"


def _link(zone: ET.Element, name: str, bps: int, delay_s: float, sharing: str) -> None:
    text = {"bandwidth": f"{bps / 8:.12g}Bps", "latency": f"{delay_s:.12g}s", "sharing_policy": sharing}
    ET.SubElement(zone, "link", {"id": name, **text})


def unknown_of(routes: Sequence[Route]) -> Iterator[tuple[Route, str]]:
    """What links.json does not know of the routes."""
    for route in routes:
        if route.bps is None:
            yield route, "bandwidth"
        if route.delay_s is None:
            yield route, "delay"
