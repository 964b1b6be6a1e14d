"""Golden runs: raw in, the expected cctf out, byte for byte; and their sums, worked out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from write_golden import parse_golden

from tracekit.validate import find_problems

RUNS = sorted((ROOT / "tests" / "golden").iterdir())
ONE_NODE = ROOT / "tests" / "golden" / "one-node" / "cctf"


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_parse_gives_the_expected_bytes(run: Path, tmp_path: Path) -> None:
    made = parse_golden(run, tmp_path) / "cctf"
    assert {path.name for path in made.iterdir()} == {path.name for path in (run / "cctf").iterdir()}
    for path in sorted(made.iterdir()):
        assert path.read_bytes() == (run / "cctf" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_golden_cctf_is_valid(run: Path) -> None:
    assert list(find_problems(run / "cctf")) == []


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ONE_NODE / name).read_text().splitlines()]


def test_cpu_of_each_process_adds_up_to_its_ticks() -> None:
    used: dict[tuple[int, int], float] = {}
    for row in lines_of("proc_cpu.jsonl"):
        key = (row["pid"], row["starttime"])
        used[key] = used.get(key, 0) + row["cpu_ms"]
    assert used == {
        (40, 1000): 1600,  # older than the run: from 890 to 1050 ticks
        (41, 50120): 1550,  # born in the run: all of its 155 ticks
        (41, 50350): 100,  # born in the run: 10 ticks, then the counter went back
    }


def test_first_interval_of_a_process_begins_at_its_birth() -> None:
    row = next(row for row in lines_of("proc_cpu.jsonl") if row["starttime"] == 50120)
    # born at 501.20 s of boot time, 1.2 s after the run's start at 500 s; first sampled at 2.0 s
    assert (row["cpu_ms"], row["dt_ms"]) == (750, 800)


def test_invocations_are_in_order_once_each_and_kept_as_they_came() -> None:
    rows = lines_of("invocations.jsonl")
    assert [row["ts_enqueue"] for row in rows] == [
        1700000000900,
        1700000001100,
        1700000001200,
        1700000001200,
        None,
    ]
    assert [row.get("span_id") for row in rows][1:4] == [
        "00f067aa0ba902b7",
        "b7ad6b7169203331",
        "53995c3f42cd8ad8",
    ]
    text = (ONE_NODE / "invocations.jsonl").read_text()
    assert '"rt_ms":1e1' in text
    assert '"note":{"kept":[1.5,"as {is}"]}' in text
    assert all(row["node"] == "edge0" and row["stage"] == "edge" for row in rows)


def test_the_account_is_right() -> None:
    quality = json.loads((ONE_NODE / "quality.json").read_text())
    # five whole seconds in 5.4 s; CPU rows are there for seconds 0, 1, 4 (and 5, which is not over)
    assert quality["collectors"]["cpu"] == {
        "expected": 5,
        "got": 3,
        "missing": 2,
        "gaps": [{"from_ms": 1700000002000, "to_ms": 1700000004000, "reason": "restart"}],
    }
    assert quality["collectors"]["mem"]["got"] == 5
    assert quality["inputs"]["resources.jsonl"] == {
        "lines": 11,
        "accepted": 9,
        "rejected": {"torn": 1, "type": 1},
        "duplicates": 0,
    }
    assert quality["inputs"]["proc_metrics.jsonl"]["duplicates"] == 1
    assert quality["inputs"]["events.102.jsonl"]["duplicates"] == 1
    assert quality["inputs"]["invocations.nginx.jsonl"]["rejected"] == {"empty": 1}
    assert [mark["kind"] for mark in quality["marks"]] == ["died", "restart", "reset"]
    assert quality["clock"]["error_bound_ms"] == 3.25
