"""validate on what parse did not make: merges, other writers, names that lead nowhere, odd files."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runs import T0, Row, line, lines, parsed, proc, tool
from tracekit.errors import TracekitError
from tracekit.validate import COUNTED, ERRORS, Report, check, find_problems

QUALITY = {"collectors": {}, "inputs": {}, "marks": [], "clock": {}, "balanced": True}
NODE = {"stage": None, "cpu_cores": 2, "mem_mb": None, "cpu_model": None, "cpu_freq_mhz": None}
LINK = {"v": "x", "iface": None, "BW_bps": 0, "PR_s": None}


def write_cctf(folder: Path, files: dict[str, Any], nodes: list[str], **manifest: Any) -> Path:
    """A cctf of a writer that has nothing in common with parse: spaces, other order of members, no indent."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for name, content in {"quality.json": QUALITY, **files}.items():
        if isinstance(content, bytes):
            data = content
        elif name.endswith(".jsonl"):
            data = b"".join(json.dumps(dict(reversed(row.items()))).encode() + b"\n" for row in content)
        else:
            data = json.dumps(content).encode()
        (folder / name).write_bytes(data)
        rows = content if isinstance(content, list) else [content]
        keys = [next((row[key] for key in ("ts_ms", "ts", "ts_enqueue") if key in row), None) for row in rows
                if isinstance(row, dict)]  # fmt: skip
        times = [key for key in keys if key is not None] if name.endswith(".jsonl") else []
        entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "records": len(rows)}
        ends = {"first_ts": min(times, default=None), "last_ts": max(times, default=None)}
        listed.append({"name": name, **entry, **ends})
    whole = {"files": listed, "tracekit_version": "other", "nodes": nodes, "run_id": "r1"}
    (folder / "manifest.json").write_text(json.dumps({**whole, "cctf_version": "1.0", **manifest}))
    return folder


def sample(node: str, at_ms: int, **more: Any) -> Row:
    return {"ts_ms": T0 + at_ms, "node": node, "stage": "edge", "cpu_util": 1, **more}


def errors_of(folder: Path) -> dict[str, list[tuple[str, int | None]]]:
    found = check(folder).errors
    return {kind: [(one.file, one.line) for one in group.first] for kind, group in found.items()}


def counted_of(folder: Path) -> dict[str, list[tuple[str, int | None]]]:
    report = check(folder)
    assert report.errors == {}
    return {kind: [(one.file, one.line) for one in group.first] for kind, group in report.counted.items()}


# --- other writers and merges


def test_a_cctf_of_another_writer_with_other_order_fewer_and_further_fields_is_valid(tmp_path: Path) -> None:
    files = {
        "nodes.json": [{"node_id": "a", **NODE, "colour": "red"}],
        "host_metrics.jsonl": [sample("a", 0, more={"x": [1]}), sample("a", 0), sample("a", 1000)],
        "invocations.jsonl": [
            {"ts_enqueue": T0, "node": "a"},
            {"ts_enqueue": None, "node": "a", "ts_end": 1},
        ],
    }
    assert counted_of(write_cctf(tmp_path / "c", files, ["a"])) == {}


def merged(tmp_path: Path, **changes: Any) -> Path:
    """A merge of two nodes."""
    counts = {"lines": 2, "accepted": 1, "rejected": {"json": 1}, "duplicates": 0}
    ticks = {"expected": 3, "got": 2, "missing": 1, "gaps": []}
    of_node = {**QUALITY, "collectors": {"cpu": ticks}, "inputs": {"resources.jsonl": counts}}
    rejected = {"file": "resources.jsonl", "line": 2, "reason": "json", "text": "bad"}
    files = {
        "nodes.json": [{"node_id": "a", **NODE}, {"node_id": "b", **NODE}],
        "links.json": [{"link": "a.nic", "u": "a", **LINK}, {"link": "a--b", "u": "a", **LINK}],
        "run_meta.json": [{"run_id": "r1", "node": "a"}, {"run_id": "r1", "node": "b"}],
        "quality.json": {"nodes": {"a": of_node, "b": of_node}, "merge": {"said": [1]}},
        "host_metrics.jsonl": [sample("a", 0), sample("b", 0), sample("a", 9)],
        "rejected.jsonl": [{**rejected, "node": "a"}, {**rejected, "node": "b"}],
        **changes,
    }
    return write_cctf(tmp_path / "m", files, ["a", "b"])


