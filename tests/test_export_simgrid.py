"""A platform that SimGrid loads, and requests that end there when the numbers say so."""

import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from conftest import ROOT, need
from runs import T0, Row, tool
from test_validate_names import write_cctf

from tracekit.errors import DONE, FAILED, REJECTED

DEBIAN_PYTHON = "/usr/bin/python3"  # where the package python3-simgrid puts its module
NODES = [
    {
        "node_id": "edge0",
        "stage": "edge",
        "cpu_cores": 2,
        "mem_mb": 1,
        "cpu_model": None,
        "cpu_freq_mhz": 2000,
    },
    {
        "node_id": "cloud0",
        "stage": "cloud",
        "cpu_cores": 1,
        "mem_mb": 1,
        "cpu_model": None,
        "cpu_freq_mhz": 1000,
    },
]


def nic(node: str, bps: int, delay_s: float | None) -> Row:
    return {
        "link": f"{node}.nic",
        "u": node,
        "v": "10.0.0.9",
        "iface": "eth0",
        "BW_bps": bps,
        "PR_s": delay_s,
    }


LINKS = [nic("edge0", 800_000_000, 0.001), nic("cloud0", 800_000_000, None)]


def request(
    at_ms: int, node: str, cpu_ms: float | None, span: str, parent: str | None = None, **more: Any
) -> Row:
    stamps = {"ts_enqueue": T0 + at_ms, "ts_start": T0 + at_ms, "ts_end": T0 + at_ms + 40}
    durations = {"queue_time_ms": 0, "service_time_ms": 40, "rt_ms": 40}
    ids = {"trace_id": "t", "span_id": span, "parent_id": parent}
    return {**stamps, **durations, **ids, "node": node, "cpu_time_ms": cpu_ms, **more}


# A at the edge calls B in the cloud 20 ms later, by the call C: 10 and 5 ms of CPU, 1 MB there, 2 MB back.
CHAIN = [
    request(0, "edge0", 10.0, "A", bytes_in=7, bytes_out=9),
    request(20, "cloud0", 5.0, "B", "C", bytes_in=1_000_000, bytes_out=2_000_000),
]
CALLS = [
    {
        "ts_enqueue": T0 + 19,
        "ts_end": T0 + 61,
        "node": "edge0",
        "trace_id": "t",
        "span_id": "C",
        "parent_id": "A",
    }
]


def data_set(folder: Path, requests: list[Row], links: list[Row] | None = None, nodes: Any = NODES) -> Path:
    files = {"nodes.json": nodes, "links.json": LINKS if links is None else links, "calls.jsonl": CALLS}
    return write_cctf(folder / "r1", {**files, "invocations.jsonl": requests}, ["edge0", "cloud0"])


def export(folder: Path, **env: str) -> tuple[int, Path, str]:
    done = tool("exporters/simgrid.py", str(folder), **env)
    return done.returncode, folder / "exports" / "simgrid", done.stdout + done.stderr


