"""Parquet beside a merge: the same rows by node, and null where a line leaves a field out."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import need
from merges import made_cctf, rss
from runs import T0, Row

from tracekit.merge.build import merge

try:
    import pyarrow.parquet as pq

    from tracekit.merge import parquet
except ModuleNotFoundError:
    pq = None


@pytest.fixture(autouse=True)
def pyarrow() -> None:
    need(pq is not None, "pyarrow (tools/setup.sh sim)")


def host(node: str, at_ms: int, **figure: Any) -> Row:
    return {"ts_ms": T0 + at_ms, "node": node, "stage": "edge", **figure}


def extra(node: str) -> Row:
    disk = {
        "dev": "sda",
        "read_Bps": 1,
        "write_Bps": 2,
        "reads_per_s": 0.5,
        "writes_per_s": 1.0,
        "busy_pct": 3.0,
    }
    return {"ts_ms": T0, "node": node, "core_util_pct": [1.5, None], "disks": [disk], "psi": None}


def rows_of(folder: Path, name: str, node: str) -> list[Row]:
    rows: list[Row] = pq.ParquetFile(folder / name / f"node={node}" / "part-0.parquet").read().to_pylist()
    return rows


def test_every_row_is_in_the_part_of_its_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_HELD", 1)  # a row group a batch
    inputs = []
    for node in "ab":
        stat = {"ts_ms": T0, "node_id": node, "metric": "in_flight", "value": 2.5}
        files = {
            "proc_rss.jsonl": [rss(node, ms) for ms in range(0, 3000, 2)],
            "host_metrics.jsonl": [host(node, 1, cpu_util=12.5), host(node, 2, mem_free_mb=7)],
            "host_extra.jsonl": [extra(node)],
            "system_stats.jsonl": [stat],
        }
        inputs.append(str(made_cctf(tmp_path / node, node, files)))
    (tmp_path / "out").mkdir()
    cctf = merge(inputs, tmp_path / "out" / "r1").folder
    made = parquet.write_parquet(cctf, tmp_path / "out" / "r1.parquet")
    for node in "ab":
        found = rows_of(made, "proc_rss", node)
        wanted = [rss(node, ms) | {"ts_ms_orig": None} for ms in range(0, 3000, 2)]
        assert [{**row, "node": node} for row in found] == wanted
        assert [(row["cpu_util"], row["mem_free_mb"]) for row in rows_of(made, "host_metrics", node)] == [
            (12.5, None),
            (None, 7),
        ]
        (row,) = rows_of(made, "host_extra", node)
        assert (row["core_util_pct"], row["disks"], row["psi"]) == ([1.5, None], extra(node)["disks"], None)
        assert rows_of(made, "system_stats", node)[0]["node_id"] == node
    schema = pq.ParquetFile(made / "proc_rss" / "node=a" / "part-0.parquet")
    assert schema.metadata.row_group(0).column(0).compression == "ZSTD"
    assert schema.metadata.num_row_groups > 1
    assert json.loads((cctf / "manifest.json").read_bytes())["nodes"] == ["a", "b"]
