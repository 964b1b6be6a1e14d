"""OpenDC's files: the exact types that its reader wants, the CPU that was measured, and nothing made up."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, need
from runs import T0, Row, parsed, proc, snapshot, tool
from test_export_tasks import job, node, seen
from test_validate_names import write_cctf

from tracekit.errors import DONE, FAILED, REJECTED, TracekitError
from tracekit.export.audit import Audit
from tracekit.export.curve import Piece
from tracekit.export.opendc import DIALECTS, fragment_rows, schemas, task_rows, write_parquet
from tracekit.export.opendc_check import check
from tracekit.export.tasks import Task

GOLDEN = ROOT / "tests" / "golden" / "one-node"

# Parquet types by column, as OpenDC's TaskSchemas.kt and FragmentSchemas.kt require them.
REQUIRED = {
    "submission_time": "INT64",
    "duration": "INT64",
    "cpu_count": "INT32",
    "cpu_capacity": "DOUBLE",
    "mem_capacity": "INT64",
}


@pytest.fixture(autouse=True)
def _parquet() -> None:
    need(find_spec("pyarrow"), "pyarrow (tools/setup.sh sim)")


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows: list[dict[str, Any]] = pq.read_table(folder / name).to_pylist()
    return rows


def columns(path: Path) -> dict[str, tuple[str, bool]]:
    """Of each leaf its Parquet type and whether it is required."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = pq.ParquetFile(path).schema
    found = [schema.column(at) for at in range(len(schema))]
    return {one.path: (one.physical_type, one.max_definition_level == 0) for one in found}


def two_jobs(tmp_path: Path, **more: Any) -> Path:
    """A job of 2 s with 0.4 s and 1.5 s of CPU in its seconds, and one that began when it had ended."""
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": [
            proc(2000, 40, rss_kb=1000),
            proc(3000, 190, rss_kb=3000),
            proc(4000, 50, pid=8, born_ms=3000, rss_kb=10),
        ],
        "proc_inventory.jsonl": [seen(7, 1), seen(8, 1, 3000)],
        "invocations.run_task.jsonl": [
            job(7, 1000, 3000, 1900.0, "a", ts_enqueue=T0 + 500, queue_time_ms=500, rt_ms=2500),
            job(8, 3000, 4000, 500.0, "b", parent_id="a"),
        ],
    }
    return parsed(tmp_path, files, documents={"node_meta.json": node(**more)})


def export(run_dir: Path, **env: str) -> tuple[int, Path, str]:
    done = tool("exporters/opendc.py", str(run_dir), **env)
    return done.returncode, run_dir / "exports" / "opendc", done.stdout + done.stderr


def test_tasks_and_fragments_of_the_newest_release(tmp_path: Path) -> None:
    """2000 MHz: 0.4 s of CPU in 1 s are 800 MHz, 1.5 s are 3000 MHz. 3000 kB of 1024 bytes are 3072 KB."""
    code, folder, said = export(two_jobs(tmp_path))
    assert code == DONE, said
    rows = read(folder, "tasks.parquet")
    times = [round(row.pop("submission_time").timestamp() * 1000) - T0 for row in rows]
    assert times == [500, 3000]
    assert rows[0] == {
        "id": 1, "duration": 2000, "cpu_count": 2, "cpu_capacity": 4000.0, "mem_capacity": 3072,
        "name": "m-a", "parents": [], "children": [2],
    }  # fmt: skip
    assert rows[1] == {
        "id": 2, "duration": 1000, "cpu_count": 1, "cpu_capacity": 2000.0, "mem_capacity": 11,
        "name": "m-b", "parents": [1], "children": [],
    }  # fmt: skip
    assert read(folder, "fragments.parquet") == [
        {"id": 1, "duration": 1000, "cpu_usage": 800.0},
        {"id": 1, "duration": 1000, "cpu_usage": 3000.0},
        {"id": 2, "duration": 1000, "cpu_usage": 1000.0},
    ]
    lists = {f"{name}.list.element": ("INT32", False) for name in ("parents", "children")}
    assert columns(folder / "tasks.parquet") == {
        "id": ("INT32", True), "name": ("BYTE_ARRAY", False), **lists,
        **{name: (kind, True) for name, kind in REQUIRED.items()},
    }  # fmt: skip
    assert columns(folder / "fragments.parquet") == {
        "id": ("INT32", True), "duration": ("INT64", True), "cpu_usage": ("DOUBLE", True),
    }  # fmt: skip
    ids = [json.loads(line) for line in (folder / "ids.jsonl").read_text().splitlines()]
    assert [(one["id"], one["node"], one["pid"], one["span_id"]) for one in ids] == [
        (1, "vm1", 7, "a"),
        (2, "vm1", 8, "b"),
    ]