def simulate(folder: Path, *words: str) -> dict[str, Any]:
    there = (
        Path(DEBIAN_PYTHON).exists()
        and not subprocess.run(
            [DEBIAN_PYTHON, "-c", "import simgrid"], capture_output=True, check=False
        ).returncode
    )
    need(there, "SimGrid's module for Python (apt-get install python3-simgrid)")
    command = [DEBIAN_PYTHON, ROOT / "tests" / "simgrid_run.py", folder, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_platform_and_requests(tmp_path: Path) -> None:
    """A flop is a cycle: 10 ms at 2000 MHz are 2e7, 5 ms at 1000 MHz 5e6. 800 Mbit/s are 1e8 bytes/s."""
    code, folder, said = export(data_set(tmp_path, CHAIN))
    assert code == DONE, said
    assert (folder / "requests.csv").read_text().splitlines() == [
        "id,parent,host,arrive_s,flops,bytes_in,bytes_out,start_s,end_s,trace_id,span_id",
        "1,,edge0,0.000,20000000,7,9,0.000,0.040,t,A",
        "2,1,cloud0,0.020,5000000,1000000,2000000,0.020,0.060,t,B",
    ]
    zone = ET.parse(folder / "platform.xml").getroot().find("zone")
    assert zone is not None
    assert {one.get("id"): one.get("value") for one in zone.iter("prop")} == {
        "run_id": "r1",
        "epoch_ms": str(T0),
    }
    assert [dict(one.attrib) for one in zone.iter("host")] == [
        {"id": "cloud0", "speed": "1000000000f", "core": "1"},
        {"id": "edge0", "speed": "2000000000f", "core": "2"},
    ]
    links = {one.get("id"): (one.get("bandwidth"), one.get("latency")) for one in zone.iter("link")}
    assert links["edge0.nic"] == links["cloud0.nic"] == ("100000000Bps", "0s")
    assert links["edge0--cloud0.delay"][1] == links["cloud0--edge0.delay"][1] == "0.001s"
    route = next(one for one in zone.iter("route") if one.get("src") == "edge0")
    assert [(one.get("id"), one.get("direction")) for one in route] == [
        ("edge0.nic", "UP"),
        ("cloud0.nic", "DOWN"),
        ("edge0--cloud0.delay", None),
    ]


def test_simgrid_ends_each_request_when_the_numbers_say(tmp_path: Path) -> None:
    """B: 20 ms + (10 + 1) there + 5 at work + (20 + 1) back."""
    _, folder, _ = export(data_set(tmp_path, CHAIN))
    result = simulate(folder)
    assert result["finished"] == 2
    assert result["cpu_s"] == pytest.approx(0.015)
    assert result["ends"] == pytest.approx({"1": 0.010, "2": 0.057})


def test_a_measured_pair_takes_the_place_of_the_nics(tmp_path: Path) -> None:
    """400 Mbit/s, 2 ms: 20 ms + (20 + 2) + 5 + (40 + 2)."""
    pair = {
        "link": "edge0--cloud0",
        "u": "edge0",
        "v": "cloud0",
        "iface": None,
        "BW_bps": 400_000_000,
        "PR_s": 0.002,
    }
    _, folder, _ = export(data_set(tmp_path, CHAIN, [*LINKS, pair]))
    assert simulate(folder)["ends"]["2"] == pytest.approx(0.089)


def test_requests_in_are_requests_out_and_so_is_their_cpu(tmp_path: Path) -> None:
    """400 requests of 0.1 to 4.9 ms at once on 2 cores: the cores are never idle before the last ones."""
    requests = [request(0, "edge0", 0.1 * (number % 49 + 1), f"s{number}") for number in range(400)]
    cpu_s = sum(0.1 * (number % 49 + 1) for number in range(400)) / 1000
    code, folder, said = export(data_set(tmp_path, requests))
    assert code == DONE, said
    result = simulate(folder, "together")
    assert result["finished"] == 400
    assert result["cpu_s"] == pytest.approx(cpu_s)
    assert result["clock"] == pytest.approx(cpu_s / 2, rel=0.01)


def test_what_a_link_is_not_known_to_take_is_not_invented(tmp_path: Path) -> None:
    folder = data_set(tmp_path, CHAIN, [nic("edge0", 0, 0.001), nic("cloud0", 800_000_000, None)])
    code, exported, said = export(folder)
    assert code == FAILED and not exported.exists()
    assert "bandwidth from cloud0 to edge0 is unknown" in said
    code, exported, said = export(folder, IMPUTE="1")
    assert code == DONE, said
    assert "imputed              2  a bandwidth that takes no time, first cloud0--edge0" in said
    assert simulate(exported)["ends"]["2"] == pytest.approx(0.057)  # the cloud's NIC is as slow as it was


def test_a_way_that_nobody_went_needs_no_link(tmp_path: Path) -> None:
    alone = [request(0, "edge0", 10.0, "A"), request(5, "cloud0", 5.0, "B")]
    code, folder, said = export(data_set(tmp_path, alone, []))
    assert code == DONE, said
    assert "left out             4  a route of unknown bandwidth or delay that no request took" in said
    assert simulate(folder)["finished"] == 2


def test_a_request_whose_cpu_nobody_knows_is_refused(tmp_path: Path) -> None:
    requests = [*CHAIN, request(30, "edge0", None, "D"), request(40, "other", 1.0, "E")]
    code, folder, said = export(data_set(tmp_path, requests))
    assert code == REJECTED
    assert "refused              1  an invocation without cpu_time_ms, first invocations.jsonl:3" in said
    assert "an invocation on a node that nodes.json does not have" in said
    assert len((folder / "requests.csv").read_text().splitlines()) == 3


def test_the_clock_rate_comes_from_the_node_or_from_you(tmp_path: Path) -> None:
    nodes = [{**NODES[0], "cpu_freq_mhz": None}, NODES[1]]
    folder = data_set(tmp_path, CHAIN, nodes=nodes)
    code, _, said = export(folder)
    assert code == FAILED and "edge0: cpu_freq_mhz is unknown" in said
    code, exported, said = export(folder, CPU_MHZ="3000")
    assert code == DONE and "a clock rate of 3000 MHz, from CPU_MHZ, first edge0" in said
    assert ",30000000," in (exported / "requests.csv").read_text()


def test_a_job_inside_a_job_keeps_its_cpu_to_itself(tmp_path: Path) -> None:
    """The outer one's 10 ms, as wait4 told, hold the 4 ms of the inner one."""
    jobs = [
        request(0, "edge0", 10.0, "A", source="run_task"),
        request(5, "edge0", 4.0, "B", "A", source="run_task"),
    ]
    code, folder, said = export(data_set(tmp_path, jobs))
    assert code == DONE, said
    assert "counted             10  CPU ms of requests" in said
    flops = [line.split(",")[4] for line in (folder / "requests.csv").read_text().splitlines()[1:]]
    assert flops == ["12000000", "8000000"]
