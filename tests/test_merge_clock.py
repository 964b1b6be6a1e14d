"""The clocks of a merge: what probes and time services tell of every two nodes, which spans contradict it,
and stamps corrected by it."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, clean_environment, need
from hypothesis import given
from hypothesis import strategies as st
from merges import made_cctf, node_document, rss
from runs import T0, Row, line, make_run

from tracekit.merge.build import merge
from tracekit.merge.clock import Kept, Sample, fit
from tracekit.parse.build import build
from tracekit.summary import summarise
from tracekit.validate import find_problems

T0_US = T0 * 1000
HOUR_US = 3600 * 10**6


@given(
    st.floats(-1e6, 1e6),
    st.floats(-200, 200),
    st.lists(
        st.tuples(st.integers(0, HOUR_US), st.integers(1, 20_000), st.integers(1, 20_000)),
        min_size=1,
        max_size=60,
    ),
)
def test_the_bound_holds_for_even_drift_whatever_the_two_ways_took(
    offset_us: float, drift_ppm: float, ways: list[tuple[int, int, int]]
) -> None:
    def truth_us(at_us: float) -> float:
        return offset_us + drift_ppm * at_us / 1e6

    kept = Kept(0, HOUR_US)
    for at_us, there_us, back_us in ways:
        middle_us = at_us + (there_us + back_us) / 2
        told_us = truth_us(at_us) + (there_us - back_us) / 2
        kept.add(Sample(middle_us, told_us, there_us + back_us))
    found = fit(kept.samples, 0, HOUR_US)
    assert found is not None
    for at_us in (0, HOUR_US / 2, HOUR_US):
        # The offset changes by less than 0.01 ms within a probe.
        assert abs(found.offset_at(at_us / 1000) - truth_us(at_us) / 1000) <= found.bound_ms + 0.01


def probes(node: str, peer: str, ahead_ms: float, drift_ppm: float, count: int = 120) -> list[Row]:
    """Twice a second: 100 us each way, every third 5 ms longer on the way there. ahead_ms: at T0."""
    rows = []
    for number in range(count):
        t1_us = T0_US + 500_000 * number
        there_us = 5100 if number % 3 == 0 else 100
        shift_us = round(ahead_ms * 1000 + drift_ppm * (t1_us + there_us - T0_US) / 1e6)
        t2_us = t1_us + there_us + shift_us
        times = {"t1_us": t1_us, "t2_us": t2_us, "t3_us": t2_us + 10, "t4_us": t1_us + there_us + 110}
        rows.append(
            {"ts_ms": times["t4_us"] // 1000, "node": node, "peer": peer, "address": "10.0.0.9", **times}
        )
    return rows


def merged(tmp_path: Path, *inputs: Path, is_aligned: bool = False) -> Path:
    (tmp_path / "out").mkdir(exist_ok=True)
    result = merge([str(one) for one in inputs], tmp_path / "out" / "r1", is_aligned=is_aligned)
    assert list(find_problems(result.folder)) == []
    return result.folder


def told(folder: Path) -> Any:
    return json.loads((folder / "quality.json").read_bytes())["merge"]


def rows_of(folder: Path, name: str) -> list[Row]:
    return [json.loads(one) for one in (folder / name).read_bytes().splitlines()]


def test_250_ms_and_50_ppm_are_found_to_a_millisecond(tmp_path: Path) -> None:
    a = made_cctf(tmp_path / "a", "a", {"clock_probes.jsonl": probes("a", "b", 250, 50)})
    b = made_cctf(tmp_path / "b", "b")
    clock = told(merged(tmp_path, a, b))["clock"]
    (pair,) = clock["pairs"]
    truth_ms = 250 + 50 * (clock["at_ms"] - T0) / 1e6
    assert (pair["u"], pair["v"], pair["path"]) == ("a", "b", ["a", "b"])
    assert pair["offset_ms"] == pytest.approx(truth_ms, abs=0.15)
    assert pair["drift_ppm"] == pytest.approx(50, abs=5)
    assert abs(pair["offset_ms"] - truth_ms) <= pair["error_bound_ms"] <= 1


def test_a_clock_that_was_stepped_widens_the_bound_to_hold(tmp_path: Path) -> None:
    rows = probes("a", "b", 0, 0, 60) + [
        {**row, **{key: row[key] + 30_000_000 for key in ("t1_us", "t4_us")}}
        | {key: row[key] + 30_000_000 + 80_000 for key in ("t2_us", "t3_us")}
        | {"ts_ms": row["ts_ms"] + 30_000}
        for row in probes("a", "b", 0, 0, 60)
    ]
    a = made_cctf(tmp_path / "a", "a", {"clock_probes.jsonl": rows})
    (pair,) = told(merged(tmp_path, a, made_cctf(tmp_path / "b", "b")))["clock"]["pairs"]
    # The truth was 0 ms for one half and 80 ms for the other: no line is right to less than half a step.
    assert pair["error_bound_ms"] >= 20


def clock(offset_ms: float, bound_ms: float) -> Row:
    return {"source": "chrony", "synchronised": True, "offset_ms": offset_ms, "error_bound_ms": bound_ms}


def test_time_services_tell_of_two_nodes_that_did_not_probe(tmp_path: Path) -> None:
    a = made_cctf(tmp_path / "a", "a", clock=clock(2.0, 3.0))
    b = made_cctf(tmp_path / "b", "b", clock=clock(-1.0, 4.0))
    c = made_cctf(tmp_path / "c", "c")
    found = told(merged(tmp_path, a, b, c))["clock"]
    assert found["reference"] == "a"
    assert found["pairs"][0] == {
        "u": "a",
        "v": "b",
        "offset_ms": -3.0,
        "drift_ppm": 0.0,
        "error_bound_ms": 7.0,
        "path": ["a", "UTC", "b"],
    }
    assert [(one["u"], one["v"], one["offset_ms"]) for one in found["pairs"][1:]] == [
        ("a", "c", None),
        ("b", "c", None),
    ]


def test_two_nodes_are_compared_over_a_third_that_both_probed(tmp_path: Path) -> None:
    a = made_cctf(tmp_path / "a", "a", {"clock_probes.jsonl": probes("a", "b", 100, 0)})
    b = made_cctf(tmp_path / "b", "b")
    c = made_cctf(tmp_path / "c", "c", {"clock_probes.jsonl": probes("c", "b", 30, 0)})
    pairs = told(merged(tmp_path, c, b, a))["clock"]["pairs"]
    found = {(one["u"], one["v"]): one for one in pairs}
    assert found["a", "c"]["path"] == ["a", "b", "c"]
    assert found["a", "c"]["offset_ms"] == pytest.approx(70, abs=0.01)  # b is 100 ahead of a, and 30 of c


def spans(tmp_path: Path) -> list[Path]:
    """b's clock is 50 ms behind a's, as probes tell; ten calls from a to b take 2 ms each to arrive."""
    calls, served = [], []
    for number in range(10):
        ids = {"trace_id": f"{number:032x}", "span_id": f"{number:016x}"}
        sent = T0 + 100 * number
        calls.append({"ts_enqueue": sent, "node": "a", "ts_end": sent + 10, **ids})
        at = sent + 2 - 50
        times = {"ts_start": at, "ts_end": at + 5, "queue_time_ms": 0, "service_time_ms": 5.25, "rt_ms": 5.25}
        child = {"trace_id": ids["trace_id"], "span_id": f"{number + 100:016x}", "parent_id": ids["span_id"]}
        served.append({"ts_enqueue": at, "node": "b", **child, **times})
    a = made_cctf(tmp_path / "a", "a", {"calls.jsonl": calls, "clock_probes.jsonl": probes("a", "b", -50, 0)})
    return [a, made_cctf(tmp_path / "b", "b", {"invocations.jsonl": served})]


def test_children_that_begin_before_their_parents_are_counted_and_explained_by_the_offset(
    tmp_path: Path,
) -> None:
    found = told(merged(tmp_path, *spans(tmp_path)))["causality"]
    assert found == [{"parent": "a", "child": "b", "spans": 10, "child_first": 10, "beyond_bound": 0}]


def test_what_the_offset_does_not_explain_is_beyond_the_bound(tmp_path: Path) -> None:
    a, b = spans(tmp_path)
    c = made_cctf(tmp_path / "c", "a", {"calls.jsonl": (a / "calls.jsonl").read_bytes()})
    rows = probes("a", "b", 0, 0)
    d = made_cctf(
        tmp_path / "d", "a", {"calls.jsonl": (c / "calls.jsonl").read_bytes(), "clock_probes.jsonl": rows}
    )
    assert told(merged(tmp_path, d, b))["causality"][0]["beyond_bound"] == 10
    assert told(merged(tmp_path, c, b))["causality"][0]["beyond_bound"] is None


def test_aligned_stamps_keep_their_originals_and_their_durations(tmp_path: Path) -> None:
    out = merged(tmp_path, *spans(tmp_path), is_aligned=True)
    first = rows_of(out, "invocations.jsonl")[0]
    assert (first["ts_enqueue"], first["ts_enqueue_orig"]) == (T0 + 2, T0 - 48)
    assert (first["ts_end"], first["ts_end_orig"], first["rt_ms"]) == (T0 + 7, T0 - 43, 5.25)
    assert rows_of(out, "calls.jsonl")[0]["ts_enqueue"] == T0
    found = told(out)
    assert found["causality"] == [
        {"parent": "a", "child": "b", "spans": 10, "child_first": 0, "beyond_bound": 0}
    ]
    assert (found["clock"]["is_aligned"], found["clock"]["not_aligned"]) == (True, [])


def test_a_node_whose_offset_nobody_knows_stays_as_it_is_and_is_told(tmp_path: Path) -> None:
    a, b = spans(tmp_path)
    c = made_cctf(tmp_path / "c", "c", {"proc_rss.jsonl": [rss("c", 0)]})
    out = merged(tmp_path, a, b, c, is_aligned=True)
    assert (out / "proc_rss.jsonl").read_bytes() == line(rss("c", 0))
    assert told(out)["clock"]["not_aligned"] == ["c"]


def test_a_pair_that_both_ends_measured_is_one_link_with_the_lesser_delay(tmp_path: Path) -> None:
    def link(u: str, v: str, delay_s: float) -> Row:
        return {"link": f"{u}--{v}", "u": u, "v": v, "iface": None, "BW_bps": 0, "PR_s": delay_s}

    a = made_cctf(tmp_path / "a", "a", {"links.json": [link("a", "b", 0.002), link("a", "x", 0.1)]})
    b = made_cctf(tmp_path / "b", "b", {"links.json": [link("b", "a", 0.001)]})
    found = json.loads((merged(tmp_path, a, b) / "links.json").read_bytes())
    assert found == [link("a", "b", 0.001), link("a", "x", 0.1)]


def test_parse_makes_a_link_of_the_least_round_trip(tmp_path: Path) -> None:
    rows = probes("vm1", "vm2", 250, 50, 6)
    build(make_run(tmp_path / "r1", {"clock_probes.jsonl": [{**row, "node": "vm1"} for row in rows]}))
    assert list(find_problems(tmp_path / "r1" / "cctf")) == []
    links = json.loads((tmp_path / "r1" / "cctf" / "links.json").read_bytes())
    wanted = {"link": "vm1--vm2", "u": "vm1", "v": "vm2", "iface": None, "BW_bps": 0, "PR_s": 0.0001}
    assert links[1] == wanted  # 100 us each way


# --- the prober itself, on loopback


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def prober(node: str, own: int, peers: str, **env: str) -> "subprocess.Popen[bytes]":
    settings = {"NODE_ID": node, "RUN_ID": "r1", "PEERS": peers, "PEER_PORT": str(own)}
    command = [sys.executable, "-I", ROOT / "tools" / "collectors" / "probe.py"]
    return subprocess.Popen(command, env=clean_environment(**settings, **env), stdout=subprocess.PIPE)


def test_a_shifted_and_drifting_clock_is_recovered_from_real_probes(tmp_path: Path) -> None:
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    need(libraries, "libfaketime is not installed (package faketime)")
    fake = {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME": "+0.25 x1.00005",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    ports = free_port(), free_port()
    began_ms = time.time() * 1000
    a = prober("a", ports[0], f"b=127.0.0.1:{ports[1]}")
    b = prober("b", ports[1], f"127.0.0.1:{ports[0]}", **fake, FAKETIME_NO_CACHE="1")
    select.select([], [], [], 8)
    rows = {}
    for node, process in (("a", a), ("b", b)):
        os.kill(process.pid, signal.SIGTERM)
        text, _ = process.communicate(timeout=10)
        assert process.returncode == 0
        rows[node] = [json.loads(one) | {"node": node} for one in text.splitlines() if one]
    assert min(len(rows["a"]), len(rows["b"])) >= 8
    inputs = [
        made_cctf(
            tmp_path / node, node, {"clock_probes.jsonl": sorted(rows[node], key=lambda row: row["ts_ms"])}
        )
        for node in rows
    ]
    found = told(merged(tmp_path, *inputs))["clock"]
    (pair,) = found["pairs"]
    truth_ms = 250 + 50 * (found["at_ms"] - began_ms) / 1e6
    # b's clock begins to run faster when its process does, a second after began_ms at most: 0.05 ms.
    assert abs(pair["offset_ms"] - truth_ms) <= pair["error_bound_ms"] + 0.1
    assert pair["offset_ms"] == pytest.approx(truth_ms, abs=1)


def test_a_stranger_and_another_run_are_not_answered(tmp_path: Path) -> None:
    own, known = free_port(), free_port()
    process = prober("a", own, f"127.0.0.1:{known}")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        peer.bind(("127.0.0.1", known))
        peer.settimeout(5)
        request, sender = peer.recvfrom(200)
        stranger.sendto(request, sender)
        peer.sendto(request[:12] + bytes(8) + request[20:], sender)  # of another run
        peer.sendto(b"x" * len(request), sender)
        peer.sendto(request, sender)
        kinds = [peer.recv(200)[4] for _ in range(3)]
        stranger.settimeout(0.2)
        with pytest.raises(TimeoutError):
            stranger.recv(200)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=10)
    assert kinds.count(2) == 1  # the one answer; the others are further requests


def test_nobody_is_probed_where_no_peers_are_named() -> None:
    done = subprocess.run(
        [sys.executable, "-I", ROOT / "tools" / "collectors" / "probe.py"],
        env=clean_environment(NODE_ID="a", RUN_ID="r1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "PEERS is not given" in done.stderr


def test_the_documents_of_a_member_keep_their_clock(tmp_path: Path) -> None:
    a = made_cctf(tmp_path / "a", "a", clock=clock(2.0, 3.0))
    out = merged(tmp_path, a)
    (node,) = json.loads((out / "nodes.json").read_bytes())
    assert node["clock"] == clock(2.0, 3.0)
    assert node == node_document("a", machine_id_hash="a" * 64, boot_id="aaaaaaaa-boot", clock=node["clock"])


def test_show_has_a_row_a_node_the_clocks_and_the_calls(tmp_path: Path) -> None:
    shown = list(summarise(merged(tmp_path, *spans(tmp_path)), "out"))
    assert shown[0] == "Run        r1, 2 nodes"
    assert [row.split()[:3] for row in shown[3:5]] == [["a", "edge", "4"], ["b", "edge", "4"]]
    assert shown[4].split()[7] == "10"  # requests
    assert "  b is -50.000 ms from a, to 0.1" in "\n".join(shown)
    assert "Calls      a -> b: 10 calls, 10 arrive before they were sent" in shown