def test_the_dialect_of_release_2_4e_has_text_ids_and_no_dag(tmp_path: Path) -> None:
    code, folder, said = export(two_jobs(tmp_path), OPENDC="2.4e")
    assert code == DONE, said
    assert "2.4e knows no task that waits" in said
    assert columns(folder / "tasks.parquet") == {
        "id": ("BYTE_ARRAY", True), **{name: (kind, True) for name, kind in REQUIRED.items()},
    }  # fmt: skip
    assert columns(folder / "fragments.parquet") == {
        "id": ("BYTE_ARRAY", True), "duration": ("INT64", True),
        "cpu_usage": ("DOUBLE", True), "cpu_count": ("INT32", True),
    }  # fmt: skip
    assert [row["id"] for row in read(folder, "tasks.parquet")] == ["1", "2"]


def test_topology_and_experiment_carry_units_and_no_power(tmp_path: Path) -> None:
    """1000 MB of 10^6 bytes are 953.67 MiB."""
    code, folder, said = export(two_jobs(tmp_path, cpu_model="X"))
    assert code == DONE, said
    (cluster,) = json.loads((folder / "topology.json").read_text())["clusters"]
    assert cluster["hosts"] == [
        {
            "name": "vm1",
            "count": 1,
            "cpu": {"coreCount": 4, "coreSpeed": "2000 MHz", "modelName": "X"},
            "memory": {"memorySize": "953 MiB"},
        }
    ]
    experiment = json.loads((folder / "experiment.json").read_text())
    assert (folder / experiment["topologies"][0]["pathToFile"]).is_file()
    assert (folder / experiment["workloads"][0]["pathToFile"] / "tasks.parquet").is_file()
    assert "powerSource" not in experiment["exportModels"][0]["filesToExport"]


def test_what_a_host_needs_is_not_invented(tmp_path: Path) -> None:
    run_dir = two_jobs(tmp_path, cpu_freq_mhz=None)
    code, folder, said = export(run_dir)
    assert code == FAILED and "vm1: cpu_freq_mhz is unknown" in said and not folder.exists()
    code, folder, said = export(run_dir, CPU_MHZ="3000")
    assert code == DONE, said
    assert "a clock rate of 3000 MHz, from CPU_MHZ, first vm1" in said
    assert read(folder, "fragments.parquet")[0]["cpu_usage"] == 1200.0
    code, _, said = export(two_jobs(tmp_path / "b", mem_mb=None))
    assert code == FAILED and "vm1: mem_mb is unknown" in said


