"""The .json files of a run: read, checked against their records and against each other."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from tracekit import jsonl
from tracekit.errors import TracekitError
from tracekit.records import Link, LinkMeta, ModuleInventory, Node, NodeMeta, RunMeta

T = TypeVar("T")
_COLLECTED = ("resources.jsonl", "links.jsonl", "proc_metrics.jsonl", "proc_inventory.jsonl")


class Documents(NamedTuple):
    """The .json files of a run; node is None where only an app or an adapter wrote here."""

    run: RunMeta
    node: NodeMeta | None
    link: LinkMeta
    run_raw: dict[str, Any]
    modules_raw: dict[str, Any]


def read_documents(run_dir: Path) -> Documents:
    """Read and check them. Raises TracekitError where one is broken, missing, or of another run."""
    run_raw = jsonl.read_document(run_dir / "run_meta.json")
    node_raw = jsonl.read_document(run_dir / "node_meta.json")
    if any((run_dir / name).exists() for name in _COLLECTED):
        if not node_raw:
            wrong = "is empty" if (run_dir / "node_meta.json").exists() else "is missing"
            raise TracekitError(
                f"{run_dir}/node_meta.json {wrong}: nobody knows which node this was; restore it"
            )
        if run_raw.get("started_ms") is None:
            raise TracekitError(
                f"{run_dir}/run_meta.json: started_ms is not known, so no sample can be missed; restore it"
            )
    for name, raw in (("run_meta.json", run_raw), ("node_meta.json", node_raw)):
        if raw and raw.get("run_id") != run_dir.name:
            raise TracekitError(
                f"{run_dir}/{name}: run_id is {raw.get('run_id')!r}, the directory is {run_dir.name!r}; "
                "give the directory its own name back, or parse the right one"
            )
    modules_raw = jsonl.read_document(run_dir / "module_inventory.json")
    _convert(run_dir / "module_inventory.json", modules_raw, ModuleInventory)
    return Documents(
        run=_convert(run_dir / "run_meta.json", {"run_id": run_dir.name, **run_raw}, RunMeta),
        node=_convert(run_dir / "node_meta.json", _with_clock(node_raw), NodeMeta) if node_raw else None,
        link=_convert(run_dir / "link_meta.json", jsonl.read_document(run_dir / "link_meta.json"), LinkMeta),
        run_raw=run_raw,
        modules_raw=modules_raw,
    )


def _with_clock(raw: dict[str, Any]) -> dict[str, Any]:
    """node_meta.json, with the last reading of the clock also where only `start` and `stop` tell of it."""
    clock = raw.get("clock")
    if not isinstance(clock, dict):
        return raw
    last = clock.get("stop") or clock.get("start")
    return {**raw, "clock": {**last, **clock}} if isinstance(last, dict) else raw


def _convert(path: Path, raw: dict[str, Any], record: type[T]) -> T:
    try:
        return msgspec.convert(raw, record)
    except msgspec.ValidationError as error:
        raise TracekitError(f"{path}: {error}; restore it or mend it") from error


def node_of(node: NodeMeta, run: RunMeta) -> Node:
    """The node as nodes.json has it."""
    return Node(
        node_id=node.node,
        stage=node.stage,
        cpu_cores=node.cpu_cores,
        mem_mb=node.mem_mb,
        cpu_model=node.cpu_model,
        cpu_freq_mhz=node.cpu_freq_mhz,
        machine_id_hash=node.machine_id_hash,
        boot_id=node.boot_id,
        kernel=node.kernel,
        clk_tck=node.clk_tck,
        started_ms=run.started_ms,
        stopped_ms=run.stopped_ms,
        clock=node.clock,
    )


def links_of(node: NodeMeta, link: LinkMeta, seen: Collection[str]) -> list[Link]:
    """links.json: the primary NIC, and every further link that was seen; its bandwidth is not known."""
    primary = Link(
        link=f"{node.node}.nic",
        u=node.node,
        v=link.peer or f"{node.node}.net",
        iface=link.iface or node.iface,
        BW_bps=link.BW_bps,
        PR_s=link.PR_s,
    )
    return [primary, *(_further(node.node, name) for name in sorted(seen) if name != primary.link)]


def _further(node: str, name: str) -> Link:
    prefix = f"{node}.nic."
    iface = name.removeprefix(prefix) if name.startswith(prefix) else None
    return Link(link=name, u=node, v=f"{node}.net", iface=iface, BW_bps=0, PR_s=None)
