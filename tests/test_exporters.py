"""Every program in tools/exporters/: found by its place, with help, a row, a section; and what they share."""

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Checkout, clean_environment, need
from runs import Row, cpu, make_run, snapshot, tool

from tracekit.errors import DONE, FAILED, REJECTED
from tracekit.parse.build import build
from tracekit.validate import find_problems

PROGRAMS = sorted((ROOT / "tools" / "exporters").glob("*.py"))
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs" / "exports.md").read_text()
GOLDEN = ROOT / "tests" / "golden" / "one-node"
EACH = pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
HEADER = re.compile(r"^# (Summary|Usage|Needs|Writes|Source): (\S.*\S)$", re.MULTILINE)


@EACH
def test_a_program_has_help_a_header_a_row_and_a_section(program: Path) -> None:
    assert os.access(program, os.X_OK)
    done = subprocess.run(
        [program, "--help"], capture_output=True, text=True, check=False, env=clean_environment(), cwd="/"
    )
    assert done.returncode == DONE, done.stderr
    assert "exit codes" in done.stdout and f"exports/{program.stem}/" in done.stdout
    header = dict(HEADER.findall(program.read_text().split('"""')[0]))
    assert {"Summary", "Usage", "Writes", "Source"} <= set(header)
    assert f"make export-{program.stem} " in header["Usage"]
    assert f"| `{program.stem}` |" in README
    assert re.search(rf"^## {program.stem}$", PAGE, re.MULTILINE)
    if "Needs" in header:
        assert (ROOT / header["Needs"]).is_file()


@EACH
def test_make_has_its_target_and_help_shows_its_summary(program: Path, checkout: Checkout) -> None:
    summary = dict(HEADER.findall(program.read_text()))["Summary"]
    assert re.search(rf"^  make export-{program.stem} +{re.escape(summary)}$", checkout.make().stdout, re.M)
    assert checkout.make("-n", f"export-{program.stem}").returncode == 0
    refused = checkout.make(f"export-{program.stem}", "RUN_ID=$(shell touch canary)")
    assert refused.returncode == 2 and "RUN_ID=" in refused.stderr
    assert not (checkout.root / "canary").exists()


@EACH
def test_a_data_set_that_was_changed_is_refused(program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(GOLDEN, folder)
    with (folder / "cctf" / "host_metrics.jsonl").open("ab") as out:
        out.write(b"\n")
    done = tool(f"exporters/{program.name}", str(folder))
    assert done.returncode == FAILED
    assert "not valid; `make validate" in done.stderr
    assert not (folder / "exports").exists()


Exported = Callable[..., tuple[int, Path, str]]


@EACH
def test_it_writes_what_its_header_says_and_twice_the_same_bytes(program: Path, tmp_path: Path) -> None:
    """Over the golden run, which has processes but no jobs; under another time zone the second time."""
    run_dir = tmp_path / "run"
    shutil.copytree(GOLDEN, run_dir)
    env = {"TASKS": "processes", "IMPUTE": "1"}
    done = tool(f"exporters/{program.name}", str(run_dir), **env)
    need("is missing: tools/setup.sh" not in done.stderr, done.stderr)
    assert done.returncode in (DONE, REJECTED), done.stderr
    first = snapshot(run_dir / "exports" / program.stem)
    writes = dict(HEADER.findall(program.read_text()))["Writes"].replace("<node>", "edge0")
    assert set(first) == {*writes.split(), "audit.json"}
    again = tool(f"exporters/{program.name}", str(run_dir), **env, TZ="Pacific/Chatham", LC_ALL="de_DE.UTF-8")
    assert again.returncode == done.returncode
    assert snapshot(run_dir / "exports" / program.stem) == first


@pytest.fixture
def exported() -> Exported:
    """Runs an exporter over a run; gives the exit code, the folder and all that it said."""

    def export(name: str, run_dir: Path, **env: str) -> tuple[int, Path, str]:
        done = tool(f"exporters/{name}.py", str(run_dir), **env)
        return done.returncode, run_dir / "exports" / name, done.stdout + done.stderr

    return export


def test_an_example_in_the_documents_is_an_exporter(checkout: Checkout) -> None:
    text = (ROOT / "docs" / "developing.md").read_text()
    example = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "peaks" in block)
    program = checkout.root / "tools" / "exporters" / "peaks.py"
    program.write_text(example)
    shutil.copytree(GOLDEN, checkout.logs("one-node"))
    try:
        done = checkout.make("export-peaks", "RUN_ID=one-node")
        assert done.returncode == 0, done.stderr
        assert (
            checkout.logs("one-node") / "exports/peaks/peaks.csv"
        ).read_text() == "node,cpu_util\nedge0,15.0\n"
        assert "make export-peaks " in checkout.make().stdout
    finally:
        program.unlink()
        shutil.rmtree(checkout.logs("one-node"))


