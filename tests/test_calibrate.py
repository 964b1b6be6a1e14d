"""Parameters that are known are found again, from runs that a recursion of our own made with them."""

import json
import math
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest
from conftest import Checkout
from replayed import T0, Row, invocation, write_dataset
from runs import tool

from tracekit.calibrate import fit
from tracekit.dataset import open_dataset
from tracekit.errors import UsageError

OVERHEAD_MS, FIRST_MS, DELAY_MS, SPEED = 0.4, 0.6, 1.5, 0.8


def made(
    folder: Path, rho: float, seed: int, count: int = 3000, speed: float = SPEED, noise: float = 0.0
) -> Path:
    """A run of one core of a machine with two: FIFO, an overhead, a dearer first request of a busy period,
    a delay. noise: of the natural logarithm of what the client saw, the same for 300 requests in a row.

    Lindley's recursion with an exceptional first service (Welch 1964). The client saw the whole of it, the
    server cpu_time_ms alone, and the kernel the CPU."""
    dice, at, free, factor = Random(seed), 0.0, 0.0, 1.0
    disturbed = Random(-seed)
    clients: list[Row] = []
    served: list[Row] = []
    cpu: dict[int, float] = {}
    for number in range(count):
        at += dice.expovariate(rho * speed / (3.0 + OVERHEAD_MS))
        cpu_ms = dice.choice([1.0, 2.0, 6.0])
        work = cpu_ms + OVERHEAD_MS + (FIRST_MS if at >= free else 0.0)
        start = max(at, free)
        free = start + work / speed
        cpu[int(start // 1000)] = cpu.get(int(start // 1000), 0.0) + work
        if number % 300 == 0:
            factor = math.exp(disturbed.gauss(0, noise))
        latency = (free - at + DELAY_MS) * factor
        ids: dict[str, Any] = {"trace_id": f"{number:032x}", "span_id": f"c{number}"}
        sent = {"ts_enqueue": T0 + int(at), "ts_enqueue_us": T0 * 1000 + int(at * 1000), "node": "vm1"}
        clients.append({**sent, **ids, "latency_ms": latency, "status": 200})
        times = {"service_time_ms": cpu_ms + 0.1, "rt_ms": cpu_ms + 0.1, "parent_id": f"c{number}", "pid": 7}
        served.append(invocation(start, cpu_ms, number, **times))
    used = [
        {"ts_ms": T0 + 1000 * second + 1000, "node": "vm1", "pid": 7, "cpu_ms": ms, "dt_ms": 1000}
        | {"starttime": 1, "source": "poll"}
        for second, ms in sorted(cpu.items())
    ]
    series = {"events_client.jsonl": clients, "invocations.jsonl": served, "proc_cpu.jsonl": used}
    node = {"node_id": "vm1", "stage": "cloud", "cpu_cores": 2, "mem_mb": 1, "cpu_model": None}
    write_dataset(folder, series, nodes=[{**node, "cpu_freq_mhz": None}])
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    home = tmp_path_factory.mktemp("runs")
    return [
        made(home / name, rho, seed)
        for seed, (name, rho) in enumerate({"low": 0.2, "mid": 0.6, "high": 0.85}.items())
    ]


def test_known_parameters_are_found_and_predict_another_load(three: list[Path]) -> None:
    low, mid, high = (open_dataset(folder / "cctf") for folder in three)
    found = fit([low, mid], high)
    node = found.parameters.nodes["vm1"]
    assert (found.parameters.policy, node.cores) == ("fifo", 1)
    assert node.overhead_cpu_ms == pytest.approx(OVERHEAD_MS, abs=0.05)
    assert node.first_cpu_ms == pytest.approx(FIRST_MS, abs=0.05)
    assert node.speed == pytest.approx(SPEED, abs=0.02)
    assert node.delay_ms == pytest.approx(DELAY_MS, abs=0.1)
    assert [one.run_id for one in found.parameters.trained_on] == ["low", "mid"]


@pytest.mark.parametrize(("speed", "near"), [(0.8, 0.05), (1.0, 0.01)])
def test_of_the_speeds_that_disturbed_runs_do_not_tell_apart_the_one_nearest_to_1_is_taken(
    tmp_path: Path, speed: float, near: float
) -> None:
    """The speed that comes nearest to these two runs of a whole core is 0.98."""
    low, mid = (made(tmp_path / f"{rho}", rho, seed, 3000, speed, 0.1) for seed, rho in ((7, 0.2), (8, 0.6)))
    high = open_dataset(made(tmp_path / "high", 0.85, 9, 300, speed) / "cctf")
    found = fit([open_dataset(folder / "cctf") for folder in (low, mid)], high, "fifo", 1)
    assert found.parameters.nodes["vm1"].speed == pytest.approx(speed, abs=near)


def test_one_run_alone_tells_the_overhead_as_one_figure(three: list[Path]) -> None:
    """Of 0.4 ms for each and 0.6 for each that found the core idle it can only tell the sum."""
    mid, high = (open_dataset(folder / "cctf") for folder in three[1:])
    node = fit([mid], high, "fifo", 1).parameters.nodes["vm1"]
    assert node.first_cpu_ms == 0
    assert OVERHEAD_MS < node.overhead_cpu_ms < OVERHEAD_MS + FIRST_MS


def test_a_run_is_not_judged_by_what_it_was_fitted_on(three: list[Path], tmp_path: Path) -> None:
    low, mid, _ = (open_dataset(folder / "cctf") for folder in three)
    shutil.copytree(three[1] / "cctf", tmp_path / "renamed" / "cctf")
    for held_out in (mid, open_dataset(tmp_path / "renamed" / "cctf")):
        with pytest.raises(UsageError, match="are the same run"):
            fit([low, mid], held_out)


def test_the_command_writes_what_replay_takes(three: list[Path], checkout: Checkout) -> None:
    for folder in three:
        shutil.copytree(folder, checkout.logs(folder.name))
    done = checkout.make("calibrate", "RUN_ID=high", "TRAIN=low mid", POLICY="fifo", CORES="1")
    assert done.returncode == 0, done.stderr
    assert "fitted on low, mid: fifo" in done.stdout
    exports = checkout.logs("high") / "exports"
    report = json.loads((exports / "verify.json").read_text())
    errors = {one["name"]: one["error"] for one in report["findings"]}
    assert abs(errors["response p50"]) < 10
    assert abs(errors["response p95"]) < 20
    assert abs(errors["CPU-seconds"]) < 2
    before = (exports / "replay" / "invocations.jsonl").read_bytes()
    done = checkout.make("replay", "RUN_ID=high", f"PARAMS={exports / 'calibrate.json'}")
    assert done.returncode == 0, done.stderr
    assert (exports / "replay" / "invocations.jsonl").read_bytes() == before
    done = checkout.make("replay", "RUN_ID=low", f"PARAMS={exports / 'calibrate.json'}")
    assert done.returncode == 0, done.stderr
    done = checkout.make("verify", "RUN_ID=low")
    assert done.returncode == 2
    assert "fitted on this very run" in done.stderr


@pytest.mark.parametrize(
    ("train", "code", "message"),
    [("", 2, 'TRAIN="run1 run2"'), ("../x", 2, "must be names of runs"), ("nowhere", 1, "no data set here")],
)
def test_what_does_not_fit_is_one_message(three: list[Path], train: str, code: int, message: str) -> None:
    done = tool("calibrate.py", str(three[2]), TRAIN=train)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
    assert message in done.stderr
