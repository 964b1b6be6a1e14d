"""OpenDC's reader, as far as it can refuse or silently lose something: held against files that were written.

It takes a column by its name and its exact Parquet type; a required one that the file has as optional is an
error, one that is absent is silently 0, and a task without fragments silently gone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracekit.errors import TracekitError
from tracekit.export.opendc import Dialect
from tracekit.export.tasks import Task

CLOSE = 1e-6  # of the sums; they are sums of doubles

_TASK = {"duration": "INT64", "cpu_count": "INT32", "cpu_capacity": "DOUBLE", "mem_capacity": "INT64"}
_FRAGMENT = {"duration": "INT64", "cpu_usage": "DOUBLE"}
_LISTS = ("parents", "children")
_CODECS = {"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4"}


def check(folder: Path, tasks: Sequence[Task], mhz: dict[str, int], dialect: Dialect) -> None:
    """Read both files again. Raises TracekitError at what OpenDC would not take as it is meant."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - of the extra sim

    key = "BYTE_ARRAY" if dialect.has_text_ids else "INT32"
    task_file, fragment_file = (pq.ParquetFile(folder / f"{name}.parquet") for name in ("tasks", "fragments"))
    _check_columns(task_file, {"id": key, "submission_time": "INT64", **_TASK}, "tasks.parquet")
    if not dialect.has_text_ids:
        _check_lists(task_file)
    per_fragment = {"cpu_count": "INT32"} if dialect.has_text_ids else {}
    _check_columns(fragment_file, {"id": key, **_FRAGMENT, **per_fragment}, "fragments.parquet")
    rows = task_file.read().to_pylist()
    _check_tasks(rows, len(tasks))
    sums = _sums(fragment_file)
    for row, task in zip(rows, tasks, strict=True):
        _check_sums(row, sums.pop(row["id"], None), task, mhz[task.node])
    if sums:
        raise TracekitError(f"fragments.parquet: task {next(iter(sums))!r} is in no row of tasks.parquet")


def _check_columns(file: Any, wanted: dict[str, str], name: str) -> None:
    columns = {file.schema.column(at).path: file.schema.column(at) for at in range(len(file.schema))}
    for column, kind in wanted.items():
        found = columns.get(column)
        if found is None or found.physical_type != kind or found.max_definition_level != 0:
            raise TracekitError(f"{name}: {column} must be required {kind}, it is {found}")
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        codecs = {group.column(at).compression for at in range(group.num_columns)}
        if not codecs <= _CODECS:
            raise TracekitError(f"{name}: compressed with {codecs - _CODECS}, which OpenDC cannot read")


def _check_lists(file: Any) -> None:
    paths = {
        file.schema.column(at).path: file.schema.column(at).physical_type for at in range(len(file.schema))
    }
    for name in _LISTS:
        if paths.get(f"{name}.list.element") != "INT32":
            raise TracekitError(f"tasks.parquet: {name} must be a list of int32 under list.element: {paths}")


def _check_tasks(rows: list[dict[str, Any]], count: int) -> None:
    ids = [row["id"] for row in rows]
    if len(ids) != count or {str(one) for one in ids} != {str(at + 1) for at in range(count)}:
        raise TracekitError("tasks.parquet: ids are not 1 to the number of tasks, each once")
    for row in rows:
        others = {*(row.get("parents") or ()), *(row.get("children") or ())}
        if others - set(ids) or row["id"] in others:
            raise TracekitError(
                f"tasks.parquet: task {row['id']} is bound to {sorted(others)}, which is no other task"
            )


def _sums(file: Any) -> dict[Any, tuple[int, float]]:
    """Duration in ms and MHz x ms by id; fragments of an id must stand together, in their order."""
    sums: dict[Any, tuple[int, float]] = {}
    last: Any = None
    for batch in file.iter_batches():
        columns = batch.to_pydict()
        for one, duration, usage in zip(
            columns["id"], columns["duration"], columns["cpu_usage"], strict=True
        ):
            if one != last and one in sums:
                raise TracekitError(f"fragments.parquet: fragments of task {one!r} do not stand together")
            if duration <= 0 or not 0 <= usage < float("inf"):
                raise TracekitError(f"fragments.parquet: task {one!r}: {duration} ms at {usage} MHz")
            length, work = sums.get(one, (0, 0.0))
            sums[one] = (length + duration, work + usage * duration)
            last = one
    return sums


def _check_sums(row: dict[str, Any], found: tuple[int, float] | None, task: Task, mhz: int) -> None:
    if found is None:
        raise TracekitError(f"fragments.parquet: task {row['id']} has no fragment, and OpenDC would drop it")
    if found[0] != row["duration"]:
        raise TracekitError(
            f"fragments.parquet: task {row['id']}: {found[0]} ms of fragments, {row['duration']} of task"
        )
    if abs(found[1] / mhz - task.cpu_ms) > CLOSE * max(task.cpu_ms, 1):
        raise TracekitError(
            f"fragments.parquet: task {row['id']}: {found[1] / mhz} ms of CPU for {task.cpu_ms}"
        )
