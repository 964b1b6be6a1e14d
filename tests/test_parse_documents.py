"""A run's documents, runs without a node, and the promise that there is a whole cctf or none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import (
    T0,
    Row,
    cpu,
    kinds,
    make_run,
    mark,
    node_meta,
    parsed,
    proc,
    quality_of,
    rows_of,
    snapshot,
)
from tracekit import ROOT
from tracekit.errors import FAILED, TracekitError
from tracekit.parse.build import build
from tracekit.records import FILES

RAW: dict[str, list[Row] | bytes] = {
    "resources.jsonl": [cpu(2000), cpu(1000), cpu(1000)],
    "proc_metrics.jsonl": [proc(2000, 1), proc(3000, 2)],
    "marks.jsonl": [mark("proc", "ticks", 0, 3000)],
    "events.11.jsonl": [{"ts_enqueue": T0 + 9}, {"ts_enqueue": T0 + 8}],
    "events.12.jsonl": b'{"ts_enqueue":%d}\nbad\n{"ts_en' % T0,
    "placement_events.jsonl": [{"ts": T0, "event": "start"}],
}
ADAPTER_ONLY: dict[str, Row | bytes | None] = {"node_meta.json": None, "run_meta.json": None}


@pytest.mark.parametrize(
    "documents",
    [
        {"node_meta.json": None},
        {"node_meta.json": b""},
        {"node_meta.json": b"{}"},
        {"node_meta.json": b'{"run_id":"r1","no'},
        {"node_meta.json": node_meta("other")},
        {"node_meta.json": node_meta("r1", clk_tck=None)},
        {"node_meta.json": node_meta("r1", node="a b")},
        {"run_meta.json": b""},
        {"run_meta.json": {"run_id": "other"}},
        {"run_meta.json": {"run_id": "r1", "started_ms": "1"}},
        {"module_inventory.json": b"[]"},
        {"link_meta.json": {"BW_bps": "1"}},
        {"run_meta.json": b'{"run_id":"r1","started_ms":%d,"scen":"\\ud800"}' % T0},  # half of a pair
        {"module_inventory.json": b'{"modules":[],"x":1e400}'},
    ],
)
@pytest.mark.parametrize("has_older", [True, False])
def test_a_broken_document_is_refused_and_an_older_cctf_stays(
    tmp_path: Path, documents: dict[str, Row | bytes | None], has_older: bool
) -> None:
    run_dir = make_run(tmp_path / "r1", RAW)
    if has_older:
        build(run_dir)
    make_run(run_dir, documents=documents)
    before = snapshot(run_dir)
    with pytest.raises(TracekitError) as raised:
        build(run_dir)
    assert raised.value.exit_code == FAILED
    after = snapshot(run_dir)
    assert after == before
    assert (run_dir / "cctf").exists() == has_older
    assert not list(run_dir.glob(".cctf.*"))


@pytest.mark.parametrize(("text", "told"), [(None, "is missing"), (b"{}", "is empty")])
def test_what_is_wrong_with_node_meta_is_told(tmp_path: Path, text: bytes | None, told: str) -> None:
    run_dir = make_run(tmp_path / "r1", RAW, documents={"node_meta.json": text})
    with pytest.raises(TracekitError, match=f"node_meta.json {told}"):
        build(run_dir)


def test_a_run_that_counts_nothing_in_ticks_needs_no_clk_tck(tmp_path: Path) -> None:
    seen: Row = {"ts_ms": T0, "event": "seen", "pid": 7, "starttime": 9}
    files: dict[str, list[Row] | bytes] = {"proc_metrics.jsonl": b"", "proc_inventory.jsonl": [seen]}
    documents: dict[str, Row | bytes | None] = {"node_meta.json": node_meta("r1", clk_tck=None)}
    run_dir = parsed(tmp_path, files, documents=documents)
    assert rows_of(run_dir, "proc_cpu.jsonl") == []
    end = {**seen, "event": "end", "utime": 1, "stime": 0}
    make_run(run_dir, {"proc_inventory.jsonl": [seen, end]}, documents=documents)
    with pytest.raises(TracekitError, match="clk_tck"):
        build(run_dir)


def test_a_second_parse_gives_the_same_bytes_and_leaves_raw_files(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "r1", RAW)
    raw = snapshot(run_dir)
    build(run_dir)
    first = snapshot(run_dir)
    assert {name: data for name, data in first.items() if name in raw} == raw
    assert {name for name in set(first) - set(raw) if not name.startswith("cctf/")} == {"events.jsonl"}
    build(run_dir)
    assert snapshot(run_dir) == first


def test_another_place_time_zone_and_locale_change_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (
        make_run(tmp_path / "a" / "r1", RAW),
        make_run(tmp_path / "b" / "r1", dict(reversed(RAW.items()))),
    )
    build(one)
    for name, value in {"TZ": "Asia/Kolkata", "LC_ALL": "de_DE.UTF-8", "RUN_ID": "x", "NODE_ID": "y"}.items():
        monkeypatch.setenv(name, value)
    for path in two.iterdir():
        os.utime(path, (1, 1))
    build(two)
    assert snapshot(one / "cctf") == snapshot(two / "cctf")


def test_what_a_killed_parse_left_is_swept(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "r1", RAW)
    stale = run_dir / ".cctf.1.tmp"
    stale.mkdir()
    (stale / "half.jsonl").write_bytes(b"{")
    build(run_dir)
    assert not stale.exists()


def test_parses_of_one_run_at_once_take_turns_and_give_one_cctf(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "r1", RAW)
    build(run_dir)
    wanted = snapshot(run_dir / "cctf")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    code += "from pathlib import Path; from tracekit.parse.build import build\n"
    code += "for _ in range(20): build(Path(sys.argv[1]))"
    parses = [subprocess.Popen([sys.executable, "-c", code, str(run_dir)]) for _ in range(4)]
    assert [one.wait() for one in parses] == [0, 0, 0, 0]
    assert snapshot(run_dir / "cctf") == wanted
    assert [path.name for path in run_dir.iterdir() if path.name.startswith(".cctf")] == []


def test_every_raw_line_is_in_the_account(tmp_path: Path) -> None:
    run_dir = parsed(tmp_path, RAW)
    inputs = quality_of(run_dir)["inputs"]
    assert inputs["events.12.jsonl"] == {
        "lines": 3,
        "accepted": 1,
        "rejected": {"json": 1, "torn": 1},
        "duplicates": 0,
    }
    assert set(inputs) == set(RAW)
    assert [(row["file"], row["line"], row["text"]) for row in rows_of(run_dir, "rejected.jsonl")] == [
        ("events.12.jsonl", 2, "bad"),
        ("events.12.jsonl", 3, '{"ts_en'),
    ]


def test_the_derived_events_are_rebuilt_whole(tmp_path: Path) -> None:
    run_dir = parsed(tmp_path, {**RAW, "events.jsonl": b"old\n"})
    stamps = [row["ts_enqueue"] for row in rows_of(run_dir.parent / "r1", "../events.jsonl")]
    assert stamps == [T0, T0 + 8, T0 + 9]
    assert "events.jsonl" not in quality_of(run_dir)["inputs"]


def test_only_raw_files_that_parse_does_not_know_are_told(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "r1", {**RAW, "load.jsonl": b"{}\n"})
    assert [build(run_dir).unknown, build(run_dir).unknown] == [["load.jsonl"]] * 2  # events.jsonl is its own


def test_events_without_workers_files_are_input_and_stay(tmp_path: Path) -> None:
    data = b'{"ts_enqueue":2,"node":"n","stage":"s"}\n{"node":"n","ts_enqueue":1,"stage":"s"}\n'
    run_dir = parsed(tmp_path, {"events.jsonl": data})
    assert (run_dir / "events.jsonl").read_bytes() == data
    assert [row["ts_enqueue"] for row in rows_of(run_dir, "invocations.jsonl")] == [1, 2]


def test_a_run_of_an_adapter_alone_is_parsed(tmp_path: Path) -> None:
    rows = [{"ts_enqueue": 5, "node": "n", "stage": "s"}, {"ts_enqueue": 4, "node": "m", "stage": None}]
    run_dir = parsed(tmp_path, {"invocations.x.jsonl": rows}, documents=ADAPTER_ONLY)
    assert [row["node"] for row in rows_of(run_dir, "invocations.jsonl")] == ["m", "n"]
    assert quality_of(run_dir)["collectors"] == {}
    names = {path.name for path in (run_dir / "cctf").iterdir()}
    assert names == {"invocations.jsonl", "manifest.json", "quality.json", "rejected.jsonl"}


@pytest.mark.parametrize("row", [{"ts_enqueue": 5, "node": "n"}, {"ts_enqueue": 5, "stage": "s"}])
def test_without_node_meta_no_empty_name_is_invented(tmp_path: Path, row: Row) -> None:
    run_dir = parsed(tmp_path, {"invocations.x.jsonl": [row]}, documents=ADAPTER_ONLY)  # and it is valid
    assert all("" not in found.values() for found in rows_of(run_dir, "invocations.jsonl"))


@pytest.mark.parametrize("text", [b"%b\r\n", b" %b\n"])
def test_an_adapters_only_line_with_blanks_around_it_is_taken(tmp_path: Path, text: bytes) -> None:
    run_dir = parsed(tmp_path, {"invocations.x.jsonl": text.replace(b"%b", b'{"status":1,"ts_enqueue":5}')})
    assert rows_of(run_dir, "invocations.jsonl")[0]["status"] == 1


def test_a_backward_clock_step_puts_no_row_outside_of_the_run(tmp_path: Path) -> None:
    meta = {"run_id": "r1", "started_ms": T0, "started_mono_ms": 50_000}
    ended = {**meta, "stopped_ms": T0 + 5000 - 60_000, "stopped_mono_ms": 55_000}
    rows = [cpu(ms, step_ms=-60_000 if ms >= 3000 else 0) for ms in range(0, 5000, 1000)]
    run_dir = parsed(tmp_path, {"resources.jsonl": rows}, documents={"run_meta.json": ended})
    assert quality_of(run_dir)["collectors"]["cpu"]["got"] == 5
    assert kinds(run_dir) == []


def test_a_clock_that_is_told_at_start_and_stop_alone_is_taken(tmp_path: Path) -> None:
    start = {"source": "chrony", "synchronised": True, "offset_ms": 0.25, "error_bound_ms": 1.5}
    stop = {**start, "offset_ms": -0.75}
    for told, wanted in (({"start": start, "stop": stop}, stop), ({"start": start, "stop": None}, start)):
        run_dir = parsed(tmp_path, {}, documents={"node_meta.json": node_meta("r1", clock=told)})
        assert quality_of(run_dir)["clock"] == wanted
        node = json.loads((run_dir / "cctf" / "nodes.json").read_bytes())[0]
        assert node["clock"] == {**wanted, **told}


def test_the_source_of_the_frequency_may_have_another_name(tmp_path: Path) -> None:
    meta = node_meta("r1", cpu_freq_mhz=2400, cpu_freq_source="base_frequency")
    run_dir = parsed(tmp_path, {}, documents={"node_meta.json": meta})
    assert json.loads((run_dir / "cctf" / "nodes.json").read_bytes())[0]["cpu_freq_mhz"] == 2400


MADE_OF_OTHERS = {  # by sampled.py and processes.py, and what no line fits
    "host_metrics.jsonl",
    "link_metrics.jsonl",
    "proc_cpu.jsonl",
    "proc_rss.jsonl",
    "rejected.jsonl",
}


@pytest.mark.parametrize("name", sorted({one for one in FILES if one.endswith(".jsonl")} - MADE_OF_OTHERS))
def test_every_file_of_the_format_has_a_way_through_parse(tmp_path: Path, name: str) -> None:
    result = build(make_run(tmp_path / "r1", {name: b""}))
    assert result.unknown == [], f"{name}: name it in _PASSED of tracekit/parse/build.py"
    assert (result.folder / name).exists()
