"""Requests over several nodes: who calls whom, what is replayed of it, and over which links."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replayed import T0, Row, invocation, node, one_node, replayed, write_dataset
from runs import snapshot, tool

from tracekit.errors import TracekitError
from tracekit.replay.model import Model, NodeModel, Visit

MS = 1_000_000
TWO = Model({"edge": NodeModel(1), "cloud": NodeModel(1)})


def served(name: str, at_ms: int, cpu_ms: float, took_ms: float, span: str, parent: str | None) -> Row:
    times = {"service_time_ms": took_ms, "rt_ms": took_ms, "ts_end": T0 + at_ms + round(took_ms)}
    return invocation(at_ms, cpu_ms, **times, node=name, span_id=span, parent_id=parent, trace_id="t")


def called(at_ms: int, end_ms: int, span: str, parent: str, **more: Any) -> Row:
    times = {"ts_enqueue": T0 + at_ms, "ts_end": T0 + end_ms}
    return {
        **times,
        "node": "edge",
        "trace_id": "t",
        "span_id": span,
        "parent_id": parent,
        "peer": "p",
        **more,
    }


def by_span(visits: list[Visit]) -> dict[str, Visit]:
    return {visit.told.span_id: visit for visit in visits}


def times(visit: Visit) -> tuple[float, float]:
    """Enqueue and end, ms after T0."""
    return visit.enqueue / MS - T0, visit.end / MS - T0


def chain() -> dict[str, list[Row]]:
    """edge: 30 ms from 0, of which 10 are the call (at 10) and 4 are CPU; cloud: 8 ms from 11, all CPU."""
    return {
        "invocations.jsonl": [
            served("edge", 0, 4.0, 30.0, "e", None),
            served("cloud", 11, 8.0, 8.0, "c", "call"),
        ],
        "calls.jsonl": [called(10, 20, "call", "e", bytes_out=1000, bytes_in=3000)],
    }


def test_a_call_stands_between_the_parts_of_the_caller(tmp_path: Path) -> None:
    """Own time 20: half before and half after the call. CPU 4 = 2 + 2, delay 16 = 8 + 8, the call 8."""
    visits, count, _ = replayed(write_dataset(tmp_path, chain(), nodes=[node("edge"), node("cloud")]), TWO)
    told = by_span(visits)
    assert times(told["c"]) == (10, 18)
    assert times(told["e"]) == (0, 28)
    assert (count.read, count.visits, count.requests, count.recorded_delay) == (2, 2, 1, 16 * MS)
    assert count.unknown_links == {
        f"{pair}: {what}" for pair in ("edge--cloud", "cloud--edge") for what in ("bandwidth", "delay")
    }


def test_a_link_takes_its_bandwidth_and_its_delay_each_way(tmp_path: Path) -> None:
    """1000 bytes at 1 Mbit/s are 8 ms, 3000 are 24 ms; 5 ms each way."""
    link = {"link": "edge--cloud", "u": "edge", "v": "cloud", "iface": None, "BW_bps": 10**6, "PR_s": 0.005}
    dataset = write_dataset(tmp_path, chain(), nodes=[node("edge"), node("cloud")], links=[link])
    visits, count, _ = replayed(dataset, TWO)
    told = by_span(visits)
    assert times(told["c"]) == (10 + 8 + 5, 10 + 8 + 5 + 8)
    assert times(told["e"]) == (0, 31 + 24 + 5 + 10)
    assert count.unknown_links == set()


def test_messages_queue_for_a_link(tmp_path: Path) -> None:
    """Two requests that call at the same moment: the second message leaves 8 ms after the first."""
    rows = chain()
    second = [{**row, "span_id": f"{row['span_id']}2"} for row in rows["invocations.jsonl"]]
    second[1]["parent_id"] = "call2"
    rows["invocations.jsonl"] = [
        rows["invocations.jsonl"][0],
        second[0],
        rows["invocations.jsonl"][1],
        second[1],
    ]
    rows["calls.jsonl"].append({**rows["calls.jsonl"][0], "span_id": "call2", "parent_id": "e2"})
    nics = [
        {
            "link": f"{name}.nic",
            "u": name,
            "v": f"{name}.net",
            "iface": "eth0",
            "BW_bps": 10**6 * at,
            "PR_s": None,
        }
        for at, name in enumerate(("cloud", "edge"))
    ]
    dataset = write_dataset(tmp_path, rows, nodes=[node("edge"), node("cloud")], links=nics)
    model = Model({"edge": NodeModel(2), "cloud": NodeModel(2)})
    told = by_span(replayed(dataset, model)[0])
    assert [times(told[span])[0] for span in ("c", "c2")] == [18, 26]


@pytest.mark.parametrize(("second_at", "ends"), [(10, 25.0), (20, 30.0)], ids=["at once", "one by one"])
def test_calls_that_overlap_are_waited_for_together(tmp_path: Path, second_at: int, ends: float) -> None:
    """Two calls of 5 ms CPU on two cores; own time 20 ms of the recorded, none of it CPU."""
    took = 30.0 if second_at == 10 else 40.0
    rows = {
        "invocations.jsonl": [
            served("edge", 0, 0.0, took, "e", None),
            served("cloud", 10, 5.0, 5.0, "c1", "k1"),
            served("cloud", second_at, 5.0, 5.0, "c2", "k2"),
        ],
        "calls.jsonl": [called(10, 20, "k1", "e"), called(second_at, second_at + 10, "k2", "e")],
    }
    dataset = write_dataset(tmp_path, rows, nodes=[node("edge"), node("cloud")])
    told = by_span(replayed(dataset, Model({"edge": NodeModel(1), "cloud": NodeModel(2)}))[0])
    assert times(told["e"]) == (0, ends)


def test_a_call_to_what_is_not_in_the_trace_takes_as_long_as_it_took(tmp_path: Path) -> None:
    rows = chain()
    del rows["invocations.jsonl"][1]
    visits, count, _ = replayed(write_dataset(tmp_path, rows, nodes=[node("edge"), node("cloud")]), TWO)
    assert times(visits[0]) == (0, 30)
    assert count.external_calls == 1


def test_the_load_generators_stamp_is_the_arrival_where_there_is_one(tmp_path: Path) -> None:
    """The server saw the requests one after the other; they were sent at once, and the second waits."""
    rows = {
        "events_client.jsonl": [
            {
                "ts_enqueue": T0,
                "node": "vm1",
                "span_id": f"s{at}",
                "trace_id": "t",
                "ts_end": T0 + 20,
                "path": "/",
            }
            for at in range(3)
        ],
        "invocations.jsonl": [served("vm1", 10 * at, 10.0, 10.0, f"i{at}", f"s{at}") for at in range(2)],
    }
    visits, count, _ = replayed(write_dataset(tmp_path, rows), one_node())
    told = by_span(visits)
    assert [times(told[span]) for span in ("i0", "i1", "s0", "s1")] == [(0, 10), (0, 20), (0, 10), (0, 20)]
    assert (count.requests, count.visits, count.unserved) == (2, 2, 1)


def test_stamps_of_one_ms_come_in_the_order_of_their_us(tmp_path: Path) -> None:
    """The line of the later one came first, as its answer did. 2 ms of work each: the second waits 1.7 ms."""
    stamps = {"first": 200, "second": 500}
    rows = {
        "events_client.jsonl": [
            {"ts_enqueue": T0, "ts_enqueue_us": T0 * 1000 + stamps[name], "node": "vm1", "span_id": name}
            for name in ("second", "first")
        ],
        "invocations.jsonl": [served("vm1", 1, 2.0, 2.0, f"of {name}", name) for name in stamps],
    }
    told = by_span(replayed(write_dataset(tmp_path, rows), one_node())[0])
    base = T0 * MS
    assert [told["of first"].start - base, told["of second"].start - base] == [200_000, 2_200_000]


def test_a_stamp_that_a_merge_corrected_is_corrected_to_the_us(tmp_path: Path) -> None:
    sent = {"ts_enqueue": T0 + 7, "ts_enqueue_orig": T0, "ts_enqueue_us": T0 * 1000 + 250, "node": "vm1"}
    rows = {
        "events_client.jsonl": [{**sent, "span_id": "s"}],
        "invocations.jsonl": [served("vm1", 8, 2.0, 2.0, "i", "s")],
    }
    told = by_span(replayed(write_dataset(tmp_path, rows), one_node())[0])
    assert told["s"].enqueue == T0 * MS + 7_250_000


def test_a_child_that_its_nodes_clock_puts_before_its_parent_is_still_its_child(tmp_path: Path) -> None:
    rows = chain()
    early = {**rows["invocations.jsonl"][1], "ts_enqueue": T0 - 500, "ts_start": T0 - 500, "ts_end": T0 - 492}
    rows["invocations.jsonl"] = [early, rows["invocations.jsonl"][0]]
    visits, count, _ = replayed(write_dataset(tmp_path, rows, nodes=[node("edge"), node("cloud")]), TWO)
    assert times(by_span(visits)["e"]) == (0, 28)
    assert count.requests == 1


SPANS = st.sampled_from(["a", "b", "c", "d", "e", "f"])


@given(st.lists(st.tuples(st.integers(0, 5000), SPANS, SPANS | st.none()), max_size=12))
def test_whatever_names_whatever_as_parent_each_is_served_once(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[int, str, str | None]]
) -> None:
    rows = [
        served("vm1", at, 1.0, 1.0, span, parent) for at, span, parent in sorted(told, key=lambda one: one[0])
    ]
    dataset = write_dataset(tmp_path_factory.mktemp("run"), {"invocations.jsonl": rows})
    visits, count, _ = replayed(dataset, one_node())
    assert count.read == count.visits == len(visits) == len(rows)
    assert sum(visit.used for visit in visits) == len(rows) * MS


def test_what_is_unknown_is_refused_or_counted(tmp_path: Path) -> None:
    rows = {"invocations.jsonl": [invocation(0, None, service_time_ms=7.0)]}
    dataset = write_dataset(tmp_path / "r1", rows)
    with pytest.raises(TracekitError, match=r"has no cpu_time_ms: DEMAND=service"):
        replayed(dataset, one_node())
    visits, count, _ = replayed(dataset, Model({"vm1": NodeModel(1)}, demand="service"))
    assert (times(visits[0]), count.imputed_demand) == ((0, 7), 1)
    with pytest.raises(TracekitError, match=r"NODES=vm1="):
        replayed(dataset, Model({}, demand="service"))


def dataset_of_five(folder: Path) -> None:
    write_dataset(folder, {"invocations.jsonl": [invocation(10 * at, 10.0 + at, at) for at in range(5)]})


def test_the_command_writes_the_same_bytes_twice_and_marks_them(tmp_path: Path) -> None:
    dataset_of_five(tmp_path / "r1")
    done = tool("replay.py", str(tmp_path / "r1"))
    assert done.returncode == 0, done.stderr
    first = snapshot(tmp_path / "r1" / "exports")
    assert tool("replay.py", str(tmp_path / "r1")).returncode == 0
    assert snapshot(tmp_path / "r1" / "exports") == first
    assert sorted(first) == ["replay/host_metrics.jsonl", "replay/invocations.jsonl", "replay/summary.json"]
    summary = json.loads(first["replay/summary.json"])
    assert summary["simulated"] is True
    lines = [json.loads(line) for line in first["replay/invocations.jsonl"].splitlines()]
    assert {line["source"] for line in lines} == {"replay"}
    # Works 10 to 14 come every 10 ms: each waits for what the ones before ran over.
    assert [line["queue_time_ms"] for line in lines] == [0, 0, 1, 3, 6]
    assert [line["rt_ms"] for line in lines] == [10, 11, 13, 16, 20]
    # 50 ms + 10 of the last wait's end: 60 ms of work without a pause.
    assert summary["makespan_ms"] == 60
    assert summary["nodes"]["vm1"] == {"invocations": 5, "cpu_s": 0.06, "utilisation": 1.0}


@pytest.mark.parametrize(
    ("changed", "rt_ms"),
    [
        ({"CORES": "2"}, [10, 11, 12, 13, 14]),
        ({"NODES": "vm1=2"}, [10, 11, 12, 13, 14]),
        ({"RATE": "50"}, [10, 11, 12, 13, 14]),  # twice as far apart
        ({"SLOTS": "1"}, [10, 11, 13, 16, 20]),
        ({"RATE": "200"}, [10, 16, 23, 31, 40]),  # at 0, 5, 10, ...
    ],
    ids=str,
)
def test_one_thing_changed(tmp_path: Path, changed: dict[str, str], rt_ms: list[float]) -> None:
    dataset_of_five(tmp_path / "r1")
    done = tool("replay.py", str(tmp_path / "r1"), **changed)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "r1" / "exports" / "replay" / "invocations.jsonl").read_text().splitlines()
    assert [json.loads(line)["rt_ms"] for line in lines] == rt_ms


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"CORES": "1.5"}, 2, "cores are whole"),
        ({"CORES": "0"}, 2, "above 0"),
        ({"NODES": "vm9=1"}, 2, "NODES names vm9; the data set has vm1"),
        ({"POLICY": "lifo"}, 2, "fifo or ps"),
        ({"PARAMS": "/nonexistent"}, 1, "make calibrate"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_one_message(
    tmp_path: Path, changed: dict[str, str], code: int, message: str
) -> None:
    dataset_of_five(tmp_path / "r1")
    done = tool("replay.py", str(tmp_path / "r1"), **changed)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "r1" / "exports" / "replay").exists()