def test_a_job_that_cannot_be_said_is_refused_by_name_and_the_others_are_there(tmp_path: Path) -> None:
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": [proc(2000, 40)],
        "proc_inventory.jsonl": [seen(7, 1)],
        "invocations.run_task.jsonl": [job(7, 1000, 2000, 400.0, "a"), job(9, 1000, 2000, 100.0, "b")],
    }
    run_dir = parsed(tmp_path, files, documents={"node_meta.json": node()})
    code, folder, said = export(run_dir)
    assert code == REJECTED
    assert "a task without CPU samples of its own, first vm1: m-b b" in said
    assert [row["name"] for row in read(folder, "tasks.parquet")] == ["m-a"]
    code, folder, said = export(run_dir, IMPUTE="1")
    assert code == DONE, said
    by_name = {row["name"]: row for row in read(folder, "tasks.parquet")}
    assert by_name["m-b"]["mem_capacity"] == 0
    imputed = json.loads((folder / "audit.json").read_text())["imputed"]
    assert [one["count"] for one in imputed.values()] == [1, 1]  # its curve and its memory


def test_no_task_at_all_is_a_message(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(GOLDEN, run_dir)
    code, folder, said = export(run_dir)
    assert code == FAILED and "TASKS=processes" in said and not folder.exists()


def test_the_golden_run_by_processes_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """Its proc_cpu rows, added by hand: 1600 and 1550 ms of CPU, and 100 of the pid that was used again."""
    run_dir = tmp_path / "run"
    shutil.copytree(GOLDEN, run_dir)
    code, folder, said = export(run_dir, TASKS="processes")
    assert code == DONE, said
    ids = [json.loads(line) for line in (folder / "ids.jsonl").read_text().splitlines()]
    assert [(one["pid"], one["cpu_ms"]) for one in ids] == [(40, 1600.0), (41, 1550.0), (41, 100.0)]
    work = {1: 0.0, 2: 0.0, 3: 0.0}
    for row in read(folder, "fragments.parquet"):
        work[row["id"]] += row["duration"] * row["cpu_usage"] / 2400
    assert work == pytest.approx({1: 1600, 2: 1550, 3: 100})
    first = snapshot(folder)
    export(run_dir, TASKS="processes", TZ="Pacific/Chatham")
    assert snapshot(folder) == first


def test_tasks_wait_for_cores_only_where_opendc_cannot_share_them(tmp_path: Path) -> None:
    """Three processes that ran at once on one core."""
    rows = [proc(2000, 30, pid=pid, born_ms=1000) for pid in (7, 8, 9)]
    files: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": rows,
        "proc_inventory.jsonl": [seen(pid, 1) for pid in (7, 8, 9)],
    }
    run_dir = parsed(tmp_path, files, documents={"node_meta.json": node(cpu_cores=1)})
    for release, ratios in (("2.4f", [3.0]), ("latest", [])):
        code, folder, said = export(run_dir, TASKS="processes", OPENDC=release)
        assert code == DONE, said
        policy = json.loads((folder / "experiment.json").read_text())["allocationPolicies"][0]
        filters = policy.get("filters", [])
        assert [one["allocationRatio"] for one in filters if one["type"] == "VCpu"] == ratios
        assert ("OpenDC queues some" in said) == (release == "latest")


def test_one_pid_on_two_nodes_is_two_tasks(tmp_path: Path) -> None:
    """7 at 2000 MHz on a, and the same pid and birth at 1000 MHz on b: 0.5 s of CPU in 1 s each."""
    known = {"stage": None, "cpu_cores": 4, "mem_mb": 100, "cpu_model": None, "clk_tck": 100}
    nodes = [{**known, "node_id": "b", "cpu_freq_mhz": 1000}, {**known, "node_id": "a", "cpu_freq_mhz": 2000}]
    of = [{"ts_ms": T0 + 1000, "node": name, "pid": 7, "starttime": 5} for name in ("a", "b")]
    files = {
        "nodes.json": nodes,
        "proc_cpu.jsonl": [{**row, "cpu_ms": 500.0, "dt_ms": 1000.0, "source": "poll"} for row in of],
        "proc_rss.jsonl": [{**row, "rss_kb": 100} for row in of],
    }
    run_dir = write_cctf(tmp_path / "r1", files, ["a", "b"])
    code, folder, said = export(run_dir, TASKS="processes")
    assert code == DONE, said
    assert read(folder, "fragments.parquet") == [
        {"id": 1, "duration": 1000, "cpu_usage": 1000.0},
        {"id": 2, "duration": 1000, "cpu_usage": 500.0},
    ]
    hosts = json.loads((folder / "topology.json").read_text())["clusters"][0]["hosts"]
    assert [host["name"] for host in hosts] == ["a", "b"]


