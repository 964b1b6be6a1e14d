"""What OpenDC writes (task.parquet, host.parquet), in both of its dialects of time.

Up to v2.4f all times are ms since the first submission; from v2.4g on submission_time is ms since the epoch
while schedule_time and finish_time stay relative. Tasks that never ended have null or 0 there: only
task_state tells. A task's own cpu_time_active is not usable; the hosts' is. Source: opendc-compute,
telemetry/parquet.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tracekit.errors import TracekitError
from tracekit.verify.observed import SERVER, Observed

_EPOCH_MS = 10**11  # a time above is since the epoch (March 1973); a relative one would be three years


def find_tasks(folder: Path) -> Path | None:
    """The one task.parquet in or below folder. Raises TracekitError where there are several."""
    found = sorted(folder.rglob("task.parquet"))
    if len(found) > 1:
        names = ", ".join(str(path.parent.relative_to(folder)) for path in found)
        raise TracekitError(f"{folder} holds {len(found)} simulations ({names}): give one of them as SIM=")
    return found[0] if found else None


def is_verbatim(folder: Path) -> bool:
    """Whether fragments were replayed as they came, whatever else ran (NoDelay): CPU in is CPU out then.

    So too where no experiment.json in folder or above it says otherwise, for that is OpenDC's default."""
    for place in (folder, *list(folder.parents)[:6]):
        try:
            experiment = msgspec.json.decode((place / "experiment.json").read_bytes())
            policies = {one.get("scalingPolicy", "NoDelay") for one in experiment["workloads"]}
        except (OSError, msgspec.MsgspecError, KeyError, TypeError, AttributeError):
            continue
        return bool(policies != {"Perfect"})
    return True


def read_opendc(tasks: Path) -> Observed:
    """The simulated run. Raises TracekitError where the files are not OpenDC's or no task was completed."""
    run = Observed(SERVER, is_wait_known=True)
    for task in sorted(_completed(tasks), key=lambda task: (task["submitted"], task["finished"])):
        run.wait.append(task["scheduled"] - task["submitted"])
        run.came(task["submitted"], task["finished"] - task["submitted"])
    if not run.response:
        raise TracekitError(f"{tasks}: no task was completed")
    _add_hosts(run, tasks.with_name("host.parquet"))
    return run


def _completed(path: Path) -> Iterator[dict[str, float]]:
    """One row a completed task, all times ms since the first submission."""
    rows = [row for row in _rows(path) if row["task_state"] == "COMPLETED"]
    first = min((row["submission_time"] for row in rows), default=0)
    base = first if first > _EPOCH_MS else 0
    for row in rows:
        submitted, delay = row["submission_time"] - base, row.get("scheduling_delay")
        scheduled = row["schedule_time"] if delay is None else submitted + delay
        yield {"submitted": submitted, "scheduled": scheduled, "finished": row["finish_time"]}


def _add_hosts(run: Observed, path: Path) -> None:
    """Cores in use, and CPU-seconds; cpu_utilization (0 to 1) is of the interval that ends at the row."""
    if not path.exists():
        return
    before: dict[str, int] = {}
    for row in sorted(_rows(path), key=lambda row: (row["host_name"], row["timestamp"])):
        name, until = row["host_name"], row["timestamp"]
        since = before.get(name, 0)
        before[name] = until
        run.cpu_s = (run.cpu_s or 0.0) + row["cpu_utilization"] * row["core_count"] * (until - since) / 1000
        for second in range(since // 1000, until // 1000):
            run.busy.setdefault(name, {})[second] = row["cpu_utilization"] * row["core_count"]
    run.cpu_source = "simulation"


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import ArrowException  # noqa: PLC0415 - an extra: only OpenDC's files need it
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ImportError as error:
        raise TracekitError("reading Parquet needs pyarrow: `tools/setup.sh sim` installs it") from error
    try:
        for batch in ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except (OSError, ArrowException, KeyError) as error:
        raise TracekitError(f"{path}: not as OpenDC writes it ({error})") from error