def test_a_merge_is_valid(tmp_path: Path) -> None:
    report = check(merged(tmp_path))
    assert report == Report(str(tmp_path / "m"), True, "r1", ["a", "b"], 6, 3)


BROKEN_MERGES: list[tuple[dict[str, Any], str]] = [
    ({"quality.json": {"nodes": {"a": QUALITY}, "merge": {}}, "rejected.jsonl": []}, "law"),
    ({"rejected.jsonl": [{"file": "f", "line": 1, "reason": "json", "text": ""}] * 2}, "record"),
    ({"rejected.jsonl": []}, "law"),
    ({"nodes.json": [{"node_id": "a", **NODE}, {"node_id": "c", **NODE}]}, "node"),
    ({"nodes.json": [{"node_id": name, **NODE} for name in "aab"]}, "node"),
    ({"run_meta.json": [{"run_id": "r1"}, {"run_id": "r2"}]}, "manifest"),
    ({"quality.json": {"nodes": {"a": {**QUALITY, "balanced": False}, "b": QUALITY}, "merge": {}}}, "law"),
    ({"quality.json": {"nodes": [], "merge": {}}}, "record"),
    ({"host_metrics.jsonl": [sample("c", 0)]}, "node"),
    ({"run_meta.json": [{"run_id": "r1", "node": "a"}, {"run_id": "r1", "node": "c"}]}, "node"),
    ({"links.json": [{"link": "c.nic", "u": "c", **LINK}]}, "node"),
    ({"links.json": [{"link": "a.nic", "u": "a", **LINK}] * 2}, "link"),
    ({"host_metrics.jsonl": [{"ts_ms": T0, "cpu_util": 1, "stage": "edge"}]}, "record"),  # tells no node
]


@pytest.mark.parametrize(("changes", "kind"), BROKEN_MERGES)
def test_what_is_wrong_with_a_merge_is_an_error(tmp_path: Path, changes: dict[str, Any], kind: str) -> None:
    assert kind in errors_of(merged(tmp_path, **changes))


@pytest.mark.parametrize("who", ["aa", "bb", "ac"])
def test_a_rejected_line_is_charged_to_its_own_node(tmp_path: Path, who: str) -> None:
    rejected = {"file": "resources.jsonl", "line": 2, "reason": "json", "text": "bad"}
    found = errors_of(merged(tmp_path, **{"rejected.jsonl": [{**rejected, "node": node} for node in who]}))
    assert found == {"law": [("rejected.jsonl", None)] * 2}


def test_an_account_of_a_node_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    changes = {
        "quality.json": {"nodes": dict.fromkeys("abc", QUALITY), "merge": {}},
        "rejected.jsonl": [],
    }
    assert errors_of(merged(tmp_path, **changes)) == {"node": [("quality.json", None)]}


def test_nodes_that_the_manifest_names_and_nothing_describes_are_an_error(tmp_path: Path) -> None:
    assert errors_of(write_cctf(tmp_path / "c", {}, ["a"])) == {"missing": [("nodes.json", None)]}
    assert errors_of(write_cctf(tmp_path / "d", {}, [])) == {}


def test_a_node_that_the_manifest_names_twice_is_an_error(tmp_path: Path) -> None:
    folder = write_cctf(tmp_path / "c", {"nodes.json": [{"node_id": "a", **NODE}]}, ["a", "a"])
    assert errors_of(folder) == {"manifest": [("manifest.json", None)]}


def test_a_last_line_without_its_end_is_an_error(tmp_path: Path) -> None:
    row = {"ts_enqueue": 1, "node": "a"}
    for name, data in (("whole", line(row)), ("cut", line(row)[:-1])):
        files = {"nodes.json": [{"node_id": "a", **NODE}], "calls.jsonl": [row]}
        folder = write_cctf(tmp_path / name, files, ["a"])
        manifest = json.loads((folder / "manifest.json").read_bytes())
        (entry,) = (one for one in manifest["files"] if one["name"] == "calls.jsonl")
        entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        (folder / "calls.jsonl").write_bytes(data)
        (folder / "manifest.json").write_text(json.dumps(manifest))
    assert errors_of(tmp_path / "whole") == {}
    assert errors_of(tmp_path / "cut") == {"encoding": [("calls.jsonl", None)]}


