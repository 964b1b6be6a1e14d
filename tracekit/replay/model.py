"""What is replayed on: nodes with cores, links between them, and how demand becomes time."""

from dataclasses import dataclass, field
from typing import Any

FIFO, PS = "fifo", "ps"
NS_PER_MS = 1_000_000


def ns(ms: float) -> int:
    """Whole nanoseconds, in which the engine counts, from ms."""
    return round(ms * NS_PER_MS)


@dataclass(frozen=True)
class NodeModel:
    """One node.

    cores: identical ones; whole with fifo, any positive number with ps.
    slots: requests that it serves at once, each from its start to its end; None: any number.
    speed: work that a core does in a second, in CPU-seconds of the recording.
    overhead_cpu_ms: work of a request beyond its cpu_time_ms (the server's own).
    first_cpu_ms: work more for a request that finds the cores idle (waking up, cold caches).
    delay_ms: time without a core that each request takes; None: as it was recorded."""

    cores: float
    slots: int | None = None
    speed: float = 1.0
    overhead_cpu_ms: float = 0.0
    first_cpu_ms: float = 0.0
    delay_ms: float | None = None


@dataclass(frozen=True)
class Model:
    """policy: fifo or ps, of the cores of every node. demand: cpu (cpu_time_ms), or service where that is
    unknown.

    rate: requests a second that the arrivals are scaled to; None: as they came."""

    nodes: dict[str, NodeModel]
    policy: str = FIFO
    demand: str = "cpu"
    rate: float | None = None


class Visit:
    """One request at one node: what it needs, what it waits for, and what came of it. Times in ns.

    Its own parts (work, then delay) alternate with the stages of calls; each stage ends when all its calls
    are back."""

    __slots__ = (
        "call",
        "delays",
        "end",
        "enqueue",
        "node",
        "parent",
        "pending",
        "stage",
        "stages",
        "start",
        "station",
        "told",
        "used",
        "work",
    )

    def __init__(self, told: Any, node: str, call: Any, parent: "Visit | None") -> None:
        """told: its record in the trace. call: the call that leads here; station stays None for a client."""
        self.told, self.node, self.call, self.parent = told, node, call, parent
        self.station: Any = None
        self.work: list[int] = [0]
        self.delays: list[int] = [0]
        self.stages: list[list[Any]] = []
        self.stage = 0  # the part that is being served
        self.pending = 0  # calls of the stage that have not come back
        self.enqueue, self.start, self.end = 0, -1, -1
        self.used = 0  # work done


@dataclass
class Count:
    """What a replay read and what it had to leave out or assume: read = visits + no_arrival.

    read: invocations. unserved: requests of the load generator that led to none. requests: what came from
    outside. imputed_demand: demands taken from service times. unknown_delay: no service time to take a
    delay from. external_calls: calls to what is not in the trace, replayed as delays. unknown_bytes:
    messages of unknown size. recorded_delay: ns that came from the recording: to compare these with it
    proves nothing."""

    read: int = 0
    no_arrival: int = 0
    unserved: int = 0
    requests: int = 0
    visits: int = 0
    imputed_demand: int = 0
    recorded_delay: int = 0
    unknown_delay: int = 0
    external_calls: int = 0
    unknown_bytes: int = 0
    unknown_links: set[str] = field(default_factory=set)