def five_minutes(number: int, percents: list[float]) -> list[Row]:
    """mpstat's rows, a second apart, in the given 5 minutes of the run."""
    return [cpu(number * 300_000 + 1000 * (second + 1), cpu_util=one) for second, one in enumerate(percents)]


def cpu_run(folder: Path, rows: list[Row], seconds: int) -> Path:
    run_dir = make_run(folder / "r1", {"resources.jsonl": rows}, stopped_ms=seconds * 1000)
    build(run_dir)
    return run_dir


def test_planetlab_is_the_mean_of_each_five_minutes(tmp_path: Path, exported: Exported) -> None:
    """300 samples of 10 and 30 are 20; 100 of 7 are 7. The sample at 300 s belongs to the first 5 minutes."""
    rows = five_minutes(0, [10.0, 30.0] * 150) + five_minutes(1, [7.0] * 100)
    code, folder, said = exported("planetlab", cpu_run(tmp_path, rows, 400))
    assert code == DONE, said
    assert (folder / "vm1").read_text() == "# 2\n20\n7\n"
    audit = json.loads((folder / "audit.json").read_text())
    assert audit["counted"] == {"nodes": 1, "5-minute values": 2, "samples in them": 400}
    assert audit["refused"] == audit["imputed"] == {}
    assert "400  samples in them" in said


def test_planetlab_refuses_what_nobody_sampled_or_repeats_it_where_asked(
    tmp_path: Path, exported: Exported
) -> None:
    rows = five_minutes(0, [40.0] * 300) + five_minutes(2, [60.0] * 300)
    run_dir = cpu_run(tmp_path, rows, 900)
    code, folder, said = exported("planetlab", run_dir)
    assert code == FAILED and not folder.exists()
    assert "refused              1  a node with 5 minutes without a sample, first vm1:2" in said
    code, folder, said = exported("planetlab", run_dir, IMPUTE="1")
    assert code == DONE, said
    assert (folder / "vm1").read_text() == "# 3\n40\n40\n60\n"
    audit = json.loads((folder / "audit.json").read_text())
    assert audit["imputed"] == {
        "5 minutes without a sample, as the 5 minutes before": {"count": 1, "first": ["vm1:2"]}
    }
    assert audit["options"] == {"IMPUTE": "1"}


def test_a_second_run_gives_the_same_bytes_and_replaces_the_first(tmp_path: Path, exported: Exported) -> None:
    run_dir = cpu_run(tmp_path, five_minutes(0, [40.0] * 300), 300)
    _, folder, _ = exported("planetlab", run_dir)
    first = snapshot(folder)
    (folder / "of-a-release-before").write_text("")
    exported("planetlab", run_dir, TZ="Pacific/Chatham")
    assert snapshot(folder) == first
    assert [path.name for path in (run_dir / "exports").iterdir()] == ["planetlab"]
    assert list(find_problems(run_dir / "cctf")) == []
    assert not stat.S_IMODE((folder / "audit.json").stat().st_mode) & 0o007


def test_a_failed_export_leaves_the_older_one(tmp_path: Path, exported: Exported) -> None:
    run_dir = cpu_run(tmp_path, five_minutes(0, [40.0] * 300), 300)
    _, folder, _ = exported("planetlab", run_dir)
    before = snapshot(folder)
    (run_dir / "resources.jsonl").write_text("")
    build(run_dir)
    code, _, said = exported("planetlab", run_dir)
    assert code == FAILED and "nothing to export" in said
    assert snapshot(folder) == before
    assert [path.name for path in (run_dir / "exports").iterdir()] == ["planetlab"]


def test_beside_a_merged_run_it_stands_in_the_data_set_which_stays_valid(tmp_path: Path) -> None:
    run_dir = cpu_run(tmp_path, five_minutes(0, [40.0] * 300), 300)
    merged = tmp_path / "unified_cctf" / "r1"
    shutil.copytree(run_dir / "cctf", merged)
    assert tool("exporters/planetlab.py", str(merged)).returncode == DONE
    assert (merged / "exports" / "planetlab" / "vm1").read_text() == "# 1\n40\n"
    assert list(find_problems(merged)) == []
    (merged / "exports-of-mine").mkdir()
    assert len(list(find_problems(merged))) == 1