# --- lines that are there twice


REQUEST = {"ts_enqueue": 5, "node": "a", "trace_id": "t1", "span_id": "s1"}
LATE = {**REQUEST, "ts_enqueue": None, "ts_end": 5}
MEMORY = {"ts_ms": 1, "node": "a", "pid": 7, "starttime": 9, "rss_kb": 1}
NICS = {"ts_ms": 1, "node": "a", "link": "a.nic", "rx_Bps": 1, "tx_Bps": 1}
TWICE: list[tuple[str, list[Row]]] = [
    ("invocations.jsonl", [REQUEST, {**REQUEST, "span_id": "s2"}, {**REQUEST, "ts_end": 9}]),
    ("calls.jsonl", [REQUEST, {**REQUEST, "trace_id": "t2"}, REQUEST]),
    ("events_client.jsonl", [LATE, {**LATE, "trace_id": None}, LATE]),
    ("proc_metrics.jsonl", [{**MEMORY, "pid": pid, "utime": 1, "stime": 1} for pid in (7, 8, 7)]),
    ("proc_rss.jsonl", [{**MEMORY, "starttime": starttime} for starttime in (9, 10, 9)]),
    ("link_metrics.jsonl", [{**NICS, "link": link} for link in ("a.nic", "a.nic.x", "a.nic")]),
]


@pytest.mark.parametrize(("name", "rows"), TWICE)
def test_what_is_there_twice_is_an_error_and_what_only_looks_like_it_is_none(
    tmp_path: Path, name: str, rows: list[Row]
) -> None:
    key = "ts_ms" if "ts_ms" in rows[0] else "ts_enqueue"
    nodes = {"nodes.json": [{"node_id": node, **NODE} for node in "ab"]}
    doubled = write_cctf(tmp_path / "c", {**nodes, name: rows}, ["a", "b"])
    assert errors_of(doubled) == {"duplicate": [(name, 3)]}
    other_node = [*rows[:2], {**rows[2], "node": "b"}]
    assert errors_of(write_cctf(tmp_path / "d", {**nodes, name: other_node}, ["a", "b"])) == {}
    later = [*rows[:2], {**rows[2], (key if rows[2][key] is not None else "ts_end"): 6}]
    assert errors_of(write_cctf(tmp_path / "e", {**nodes, name: later}, ["a", "b"])) == {}
    without_ids = [{**row, "span_id": None} for row in rows]
    if "span_id" in rows[0]:
        assert errors_of(write_cctf(tmp_path / "f", {**nodes, name: without_ids}, ["a", "b"])) == {}


def test_after_a_step_back_a_node_may_have_samples_of_one_time_twice(tmp_path: Path) -> None:
    step = {"ts_ms": 9, "node": "a", "collector": "proc", "kind": "clock_step", "step_ms": -5}
    of_b = {**MEMORY, "node": "b"}
    files = {
        "nodes.json": [{"node_id": node, **NODE} for node in "ab"],
        "marks.jsonl": [step],
        "proc_rss.jsonl": [MEMORY, MEMORY, of_b, of_b],
    }
    folder = write_cctf(tmp_path / "c", files, ["a", "b"])
    assert errors_of(folder) == {"duplicate": [("proc_rss.jsonl", 4)]}


# --- names


PROCESS = {"pid": 7, "starttime": 9}
RATE = {"ts_ms": 1, "node": "a", "rx_Bps": 1, "tx_Bps": 1}
SPAN = {"trace_id": "t1", "span_id": "s1"}
USED = {"ts_ms": 1, "node": "a", "cpu_ms": 1, "dt_ms": 1, "source": "poll"}


