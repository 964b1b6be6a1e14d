"""Reading a data set back: what is there, in its order, and one clear message for what is not."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from tracekit.dataset import open_dataset
from tracekit.errors import TracekitError
from tracekit.runs import chosen_cctf
from tracekit.settings import resolve

GOLDEN = ROOT / "tests" / "golden" / "one-node" / "cctf"


def test_records_come_whole_and_in_order_however_the_blocks_fall(tmp_path: Path) -> None:
    folder = tmp_path / "cctf"
    shutil.copytree(GOLDEN, folder)
    line = (GOLDEN / "host_metrics.jsonl").read_bytes().splitlines()[0]
    rows = [{**json.loads(line), "ts_ms": 1_700_000_000_000 + number} for number in range(5000)]
    (folder / "host_metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = open_dataset(folder).read("host_metrics.jsonl")
    assert [row.ts_ms for row in read] == [row["ts_ms"] for row in rows]


def test_documents_and_what_is_absent() -> None:
    dataset = open_dataset(GOLDEN)
    assert [node.node_id for node in dataset.nodes()] == [
        node["node_id"] for node in json.loads((GOLDEN / "nodes.json").read_text())
    ]
    assert list(dataset.qualities()) == dataset.manifest.nodes
    assert not dataset.has("calls.jsonl")
    assert list(dataset.read("calls.jsonl")) == []
    assert dataset.home == GOLDEN.parent


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "cctf"
    shutil.copytree(GOLDEN, folder)
    with (folder / "host_metrics.jsonl").open("ab") as out:
        out.write(b'{"ts_ms":"soon"}\n')
    with pytest.raises(TracekitError, match=r"host_metrics\.jsonl.*make validate"):
        list(open_dataset(folder).read("host_metrics.jsonl"))


def test_no_data_set_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(TracekitError, match="no data set here"):
        open_dataset(tmp_path)


def test_a_merged_run_comes_before_this_nodes_part_of_it(tmp_path: Path) -> None:
    settings = resolve({"RUN_ID": "r1"}, tmp_path / "run_id.env")
    (tmp_path / "logs" / "r1" / "cctf").mkdir(parents=True)
    assert chosen_cctf(settings, tmp_path) == tmp_path / "logs" / "r1" / "cctf"
    merged = tmp_path / "unified_cctf" / "r1"
    merged.mkdir(parents=True)
    assert chosen_cctf(settings, tmp_path) == tmp_path / "logs" / "r1" / "cctf"  # not made yet
    (merged / "manifest.json").write_text("{}")
    assert chosen_cctf(settings, tmp_path) == merged
