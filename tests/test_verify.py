"""Real against simulated: figures known beforehand, gates, and comparisons that prove nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from conftest import need
from hypothesis import given
from hypothesis import strategies as st
from replayed import T0, Row, invocation, write_dataset
from runs import tool

from tracekit.verify.statistics import (
    error_pct,
    interval,
    ks_distance,
    quantile,
    sections,
    smape_pct,
    wape_pct,
)

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=40)


def test_figures_by_hand() -> None:
    assert quantile([5, 1, 4, 2, 3], 50) == 3
    assert quantile(list(range(1, 101)), 95) == 95
    assert error_pct(50, 53.5) == pytest.approx(7)
    assert error_pct(0, 1) is None
    assert ks_distance([1, 2, 3, 4], [3, 4, 5, 6]) == 0.5
    assert smape_pct([10, 0, 30], [30, 0, 30]) == 50
    assert wape_pct([10, 20], [12, 17]) == pytest.approx(100 * 5 / 30)
    assert [list(part) for part in sections(range(20))][:2] == [[0, 1], [2, 3]]


def test_an_interval_is_students() -> None:
    """Ten parts 1..10: mean 5.5, standard deviation 3.02765; 2.262 * 3.02765 / sqrt(10) = 2.1657."""
    low, high = interval(5.5, [float(part) for part in range(1, 11)]) or (0, 0)
    assert (low, high) == (pytest.approx(3.3343, abs=1e-3), pytest.approx(7.6657, abs=1e-3))
    assert interval(5.5, [*range(9), None]) is None


@given(VALUES, VALUES)
def test_ks_is_the_largest_gap_between_the_distributions(real: list[float], sim: list[float]) -> None:
    def below(values: list[float], at: float) -> float:
        return sum(value <= at for value in values) / len(values)

    expected = max(abs(below(real, at) - below(sim, at)) for at in real + sim)
    assert ks_distance(real, sim) == pytest.approx(expected)


@given(VALUES)
def test_a_series_is_no_distance_from_itself(values: list[float]) -> None:
    assert ks_distance(values, values) == 0
    assert not smape_pct(values, values)
    assert not wape_pct(values, values)


def queueing_run(folder: Path, seed: int = 1, speed: float = 1.0) -> Path:
    """2000 requests on one core with their waits, by Lindley's recursion; CPU by process too."""
    dice, at, free, rows, cpu = Random(seed), 0.0, 0.0, [], {}
    for number in range(2000):
        at = round(at + dice.expovariate(1 / 20))
        work = round(dice.expovariate(1 / 14), 3) / speed
        start = max(at, free)
        free = start + work
        waits = {"queue_time_ms": start - at, "service_time_ms": work, "rt_ms": free - at}
        stamps = {"ts_start": T0 + int(start), "ts_end": T0 + int(free), "queue_source": "proxy", "pid": 7}
        rows.append(invocation(at, work, number, **waits, **stamps))
        cpu[int(start // 1000)] = cpu.get(int(start // 1000), 0.0) + work
    used = [
        {"ts_ms": T0 + 1000 * second + 1000, "node": "vm1", "pid": 7, "cpu_ms": ms, "dt_ms": 1000}
        | {"starttime": 1, "source": "poll"}
        for second, ms in sorted(cpu.items())
    ]
    write_dataset(folder, {"invocations.jsonl": rows, "proc_cpu.jsonl": used})
    return folder


def verify(folder: Path, **env: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the findings by name, and stderr."""
    path = folder / "exports" / "verify.json"
    path.unlink(missing_ok=True)
    done = tool("verify.py", str(folder), **env)
    told = json.loads(path.read_text()) if path.exists() else {"findings": [], "floor": []}
    findings = {one["name"]: one for one in told["findings"]}
    findings["verdict"] = told.get("verdict")
    return done.returncode, findings, done.stderr


@pytest.fixture
def replayed_run(tmp_path: Path) -> Path:
    folder = queueing_run(tmp_path / "r1")
    done = tool("replay.py", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def change(folder: Path, name: str, how: Callable[[Row], None]) -> None:
    path = folder / "exports" / "replay" / name
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        how(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_replay_of_one_core_is_the_run_again(replayed_run: Path) -> None:
    code, found, _ = verify(replayed_run)
    assert (code, found["verdict"]) == (0, "PASS")
    for name in ("wait p50", "wait p95", "wait p99", "response p50", "response p95", "makespan"):
        assert abs(found[name]["error"]) < 0.01, name
        assert found[name]["verdict"] == "PASS"
        assert found[name]["n"] == [2000, 2000]
    assert abs(found["CPU-seconds"]["error"]) < 0.01
    assert found["wait p50"]["interval"] is not None


@pytest.mark.parametrize("error", [7, -7])
def test_an_injected_error_is_reported_as_it_is(replayed_run: Path, error: int) -> None:
    def scale(row: Row) -> None:
        for name in ("queue_time_ms", "rt_ms"):
            row[name] *= 1 + error / 100

    change(replayed_run, "invocations.jsonl", scale)
    code, found, _ = verify(replayed_run)
    for name in ("wait p50", "wait p95", "wait p99", "response p50", "response p95", "response p99"):
        assert found[name]["error"] == pytest.approx(error, abs=0.5), name
        low, high = found[name]["interval"]
        assert low - 1e-6 <= error <= high + 1e-6
    verdicts = [found[name]["verdict"] for name in ("wait p50", "wait p95", "wait p99", "response p50")]
    assert (code, verdicts) == (1, ["FAIL", "PASS", "PASS", "PASS"])


def test_an_injected_error_of_cpu_and_of_the_makespan_too(replayed_run: Path) -> None:
    path = replayed_run / "exports" / "replay" / "summary.json"
    summary = json.loads(path.read_text())
    summary["nodes"]["vm1"]["cpu_s"] *= 1.07
    path.write_text(json.dumps(summary))
    change(replayed_run, "host_metrics.jsonl", lambda row: row.update(cpu_util=row["cpu_util"] * 1.07))
    makespan = summary["makespan_ms"]
    change(
        replayed_run,
        "invocations.jsonl",
        lambda row: row.update(ts_enqueue=T0 + int((row["ts_enqueue"] - T0) * 1.07)),
    )
    code, found, _ = verify(replayed_run)
    assert code == 1
    assert found["CPU-seconds"]["error"] == pytest.approx(7, abs=0.5)
    assert found["makespan"]["error"] == pytest.approx(7, abs=0.5)
    assert found["makespan"]["real"] == pytest.approx(makespan, rel=1e-3)


def test_gates_are_the_users(replayed_run: Path, tmp_path: Path) -> None:
    change(
        replayed_run, "invocations.jsonl", lambda row: row.update(queue_time_ms=row["queue_time_ms"] * 1.07)
    )
    gates = tmp_path / "gates.json"
    gates.write_text('{"wait_p50_pct":8}')
    assert verify(replayed_run, GATES=str(gates))[0] == 0
    gates.write_text('{"wait_p50_pct":null,"wait_p51_pct":1}')
    code, _, message = verify(replayed_run, GATES=str(gates))
    assert code == 1
    assert "wait_p51_pct" in message
    assert "wait_p50_pct, wait_p95_pct" in message


def test_what_proves_nothing_is_refused(replayed_run: Path, tmp_path: Path) -> None:
    code, _, message = verify(replayed_run, SIM=str(replayed_run / "cctf"))
    assert code == 1
    assert "recorded data set, no simulation" in message
    replay = replayed_run / "exports" / "replay"
    own = (replayed_run / "cctf" / "invocations.jsonl").read_bytes()
    kept = (replay / "invocations.jsonl").read_bytes()
    (replay / "invocations.jsonl").write_bytes(own)
    assert "held against itself" in verify(replayed_run)[2]
    (replay / "invocations.jsonl").write_bytes(kept)
    summary = json.loads((replay / "summary.json").read_text())
    hashed = summary["input"]
    (replay / "summary.json").write_text(json.dumps({**summary, "trained_on": [hashed]}))
    assert "fitted on this very run" in verify(replayed_run)[2]
    (replay / "summary.json").write_text(json.dumps({**summary, "simulated": None}))
    assert "does not say that this is simulated" in verify(replayed_run)[2]
    assert "no simulation here" in verify(replayed_run, SIM=str(tmp_path))[2]


def test_recorded_delays_are_not_judged_as_predictions(tmp_path: Path) -> None:
    rows = [
        invocation(100 * at, 5.0, at, service_time_ms=50.0, rt_ms=50.0, ts_end=T0 + 100 * at + 50)
        for at in range(100)
    ]
    folder = tmp_path / "r1"
    write_dataset(folder, {"invocations.jsonl": rows})
    assert tool("replay.py", str(folder)).returncode == 0
    _, found, _ = verify(folder)
    assert found["response p50"]["verdict"] == "input: 90 % recorded delay"
    assert found["CPU-seconds"]["verdict"] == "input: no process was sampled"
    assert found["wait p50"]["verdict"] == "the run tells of no queueing"
    assert found["makespan"]["verdict"] == "PASS"


# --- OpenDC's output


def opendc(folder: Path, tasks: list[Row], hosts: list[Row], policy: str = "Perfect") -> Path:
    """An output as OpenDC lays it out, with the experiment above it."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        need(False, "pyarrow (`tools/setup.sh sim`)")
    raw = folder / "output" / "r1" / "raw-output" / "0" / "seed=0"
    raw.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(tasks), raw / "task.parquet")
    parquet.write_table(pa.Table.from_pylist(hosts), raw / "host.parquet")
    (folder / "experiment.json").write_text(json.dumps({"workloads": [{"scalingPolicy": policy}]}))
    return raw


def task(submitted: int, wait: int, ran: int, state: str = "COMPLETED") -> Row:
    return {
        "submission_time": submitted,
        "schedule_time": submitted + wait,
        "finish_time": submitted + wait + ran,
        "task_state": state,
    }


def jobs(folder: Path) -> Path:
    """Ten jobs, one every 10 s, which wait 2 s and run 5 s on one core."""
    stamps = [(T0 + 10_000 * at, T0 + 10_000 * at + 2000, T0 + 10_000 * at + 7000) for at in range(10)]
    rows = [
        invocation(10_000 * at, 5000.0, at, queue_time_ms=2000.0, service_time_ms=5000.0, rt_ms=7000.0)
        | {"ts_start": start, "ts_end": end, "queue_source": "slurm", "pid": 9}
        for at, (_, start, end) in enumerate(stamps)
    ]
    used = [
        {"ts_ms": start + 1000 * at, "node": "vm1", "pid": 9, "cpu_ms": 1000.0, "dt_ms": 1000, "starttime": 1}
        | {"source": "poll"}
        for _, start, _ in stamps
        for at in range(1, 6)
    ]
    write_dataset(folder, {"invocations.jsonl": rows, "proc_cpu.jsonl": used})
    return folder


def host_rows(seconds: int) -> list[Row]:
    """Half of two cores in use from 2 s to 7 s of every ten."""
    return [
        {"timestamp": 1000 * at, "timestamp_absolute": T0 + 1000 * at, "host_name": "vm1", "core_count": 2}
        | {"cpu_utilization": 0.5 if 2 < (at - 1) % 10 + 1 <= 7 else 0.0}
        for at in range(1, seconds + 1)
    ]


@pytest.mark.parametrize("dialect", ["relative", "absolute", "absolute with a delay"])
def test_opendc_in_each_dialect_of_time(tmp_path: Path, dialect: str) -> None:
    folder = jobs(tmp_path / "r1")
    tasks = [task(10_000 * at, 2000, 5000) for at in range(10)]
    if dialect != "relative":
        tasks = [{**one, "submission_time": one["submission_time"] + T0} for one in tasks]
    if dialect.endswith("delay"):
        tasks = [{**one, "scheduling_delay": 2000} for one in tasks]
    unfinished = task(tasks[0]["submission_time"], 0, 0, "RUNNING")  # a sample of one that goes on
    raw = opendc(folder / "exports" / "opendc", [unfinished, *tasks], host_rows(100))
    code, found, message = verify(folder, SIM=str(raw))
    assert code == 0, message
    for name, value in (
        ("wait p50", 2000),
        ("response p95", 7000),
        ("makespan", 97_000),
        ("CPU-seconds", 50),
    ):
        assert (found[name]["real"], found[name]["sim"]) == (value, value), name
        assert found[name]["verdict"] == "PASS"
    assert found["CPU of vm1, WAPE"]["error"] == 0


def test_opendc_that_repeats_its_input_is_not_judged_by_it(tmp_path: Path) -> None:
    folder = jobs(tmp_path / "r1")
    tasks = [task(10_000 * at, 2000, 5000) for at in range(10)]
    raw = opendc(folder / "exports" / "opendc", tasks, host_rows(100), "NoDelay")
    _, found, _ = verify(folder, SIM=str(raw))
    assert found["CPU-seconds"]["verdict"] == found["response p50"]["verdict"] == "input: NoDelay"
    assert found["wait p50"]["verdict"] == "PASS"