@pytest.mark.parametrize(
    ("name", "row", "kind"),
    [
        ("host_metrics.jsonl", sample("b", 0), "node"),
        ("marks.jsonl", {"ts_ms": 1, "node": "b", "collector": "cpu", "kind": "stall"}, "node"),
        ("link_metrics.jsonl", {**RATE, "link": "b.nic"}, "link"),
        ("link_metrics.jsonl", {**RATE, "link": "c.nic.x"}, "link"),
        ("host_metrics.jsonl", {"ts_ms": 1, "node": "a", "stage": "edge"}, "record"),
        ("host_metrics.jsonl", sample("a", 0, mem_free_mb=1), "record"),
        ("proc_cpu.jsonl", {**USED, "pid": None, "starttime": 9}, "record"),
        ("proc_cpu.jsonl", {**USED, "pid": 7, "starttime": None}, "record"),
        ("invocations.jsonl", {"ts_enqueue": 5, "node": "a", "ts_start": 3}, "duration"),
        ("invocations.jsonl", {"ts_enqueue": 5, "node": "a", "ts_start": 9, "ts_end": 6}, "duration"),
        ("invocations.jsonl", {"ts_enqueue": None, "node": "a"}, "no_stamp"),
        ("calls.jsonl", {"ts_enqueue": None, "node": "a"}, "no_stamp"),
        ("events_client.jsonl", {"ts_enqueue": None, "node": "a", "ts_end": None}, "no_stamp"),
        ("invocations.jsonl", {"ts_enqueue": 1, "node": "a", "span_id": "a b"}, "id"),
        ("invocations.jsonl", {"ts_enqueue": 1, "node": "a", "trace_id": "x" * 129}, "id"),
        ("calls.jsonl", {"ts_enqueue": 1, "node": "a", "parent_id": ""}, "id"),
        ("events_client.jsonl", {"ts_enqueue": 1, "node": "a", "span_id": "a\n"}, "id"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_is_an_error_at_its_place(
    tmp_path: Path, name: str, row: Row, kind: str
) -> None:
    files = {"nodes.json": [{"node_id": "a", **NODE}], "links.json": [{"link": "a.nic", "u": "a", **LINK}]}
    assert errors_of(write_cctf(tmp_path / "c", {**files, name: [row]}, ["a"])) == {kind: [(name, 1)]}


def test_names_that_lead_nowhere_are_counted_and_the_trace_is_valid(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"ts_enqueue": 1, "node": "z"},
        {"ts_enqueue": 2, "node": "a", "module_id": "m2", "instance_id": "i1"},
        {"ts_enqueue": 3, "node": "a", "module_id": "m1", "instance_id": "i2"},
        {"ts_enqueue": 4, "node": "a", **PROCESS},
        {"ts_enqueue": 5, "node": "a", "pid": 7, "starttime": 10},
    ]
    files = {
        "nodes.json": [{"node_id": "a", **NODE}],
        "module_inventory.json": [{"app_id": "x", "modules": [{"module_id": "m1"}]}, {"app_id": "y"}],
        "proc_inventory.jsonl": [{"ts_ms": 1, "node": "a", "event": "seen", **PROCESS}],
        "placement_events.jsonl": [{"ts": 1, "node_id": "a", "event": "start", "instance_id": "i1"}],
        "proc_rss.jsonl": [{"ts_ms": 1, "node": "a", "rss_kb": 1, **PROCESS, "pid": pid} for pid in (7, 8)],
        "proc_cpu.jsonl": [{"ts_ms": 1, "node": "a", "pid": None, "starttime": None, "cpu_ms": 1, "dt_ms": 1,
                            "source": "cgroup"}],
        "invocations.jsonl": rows,
        "later.jsonl": [],
    }  # fmt: skip
    assert counted_of(write_cctf(tmp_path / "c", files, ["a"])) == {
        "other_node": [("invocations.jsonl", 1)],
        "module": [("invocations.jsonl", 2)],
        "instance": [("invocations.jsonl", 3)],
        "process": [("invocations.jsonl", 5), ("proc_rss.jsonl", 2)],
        "unknown_file": [("later.jsonl", None)],
    }


def test_a_further_nic_belongs_to_the_primary_one(tmp_path: Path) -> None:
    rows = [{**RATE, "link": "a.nic"}, {**RATE, "link": "a.nic.eth1"}]
    files = {"links.json": [{"link": "a.nic", "u": "a", **LINK}], "link_metrics.jsonl": rows}
    assert counted_of(write_cctf(tmp_path / "c", files, [])) == {}


def test_what_no_file_defines_is_not_looked_for(tmp_path: Path) -> None:
    row = {"ts_enqueue": 1, "node": "z", "module_id": "m", "instance_id": "i", **PROCESS}
    files = {"invocations.jsonl": [row], "module_inventory.json": {"app_id": None, "modules": []}}
    assert counted_of(write_cctf(tmp_path / "c", files, [])) == {}


def test_a_parent_may_be_in_any_file_of_its_trace_and_others_are_counted(tmp_path: Path) -> None:
    def child(at_ms: int, trace: str, parent: str | None) -> Row:
        return {
            "ts_enqueue": at_ms,
            "node": "a",
            "trace_id": trace,
            "span_id": f"c{at_ms}",
            "parent_id": parent,
        }

    files = {
        "events_client.jsonl": [{"ts_enqueue": 0, "node": "a", **SPAN}],
        "calls.jsonl": [child(2, "t1", "c1")],
        "invocations.jsonl": [
            child(1, "t1", "s1"),  # the client's
            child(3, "t1", "c2"),  # the call's
            child(4, "t2", "s1"),  # of another trace
            child(5, "t1", None),
            child(6, "t1", "gone"),
        ],
    }
    assert counted_of(write_cctf(tmp_path / "c", files, [])) == {
        "parent": [("invocations.jsonl", 3), ("invocations.jsonl", 5)]
    }


def test_a_parent_is_found_wherever_its_line_stands(tmp_path: Path) -> None:
    rows = [
        {"ts_enqueue": n, "node": "a", "trace_id": "t", "span_id": str(n), "parent_id": str(9_999 - n)}
        for n in range(10_000)
    ]
    rows[1234]["parent_id"] = "x"
    report = check(write_cctf(tmp_path / "c", {"invocations.jsonl": rows}, []))
    assert report.counted["parent"].count == 1
    assert report.counted["parent"].first[0].line == 1235


DURATIONS = [
    ({"queue_time_ms": 10}, True),
    ({"queue_time_ms": 11}, True),
    ({"queue_time_ms": 11.002}, False),
    ({"service_time_ms": 19}, True),
    ({"service_time_ms": 18.99}, False),
    ({"rt_ms": 31.0}, True),
    ({"rt_ms": 31.1}, False),
    ({"queue_time_ms": 10.1, "service_time_ms": 20.1, "rt_ms": 30.2}, True),
    ({"queue_time_ms": 10.1, "service_time_ms": 20.1, "rt_ms": 30.21}, True),
    ({"queue_time_ms": 10.1, "service_time_ms": 20.1, "rt_ms": 30.22}, False),
    ({"queue_time_ms": 99, "ts_start": None}, True),  # nothing to hold it against
]


@pytest.mark.parametrize(("fields", "holds"), DURATIONS)
def test_durations_are_held_against_stamps_and_against_each_other(
    tmp_path: Path, fields: Row, holds: bool
) -> None:
    # 10 ms in the queue, 20 ms of service
    row = {"ts_enqueue": T0, "node": "a", "ts_start": T0 + 10, "ts_end": T0 + 30, **fields}
    found = errors_of(write_cctf(tmp_path / "c", {"invocations.jsonl": [row]}, []))
    assert found == ({} if holds else {"duration": [("invocations.jsonl", 1)]})


def test_lines_without_a_key_are_in_the_order_of_their_end(tmp_path: Path) -> None:
    def rows(*ends: int) -> list[Row]:
        return [{"ts_enqueue": 5, "node": "a"}] + [
            {"ts_enqueue": None, "node": "a", "ts_end": end} for end in ends
        ]

    good = write_cctf(tmp_path / "good", {"invocations.jsonl": rows(1, 1, 7)}, [])
    assert errors_of(good) == {}
    bad = write_cctf(tmp_path / "bad", {"invocations.jsonl": rows(7, 1)}, [])
    assert errors_of(bad) == {"order": [("invocations.jsonl", 3)]}


# --- odd files


def link_elsewhere(folder: Path) -> None:
    (folder / "host_metrics.jsonl").rename(folder.parent / "elsewhere")
    (folder / "host_metrics.jsonl").symlink_to("../elsewhere")


def to_folder(folder: Path) -> None:
    (folder / "host_metrics.jsonl").unlink()
    (folder / "host_metrics.jsonl").mkdir()


def to_pipe(folder: Path) -> None:
    (folder / "host_metrics.jsonl").unlink()
    os.mkfifo(folder / "host_metrics.jsonl")


@pytest.mark.parametrize(
    ("harm", "kind", "name"),
    [
        (link_elsewhere, "not_a_file", "host_metrics.jsonl"),
        (to_folder, "not_a_file", "host_metrics.jsonl"),
        (to_pipe, "not_a_file", "host_metrics.jsonl"),
        (lambda folder: (folder / "sub").mkdir(), "unlisted", "sub"),
        (lambda folder: (folder / "x.json").symlink_to("quality.json"), "unlisted", "x.json"),
    ],
)
def test_what_is_no_file_is_named_and_not_followed(
    tmp_path: Path, harm: Callable[[Path], None], kind: str, name: str
) -> None:
    folder = write_cctf(tmp_path / "c", {"host_metrics.jsonl": [sample("a", 0)]}, [])
    harm(folder)
    assert errors_of(folder) == {kind: [(name, None)]}


@pytest.mark.parametrize("name", ["../quality.json", "/etc/passwd", "", ".", "..", "manifest.json", "a\0b"])
def test_a_name_that_can_be_no_file_of_a_cctf_is_an_error_of_the_manifest(tmp_path: Path, name: str) -> None:
    folder = write_cctf(tmp_path / "c", {}, [])
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"].append({**manifest["files"][0], "name": name})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert errors_of(folder) == {"manifest": [("manifest.json", None)]}


def test_a_file_listed_twice_is_an_error_of_the_manifest(tmp_path: Path) -> None:
    folder = write_cctf(tmp_path / "c", {}, [])
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] *= 2
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert errors_of(folder) == {"manifest": [("manifest.json", None)]}


DAMAGED_LINES = {
    "carriage returns": (b"%b\r\n", "encoding"),
    "a byte order mark": (b"\xef\xbb\xbf%b\n", "record"),
    "invalid UTF-8": (b'{"x":"\xff",%b\n', "record"),
    "NaN": (b'{"x":NaN,%b\n', "record"),
    "an empty line": (b"\n", "record"),
    "text": (b"text\n", "record"),
    "two objects": (b"%b%b\n", "record"),
    "deep nesting": (b'{"x":' + b"[" * 100_000 + b"\n", "record"),
}


@pytest.mark.parametrize("name", DAMAGED_LINES)
def test_a_line_that_is_no_strict_json_is_an_error_at_its_place(tmp_path: Path, name: str) -> None:
    pattern, kind = DAMAGED_LINES[name]
    whole = line(sample("a", 0)).strip()
    is_open = b",%b" in pattern
    damaged = pattern.replace(b"%b", whole[1:] if is_open else whole)
    data = whole + b"\n" + damaged + whole + b"\n"
    folder = write_cctf(tmp_path / "c", {"host_metrics.jsonl": data}, [])
    found = errors_of(folder)
    place = None if kind == "encoding" else 2
    assert found[kind] == [("host_metrics.jsonl", place)]


@pytest.mark.parametrize(
    "data", [b"", b"[", b"NaN", b'{"a":1,"a":2}', b"\xff", b"[" * 100_000, b"\xef\xbb\xbf{}"]
)
def test_a_document_that_is_no_strict_json_is_an_error(tmp_path: Path, data: bytes) -> None:
    folder = write_cctf(tmp_path / "c", {"run_meta.json": data}, [])
    assert errors_of(folder) == {"record": [("run_meta.json", None)]}


# --- the report


def test_few_of_each_kind_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    bad = {"ts_ms": T0, "node": "a", "stage": "edge", "cpu_util": "x"}
    folder = write_cctf(tmp_path / "c", {"host_metrics.jsonl": [sample("a", 0), *[bad] * 30]}, [])
    group = check(folder).errors["record"]
    assert (group.count, [one.line for one in group.first]) == (30, [2, 3, 4, 5, 6])
    done = tool("validate.py", str(folder))
    assert done.returncode == 1
    assert "host_metrics.jsonl:2: " in done.stderr
    assert "host_metrics.jsonl:7: " not in done.stderr
    assert "and 25 more" in done.stderr
    assert "30 errors" in done.stderr.splitlines()[-1]


def test_counted_names_are_told_on_stdout_and_the_exit_code_is_0(tmp_path: Path) -> None:
    rows = [{"ts_enqueue": 1, "node": "a", "trace_id": "t", "parent_id": "x"}]
    done = tool("validate.py", str(write_cctf(tmp_path / "c", {"invocations.jsonl": rows}, [])))
    assert (done.returncode, done.stderr) == (0, "")
    first, last = done.stdout.splitlines()
    assert first.startswith("counted: 1 parent spans")
    assert "invocations.jsonl:1" in first
    assert last.endswith(": valid, 2 files, 1 records")


def report_of(folder: Path) -> tuple[int, Any]:
    done = tool("validate.py", str(folder), JSON="1")
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout, parse_constant=pytest.fail)


