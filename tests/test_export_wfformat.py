"""WfFormat: a trace as tasks that end before others start, in the schema's own terms."""

import json
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st
from runs import T0, Row, tool
from test_export_simgrid import CALLS, CHAIN, NODES, request
from test_validate_names import write_cctf

from tracekit.errors import DONE, FAILED, REJECTED
from tracekit.export.workflow import Callee, split
from tracekit.records import Invocation

KEY = {"type": "string", "minLength": 1, "pattern": "^[0-9a-zA-Z-_.]*$"}
KEYS = {"type": "array", "items": KEY}
TEXT = {"type": "string", "minLength": 1}


def an_object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": required | optional}


def some(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": item}


WHOLE, POSITIVE = {"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 1}
NUMBER = {"type": "number"}
# What wfcommons-schema.json 1.5 demands of the members that are written here.
SPECIFIED = an_object(
    {"name": TEXT, "id": KEY, "parents": KEYS, "children": KEYS}, inputFiles=KEYS, outputFiles=KEYS
)
EXECUTED = an_object({"id": TEXT, "runtimeInSeconds": NUMBER}, avgCPU=NUMBER, machines=some(TEXT))
MACHINE = an_object(
    {"nodeName": TEXT},
    system={"enum": ["linux", "macos", "windows"]},
    release=TEXT,
    memoryInBytes=POSITIVE,
    cpu=an_object({}, coreCount=POSITIVE, speedInMHz=POSITIVE),
)
SCHEMA = an_object(
    {
        "name": TEXT,
        "schemaVersion": {"const": "1.5"},
        "workflow": an_object(
            {
                "specification": an_object(
                    {"tasks": some(SPECIFIED)},
                    files={"type": "array", "items": an_object({"id": TEXT, "sizeInBytes": WHOLE})},
                )
            },
            execution=an_object(
                {"makespanInSeconds": NUMBER, "executedAt": TEXT, "tasks": some(EXECUTED)},
                machines=some(MACHINE),
            ),
        ),
    },
    description=TEXT,
)


def export(folder: Path, requests: list[Row], nodes: Any = NODES, **env: str) -> tuple[int, Any, str]:
    files = {"nodes.json": nodes, "calls.jsonl": CALLS, "invocations.jsonl": requests}
    data = write_cctf(folder / "r1", files, [node["node_id"] for node in nodes])
    done = tool("exporters/wfformat.py", str(data), **env)
    path = data / "exports" / "wfformat" / "workflow.json"
    document = json.loads(path.read_text()) if path.exists() else None
    if document:
        jsonschema.validate(document, SCHEMA)
    return done.returncode, document, done.stdout + done.stderr


def bonds(document: Any) -> dict[str, list[str]]:
    tasks = document["workflow"]["specification"]["tasks"]
    for task in tasks:
        for child in task["children"]:
            assert task["id"] in next(one for one in tasks if one["id"] == child)["parents"]
    return {task["id"]: sorted(task["parents"]) for task in tasks}


def test_a_caller_that_waits_is_cut_around_its_call(tmp_path: Path) -> None:
    """A, 0 to 100 ms with 29 ms of CPU, calls from 19 to 61 ms by its clock; B takes 40. A's own: 58 ms."""
    chain = [
        {**CHAIN[0], "ts_end": T0 + 100, "service_time_ms": 100, "rt_ms": 100, "cpu_time_ms": 29.0},
        CHAIN[1],
    ]
    code, document, said = export(tmp_path, chain)
    assert code == DONE, said
    assert bonds(document) == {"A.1": [], "A.2": ["B"], "B": ["A.1"]}
    execution = document["workflow"]["execution"]
    assert execution["makespanInSeconds"] == 0.1
    assert [(one["id"], one["runtimeInSeconds"], one["avgCPU"]) for one in execution["tasks"]] == [
        ("A.1", 0.019, 50.0),
        ("A.2", 0.039, 50.0),
        ("B", 0.040, 12.5),
    ]
    assert execution["tasks"][2]["executedAt"] == "2023-11-14T22:13:20.020+00:00"
    assert [one["machines"] for one in execution["tasks"]] == [["edge0"], ["edge0"], ["cloud0"]]
    specification = document["workflow"]["specification"]
    assert {one["id"]: one["sizeInBytes"] for one in specification["files"]} == {
        "A.in": 7, "A.out": 9, "B.in": 1_000_000, "B.out": 2_000_000,
    }  # fmt: skip
    assert [(one["inputFiles"], one["outputFiles"]) for one in specification["tasks"]] == [
        (["A.in"], ["B.in"]),
        (["B.out"], ["A.out"]),
        (["B.in"], ["B.out"]),
    ]


def test_the_longest_trace_is_chosen_or_the_one_that_is_named(tmp_path: Path) -> None:
    requests = [{**request(0, "edge0", 1.0, "X"), "trace_id": "u"}, *CHAIN]
    code, document, said = export(tmp_path / "a", requests)
    assert code == DONE and document["name"] == "r1-t"
    assert "1  other traces of the run, left out" in said
    code, document, said = export(tmp_path / "b", requests, TRACE="u")
    assert code == DONE and bonds(document) == {"X": []}
    code, document, said = export(tmp_path / "c", requests, TRACE="v")
    assert code == FAILED and document is None and "no invocation has the trace_id v" in said


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    node = {
        "node_id": "n",
        "stage": None,
        "cpu_cores": None,
        "mem_mb": None,
        "cpu_model": None,
        "cpu_freq_mhz": None,
    }
    code, document, said = export(tmp_path, [request(0, "n", None, "X")], [node])
    assert code == DONE, said
    execution = document["workflow"]["execution"]
    assert execution["machines"] == [{"nodeName": "n", "system": "linux"}]
    assert "avgCPU" not in execution["tasks"][0]
    assert document["workflow"]["specification"]["files"] == []
    assert "1  invocations whose CPU is not known" in said


def test_an_invocation_without_times_is_refused(tmp_path: Path) -> None:
    broken = {"ts_enqueue": T0 + 30, "node": "edge0", "trace_id": "t", "span_id": "Z"}
    code, document, said = export(tmp_path, [*CHAIN, broken])
    assert code == REJECTED and "an invocation without start or end, first edge0: Z" in said
    assert "Z" not in bonds(document)


def job(start: int, end: int) -> Invocation:
    return Invocation(ts_enqueue=start, ts_start=start, ts_end=end, node="n", trace_id="t", span_id="A")


def test_calls_at_once_one_after_the_other_and_not_waited_for() -> None:
    """B and C overlap, D follows, E is still at work when A ends, F starts later."""
    called = [Callee(10, 30, "B"), Callee(20, 40, "C"), Callee(60, 70, "D")]
    called += [Callee(80, 200, "E"), Callee(150, 160, "F")]
    whole = split(job(0, 100), called)
    assert [(part.key, part.start_ms, part.end_ms) for part in whole.parts] == [
        ("A.1", 0, 10),
        ("A.2", 40, 60),
        ("A.3", 70, 100),
    ]
    assert {span: part.key for span, part in whole.before.items()} == {
        "B": "A.1", "C": "A.1", "D": "A.2", "E": "A.3", "F": "A.3",
    }  # fmt: skip
    assert {span: part.key for span, part in whole.after.items()} == {"B": "A.2", "C": "A.2", "D": "A.3"}
    assert whole.own_ms == 60


CALLED = st.lists(st.tuples(st.integers(-50, 300), st.integers(-50, 300)), max_size=8)


@given(st.integers(0, 100), st.integers(0, 150), CALLED)
def test_parts_are_the_time_in_which_nothing_was_waited_for(
    start: int, length: int, spans: list[tuple[int, int]]
) -> None:
    called = sorted(Callee(*sorted(span), f"c{at}") for at, span in enumerate(spans))
    whole = split(job(start, start + length), called)
    waiting = [one for one in called if one.start_ms < start + length and one.end_ms <= start + length + 1]
    spent = {at for one in waiting for at in range(one.start_ms, one.end_ms)}
    busy = set(range(start, start + length)) - spent
    assert whole.own_ms == len(busy)
    assert set(whole.before) == {one.span_id for one in called}
    assert set(whole.after) == {one.span_id for one in waiting}
    for span_id, part in whole.after.items():
        assert whole.parts.index(part) == whole.parts.index(whole.before[span_id]) + 1
