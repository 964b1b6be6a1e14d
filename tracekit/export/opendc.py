"""OpenDC's workload trace: two Parquet files, a topology and an experiment, in the dialect of a release.

2.4e and before name tasks by text and give each fragment its cpu_count; from 2.4f on ids are int32, and the
power model has another key. There is no time in a fragment: those of a task follow each other in file order.
Source: OpenDC, TaskSchemas.kt, FragmentSchemas.kt, TopologySpecs.kt, ExperimentSpec.kt, units/*.kt.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tracekit.errors import TracekitError
from tracekit.export.hosts import Host
from tracekit.export.tasks import Task

MEBI = 1 << 20
FROM_KIB_TO_KB = 1.024  # rss_kb counts 1024 bytes, OpenDC 1000


class Dialect(NamedTuple):
    """has_text_ids: ids are text, and fragments have cpu_count. may_share: two tasks can have one core."""

    has_text_ids: bool
    may_share: bool


DIALECTS = {"2.4e": Dialect(True, True), "2.4f": Dialect(False, True), "latest": Dialect(False, False)}


def task_rows(
    tasks: Sequence[Task], waits: dict[int, int], mhz: dict[str, int], dialect: Dialect
) -> Iterator[dict[str, Any]]:
    """Rows of tasks.parquet, ids from 1 in the order of tasks. waits: place of a task -> its parent's."""
    children: dict[int, list[int]] = {}
    for child, parent in waits.items():
        children.setdefault(parent, []).append(child)
    for at, task in enumerate(tasks):
        row: dict[str, Any] = {
            "id": _id(at, dialect),
            "submission_time": task.submitted_ms,
            "duration": task.ended_ms - task.started_ms,
            "cpu_count": task.cores,
            "cpu_capacity": float(task.cores * mhz[task.node]),
            "mem_capacity": -int(-(task.peak_rss_kb or 0) * FROM_KIB_TO_KB // 1),
        }
        if not dialect.has_text_ids:
            row["name"] = task.name
            row["parents"] = [_id(waits[at], dialect)] if at in waits else []
            row["children"] = [_id(child, dialect) for child in children.get(at, [])]
        yield row


def fragment_rows(tasks: Sequence[Task], mhz: dict[str, int], dialect: Dialect) -> Iterator[dict[str, Any]]:
    """Rows of fragments.parquet: a task's pieces in their order, CPU as MHz over all cores."""
    for at, task in enumerate(tasks):
        for piece in task.pieces:
            usage = piece.cpu_ms / piece.length_ms * mhz[task.node]
            row = {"id": _id(at, dialect), "duration": piece.length_ms, "cpu_usage": usage}
            if dialect.has_text_ids:
                row["cpu_count"] = task.cores
            yield row


def _id(at: int, dialect: Dialect) -> int | str:
    return str(at + 1) if dialect.has_text_ids else at + 1


def schemas(dialect: Dialect) -> tuple[Any, Any]:
    """The Arrow schemas of both files; what OpenDC requires is not nullable, or it would refuse the file."""
    import pyarrow as pa  # noqa: PLC0415 - of the extra sim

    key = pa.string() if dialect.has_text_ids else pa.int32()

    def required(name: str, kind: Any) -> Any:
        return pa.field(name, kind, nullable=False)

    task = [
        required("id", key),
        required("submission_time", pa.timestamp("ms", tz="UTC")),
        required("duration", pa.int64()),
        required("cpu_count", pa.int32()),
        required("cpu_capacity", pa.float64()),
        required("mem_capacity", pa.int64()),
    ]
    fragment = [required("id", key), required("duration", pa.int64())]
    if dialect.has_text_ids:
        fragment.append(required("cpu_count", pa.int32()))
    else:
        ids = pa.list_(pa.field("element", key))
        task += [pa.field("name", pa.string()), pa.field("parents", ids), pa.field("children", ids)]
    return pa.schema(task), pa.schema([*fragment, required("cpu_usage", pa.float64())])


def write_parquet(path: Path, schema: Any, rows: Iterator[dict[str, Any]], group: int = 50_000) -> int:
    """Write rows; the number of them. Memory holds one row group."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    count = 0
    with pq.ParquetWriter(path, schema, compression="snappy", store_schema=False) as writer:
        block: list[dict[str, Any]] = []
        for row in rows:
            block.append(row)
            count += 1
            if len(block) == group:
                writer.write_table(pa.Table.from_pylist(block, schema=schema))
                block.clear()
        writer.write_table(pa.Table.from_pylist(block, schema=schema))
    return count


def topology(run_id: str, hosts: Sequence[Host]) -> dict[str, Any]:
    """One host a node, under its own name.

    There is no power model: the trace knows no power, and the experiment asks for no energy."""
    return {"clusters": [{"name": run_id, "hosts": [_host(host) for host in hosts]}]}


def _host(host: Host) -> dict[str, Any]:
    """Sizes carry their unit: a bare number would be taken as MiB. Raises TracekitError without memory."""
    if not host.mem_mb:
        raise TracekitError(f"nodes.json: {host.name}: mem_mb is unknown, and a host of OpenDC needs it")
    cpu: dict[str, Any] = {"coreCount": host.cores, "coreSpeed": f"{host.mhz} MHz"}
    if host.cpu_model:
        cpu["modelName"] = host.cpu_model
    memory = {"memorySize": f"{host.mem_mb * 1_000_000 // MEBI} MiB"}
    return {"name": host.name, "count": 1, "cpu": cpu, "memory": memory}


def experiment(run_id: str, sharing: float) -> dict[str, Any]:
    """Replays the tasks with their idle time; paths are from the folder that OpenDC is started in.

    sharing: how many times a host's cores may be given to tasks. The exported tables hold no energy."""
    return {
        "name": run_id,
        "outputFolder": "output",
        "topologies": [{"pathToFile": "topology.json"}],
        "workloads": [{"pathToFile": ".", "type": "ComputeWorkload", "scalingPolicy": "NoDelay"}],
        "allocationPolicies": [_policy(sharing)],
        "exportModels": [
            {"exportInterval": 1, "printFrequency": None, "filesToExport": ["host", "task", "service"]}
        ],
    }


def _policy(sharing: float) -> dict[str, Any]:
    """A task goes where its cores and its memory are free; a core may be given away sharing times."""
    if sharing == 1.0:
        return {"type": "prefab", "policyName": "Mem"}
    filters = [
        {"type": "Compute"},
        {"type": "VCpu", "allocationRatio": sharing},
        {"type": "Ram", "allocationRatio": 1.0},
    ]
    return {"type": "filter", "filters": filters, "weighers": [{"type": "Ram", "multiplier": 1.0}]}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Indented, in the order given."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