def task(cpu_ms: float = 500.0, **more: Any) -> Task:
    pieces = [Piece(1000, cpu_ms, 0.0, 1)]
    return Task("vm1", T0, T0, T0 + 1000, pieces, 1, 64, ("vm1", 7, 1), None, "x")._replace(**more)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"nullable": True}, "id must be required INT32"),
        ({"other": 1}, "ids are not 1 to the number"),
        ({"duration": 999}, "1000 ms of fragments, 999 of task"),
        ({"cpu_usage": 1.0}, "ms of CPU for 500"),
        ({"no_fragment": True}, "has no fragment"),
        ({"split": True}, "do not stand together"),
        ({"stranger": True}, "is in no row of tasks.parquet"),
        ({"parents": [3]}, "which is no other task"),
        ({"brotli": True}, "cannot read"),
    ],
)
def test_the_check_finds_what_opendc_would_refuse_or_lose(
    tmp_path: Path, changed: dict[str, Any], complaint: str
) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    dialect, tasks, mhz = DIALECTS["latest"], [task(), task()], {"vm1": 2000}
    rows = list(task_rows(tasks, {}, mhz, dialect))
    pieces = list(fragment_rows(tasks, mhz, dialect))
    rows[0].update({name: changed[name] for name in ("duration", "parents") if name in changed})
    rows[1]["id"] = changed.get("other", 2)
    pieces[0].update({"cpu_usage": changed["cpu_usage"]} if "cpu_usage" in changed else {})
    if "no_fragment" in changed:
        del pieces[1]
    if "split" in changed:
        pieces.append(dict(pieces[0]))
    if "stranger" in changed:
        pieces.append({**pieces[0], "id": 9})
    task_schema, fragment_schema = schemas(dialect)
    if "nullable" in changed:
        task_schema = pa.schema([field.with_nullable(True) for field in task_schema])
    write_parquet(tmp_path / "tasks.parquet", task_schema, iter(rows))
    write_parquet(tmp_path / "fragments.parquet", fragment_schema, iter(pieces))
    if "brotli" in changed:
        table = pq.read_table(tmp_path / "fragments.parquet")
        pq.write_table(table.cast(fragment_schema), tmp_path / "fragments.parquet", compression="brotli")
    with pytest.raises(TracekitError, match=complaint):
        check(tmp_path, tasks, mhz, dialect)


def test_many_fragments_go_through_row_groups_in_their_order(tmp_path: Path) -> None:
    dialect, mhz = DIALECTS["2.4e"], {"vm1": 1000}
    pieces = [Piece(1, number / 1000, 0.0, 1) for number in range(1000)]
    tasks = [task(pieces=pieces), task()]
    task_schema, fragment_schema = schemas(dialect)
    write_parquet(tmp_path / "tasks.parquet", task_schema, task_rows(tasks, {}, mhz, dialect))
    path = tmp_path / "fragments.parquet"
    assert write_parquet(path, fragment_schema, fragment_rows(tasks, mhz, dialect), group=100) == 1001
    check(tmp_path, tasks, mhz, dialect)
    usages = [row["cpu_usage"] for row in read(tmp_path, "fragments.parquet")[:1000]]
    assert usages == [pytest.approx(number) for number in range(1000)]


def test_an_audit_names_the_first_five_and_counts_all() -> None:
    audit = Audit()
    for number in range(7):
        audit.refuse("odd", str(number))
    assert audit.as_document()["refused"] == {"odd": {"count": 7, "first": ["0", "1", "2", "3", "4"]}}
