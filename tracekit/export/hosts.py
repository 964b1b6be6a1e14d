"""Nodes as a simulator's hosts: cores and a clock rate, in which simulators count work."""

from collections.abc import Sequence
from typing import NamedTuple

from tracekit.errors import TracekitError
from tracekit.export.audit import Audit
from tracekit.records import Node


class Host(NamedTuple):
    """A node; mem_mb is MB of 10^6 bytes, or None."""

    name: str
    cores: int
    mhz: int
    mem_mb: int | None
    cpu_model: str | None


def hosts_of(nodes: Sequence[Node], given_mhz: int, audit: Audit) -> list[Host]:
    """Every node as a host, by name; given_mhz, where not 0, stands in for a clock rate that is not known.

    Raises TracekitError where the cores or the clock rate of a node is missing."""
    hosts = []
    for node in sorted(nodes, key=lambda one: one.node_id):
        mhz = node.cpu_freq_mhz or given_mhz
        if not node.cpu_cores:
            raise TracekitError(f"nodes.json: {node.node_id}: cpu_cores is unknown, and a host needs it")
        if not mhz:
            raise TracekitError(
                f"nodes.json: {node.node_id}: cpu_freq_mhz is unknown, and work is counted in cycles; "
                "CPU_MHZ= gives it, and the audit tells"
            )
        if not node.cpu_freq_mhz:
            audit.impute(f"a clock rate of {mhz} MHz, from CPU_MHZ", node.node_id)
        hosts.append(Host(node.node_id, node.cpu_cores, mhz, node.mem_mb, node.cpu_model))
    return hosts