def test_the_report_for_programs_holds_all_in_one_object(tmp_path: Path) -> None:
    rows = [sample("b", 0), sample("a", -5)]
    files = {"nodes.json": [{"node_id": "a", **NODE}], "host_metrics.jsonl": rows}
    code, report = report_of(write_cctf(tmp_path / "c", files, ["a"]))
    assert code == 1
    messages = [group["first"][0].pop("message") for group in report["errors"].values()]
    assert all(messages)
    assert report == {
        "dir": str(tmp_path / "c"),
        "valid": False,
        "run_id": "r1",
        "nodes": ["a"],
        "files": 3,
        "records": 2,
        "errors": {
            "order": {"count": 1, "first": [{"file": "host_metrics.jsonl", "line": 2}]},
            "node": {"count": 1, "first": [{"file": "host_metrics.jsonl", "line": 1}]},
        },
        "counted": {},
    }


@pytest.mark.parametrize("manifest", [None, b"", b"[]", b'{"cctf_version":1}', b"[" * 100_000])
def test_the_report_for_programs_is_there_without_a_readable_manifest(
    tmp_path: Path, manifest: bytes | None
) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_bytes(manifest)
    code, report = report_of(tmp_path)
    assert code == 1
    assert (report["valid"], report["run_id"], list(report["errors"])) == (False, None, ["manifest"])


