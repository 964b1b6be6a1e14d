"""The Standard Workload Format: 18 numbers a task, -1 for what is not known."""

from pathlib import Path
from typing import Any

from runs import T0, Row, parsed, proc, tool
from test_export_tasks import job, node, seen

from tracekit.errors import DONE, FAILED


def export(run_dir: Path, **env: str) -> tuple[int, list[str], str]:
    done = tool("exporters/swf.py", str(run_dir), **env)
    path = run_dir / "exports" / "swf" / "tasks.swf"
    return done.returncode, path.read_text().splitlines() if path.exists() else [], done.stdout + done.stderr


def run_of(tmp_path: Path, jobs: list[Row], **files: Any) -> Path:
    base: dict[str, list[Row] | bytes] = {
        "proc_metrics.jsonl": [proc(2000, 40, rss_kb=500), proc(3000, 190, rss_kb=3001)],
        "proc_inventory.jsonl": [seen(7, 1)],
        "invocations.run_task.jsonl": jobs,
    }
    return parsed(tmp_path, base | files, documents={"node_meta.json": node()})


def test_a_job_is_a_line_of_18_numbers(tmp_path: Path) -> None:
    """Queued at 0.4 s, ran 1.0 to 3.0 s; 0.4 and 1.5 s of CPU: 2 cores of 0.95 s, 1500 kB. Then one that
    failed, without samples, 1.6 s after its end; submitted at 4.6 s of the clock that begins at 0."""
    first = job(7, 1000, 3000, 1900.0, "a", ts_enqueue=T0 + 400, queue_time_ms=600, rt_ms=2600, module_id="z")
    second = job(None, 4600, 4900, 100.0, "b", parent_id="a", status=3, module_id="k")
    code, lines, said = export(run_of(tmp_path, [first, second]))
    assert code == DONE, said
    assert lines[-2:] == [
        "1 0 1 2 2 0.95 1500 -1 -1 -1 1 -1 -1 2 -1 1 -1 -1",
        "2 5 0 0 -1 -1 -1 -1 -1 -1 0 -1 -1 1 -1 1 1 2",
    ]
    assert all(len(line.split()) == 18 for line in lines if not line.startswith(";"))
    header = dict(line[2:].split(": ", 1) for line in lines if line.startswith("; ") and "Note" not in line)
    assert header["Version"] == "2.2"
    assert (header["UnixStartTime"], header["MaxJobs"], header["MaxProcs"]) == (str(T0 // 1000), "2", "4")
    assert header["Partition"] == "1 vm1"
    assert [line for line in lines if "Note" in line] == [
        "; Note: executable 1 is k",
        "; Note: executable 2 is z",
    ]
    assert "1  tasks of less than 0.5 s" in said


def test_a_process_has_no_status_and_a_name_stays_on_its_line(tmp_path: Path) -> None:
    rows = [seen(7, 1, comm="a\nb")]
    code, lines, said = export(run_of(tmp_path, [], **{"proc_inventory.jsonl": rows}), TASKS="processes")
    assert code == DONE, said
    assert lines[-2:] == [
        "; Note: executable 1 is a\\nb",
        "1 0 0 2 2 0.95 1500 -1 -1 -1 -1 -1 -1 1 -1 1 -1 -1",
    ]


def test_without_a_job_there_is_no_file(tmp_path: Path) -> None:
    code, lines, said = export(run_of(tmp_path, []))
    assert code == FAILED and lines == []
    assert "TASKS=processes takes processes" in said
