"""Where and when each instance of each module was: a lane an instance."""

from typing import Any

from tracekit.dataset import Dataset
from tracekit.records import PlacementEvent

_LANES = 100  # more make no readable picture


def read_lanes(dataset: Dataset) -> dict[str, Any]:
    """Lanes by node and first start, each with its stays: from and to in ms, null where nobody told."""
    lanes: dict[tuple[str, str], dict[str, Any]] = {}
    left_out: set[tuple[str, str]] = set()
    for event in dataset.read("placement_events.jsonl"):
        key = (event.node_id, event.instance_id or event.module_id or event.app_id or "?")
        if key not in lanes and len(lanes) == _LANES:
            left_out.add(key)
            continue
        lane = lanes.setdefault(
            key, {"node": key[0], "instance": key[1], "module": event.module_id or "", "stays": []}
        )
        _take(lane["stays"], event)
    ordered = sorted(lanes.values(), key=lambda lane: lane["node"])  # stable: by first event in a node
    return {"lanes": ordered, "left_out": len(left_out)}


def _take(stays: list[list[int | None]], event: PlacementEvent) -> None:
    """start opens a stay, stop closes the open one; a stop alone began before anybody looked."""
    is_open = bool(stays) and stays[-1][1] is None
    if event.event == "start":
        stays.append([event.ts, None])
    elif event.event == "stop":
        if is_open:
            stays[-1][1] = event.ts
        else:
            stays.append([None, event.ts])