def test_the_page_lists_the_kinds_that_there_are() -> None:
    text = (ROOT / "docs" / "cctf.md").read_text()
    section = text[text.index("## Validating") : text.index("## What may change")]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [*ERRORS, *COUNTED]


# --- any byte


def tell_manifest(folder: Path) -> None:
    """Problems or one sentence, whatever the manifest holds."""
    try:
        list(find_problems(folder))
    except TracekitError as error:
        assert "manifest.json" in str(error)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid cctf with something in most files."""
    rows: list[Row] = [{"ts_enqueue": T0, "ts_end": T0 + 1, "span_id": "é".encode().hex()}]
    raw: dict[str, list[Row] | bytes] = {
        "resources.jsonl": lines([{"ts_ms": T0, "cpu_util": 1.5}]) + b"bad\n",
        "proc_metrics.jsonl": [proc(2000, 1)],
        "invocations.x.jsonl": rows,
    }
    return parsed(tmp_path_factory.mktemp("small"), raw) / "cctf"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_single_byte_that_changes_is_found(small: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([one for one in sorted(small.iterdir()) if one.stat().st_size]))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    try:
        path.write_bytes(changed)
        if path.name == "manifest.json":  # nothing holds its own hash: it may only not end in a traceback
            tell_manifest(small)
        else:
            assert list(find_problems(small)) != []
    finally:
        path.write_bytes(whole)
