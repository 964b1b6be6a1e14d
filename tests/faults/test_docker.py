"""Containers that come late, are started again, replaced, paused, or never come, with a real engine."""

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Checkout
from containers import docker, processes, removed_after, run, usage_ms
from live import lines_of, marks_of, quality_of, start, stop, wait_for
from workload import TICK_MS

BUSY = ("sh", "-c", "while :; do :; done & wait")  # two processes
TWO_TICKS_MS = 2500  # and some for finding them on a busy machine


@pytest.fixture
def name() -> Iterator[str]:
    with removed_after("tracekit-test") as free:
        yield free


def sampled(checkout: Checkout, run_id: str) -> dict[tuple[int, int], list[int]]:
    """(pid, starttime) -> the times of its rows."""
    times = defaultdict(list)
    for row in lines_of(checkout.logs(run_id) / "proc_metrics.jsonl"):
        times[row["pid"], row["starttime"]].append(row["ts_ms"])
    return times


def lasting(times: dict[tuple[int, int], list[int]]) -> set[tuple[int, int]]:
    """Those that more than one tick saw: a tick may see a process that only starts the container."""
    return {identity for identity, stamps in times.items() if len(stamps) > 1}


def born_ms(identities: set[tuple[int, int]]) -> float:
    """When the last one of these processes was born, by the wall clock."""
    boot_ms = (time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)) * 1000
    return boot_ms + max(starttime for _, starttime in identities) * TICK_MS


def marked(checkout: Checkout, run_id: str) -> list[tuple[str, str | None]]:
    """(kind, reason) of the marks about the container."""
    rows = lines_of(checkout.logs(run_id) / "marks.jsonl")
    return [(row["kind"], row["reason"]) for row in rows if row["kind"].startswith("container_")]


def test_a_container_that_starts_late_is_followed_from_its_second_tick(
    checkout: Checkout, base_image: str, name: str
) -> None:
    start(checkout, "late", CONTAINER=name)
    assert wait_for(lambda: marks_of(checkout, "late", "container_absent"), 5)
    container_id = run(name, base_image, *BUSY)
    truth = processes(name, 2)
    time.sleep(3)
    stop(checkout, "late")
    rows = sampled(checkout, "late")
    assert lasting(rows) == truth
    assert max(rows[one][0] for one in truth) - born_ms(truth) < TWO_TICKS_MS
    assert marked(checkout, "late") == [("container_absent", "never seen"), ("container_found", None)]
    (found,) = marks_of(checkout, "late", "container_found")
    assert container_id in found["detail"]
    quality = quality_of(checkout, "late")
    assert quality["collectors"]["proc"]["missing"] == 0
    assert [one["kind"] for one in quality["marks"]] == ["container_absent", "container_found"]


@pytest.mark.parametrize("same", [True, False], ids=["started again", "replaced by another of its name"])
def test_the_new_processes_are_followed_without_refresh_and_nothing_is_counted_across(
    checkout: Checkout, base_image: str, name: str, same: bool
) -> None:
    run_id = "again-same" if same else "again-other"
    first_id = run(name, base_image, *BUSY)
    start(checkout, run_id, CONTAINER=name, PROC_REFRESH="0")
    before = processes(name, 2)
    time.sleep(2.5)
    if same:
        docker("restart", "--time", "1", name)
    else:
        docker("rm", "--force", name)
        run(name, base_image, *BUSY)
    after = processes(name, 2)
    time.sleep(3)
    stop(checkout, run_id)
    rows = sampled(checkout, run_id)
    assert lasting(rows) == before | after
    assert max(rows[one][0] for one in after) - born_ms(after) < TWO_TICKS_MS
    reason = "same id" if same else "another id"
    assert marked(checkout, run_id) == [("container_found", None), ("container_restart", reason)]
    quality = quality_of(checkout, run_id)
    assert "reset" not in {one["kind"] for one in quality["marks"]}
    for row in lines_of(checkout.logs(run_id) / "cctf" / "proc_cpu.jsonl"):
        assert row["cpu_ms"] <= row["dt_ms"] + 2 * TICK_MS  # each has one thread
    counted = lines_of(checkout.logs(run_id) / "cctf" / "cgroup_metrics.jsonl")
    assert {row["container"] for row in counted} == {first_id, docker_id(name)}


def docker_id(name: str) -> str:
    return docker("inspect", "--format", "{{.Id}}", name).strip()


def test_a_paused_container_is_told_and_uses_nothing(checkout: Checkout, base_image: str, name: str) -> None:
    run(name, base_image, *BUSY)
    start(checkout, "paused", CONTAINER=name)
    time.sleep(1.5)
    docker("pause", name)
    time.sleep(3.2)
    docker("unpause", name)
    time.sleep(2.2)
    stop(checkout, "paused")
    told = [("container_found", None), ("container_paused", None), ("container_resumed", None)]
    assert marked(checkout, "paused") == told
    quality_of(checkout, "paused")
    (mark,) = marks_of(checkout, "paused", "container_resumed")
    assert mark["to_ms"] - mark["from_ms"] == pytest.approx(3200, abs=1300)
    used = [
        row["cpu_ms"]
        for row in lines_of(checkout.logs("paused") / "cctf" / "proc_cpu.jsonl")
        if mark["from_ms"] < row["ts_ms"] < mark["to_ms"]
    ]
    assert len(used) >= 2
    assert sum(used) <= 2 * TICK_MS
    counted = lines_of(checkout.logs("paused") / "cgroup_metrics.jsonl")
    assert counted[-1]["usage_us"] - counted[0]["usage_us"] > 1_000_000  # before and after it was at work


def test_a_container_that_never_comes_is_told_by_status_and_by_stop(
    checkout: Checkout, base_image: str, name: str
) -> None:
    start(checkout, "absent", CONTAINER=name)
    assert wait_for(lambda: marks_of(checkout, "absent", "container_absent"), 5)
    shown = checkout.make("status", "RUN_ID=absent").stdout
    assert f"container {name} is not there; looking for it each second" in shown
    assert f"container {name} never came" in stop(checkout, "absent")
    assert lines_of(checkout.logs("absent") / "proc_metrics.jsonl") == []
    assert lines_of(checkout.logs("absent") / "cgroup_metrics.jsonl") == []
    quality = quality_of(checkout, "absent")
    assert {one["kind"] for one in quality["marks"]} == {"container_absent"}
    assert quality["collectors"]["proc"]["missing"] == 0


def test_an_engine_that_fails_does_not_end_what_is_known(
    checkout: Checkout, base_image: str, name: str, tmp_path: Path
) -> None:
    fake = tmp_path / "docker"
    fake.write_text(f'#!/bin/sh\n[ -e "{tmp_path}/bad" ] && exit 1\nexec {shutil.which("docker")} "$@"\n')
    fake.chmod(0o755)
    run(name, base_image, *BUSY)
    start(checkout, "engine", CONTAINER=name, PATH=f"{tmp_path}:{os.environ['PATH']}")
    before = processes(name, 2)
    assert wait_for(lambda: lasting(sampled(checkout, "engine")) == before, 5)
    (tmp_path / "bad").touch()
    docker("restart", "--time", "0", name)
    after = processes(name, 2)
    time.sleep(2.3)
    stop(checkout, "engine")
    assert lasting(sampled(checkout, "engine")) == before | after
    assert marked(checkout, "engine") == [("container_found", None), ("container_restart", "same id")]


HANGING = """#!/usr/bin/python3
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
"""


def test_an_engine_that_hangs_costs_no_tick_and_does_not_outlive_the_run(
    checkout: Checkout, finished_run: Callable[[str], None], tmp_path: Path
) -> None:
    fake = tmp_path / "docker"
    fake.write_text(HANGING)
    fake.chmod(0o755)
    start(checkout, "hanging", CONTAINER="svc", PATH=f"{tmp_path}:{os.environ['PATH']}")
    messages = checkout.logs("hanging") / "procmon.err"
    assert wait_for(lambda: "docker does not tell of container svc: no answer" in messages.read_text(), 8)
    time.sleep(1.5)  # it is asked again
    stop(checkout, "hanging")
    finished_run("hanging")
    assert quality_of(checkout, "hanging")["collectors"]["proc"]["missing"] == 0


# Two processes that compute for a while, say what they have used by their own account, and then rest.
ACCOUNT = """
import os, resource, signal, time
child = os.fork() == 0
while time.process_time() < (0.5 if child else 1.0):
    pass
used = resource.getrusage(resource.RUSAGE_SELF)
print("used", (used.ru_utime + used.ru_stime) * 1000, flush=True)
signal.pause()
"""


def own_account(name: str, lines: int) -> list[float]:
    """What the processes have said so far, ms, when they have said it all."""

    def said() -> list[float]:
        return [float(line.split()[1]) for line in docker("logs", name).splitlines() if "used" in line]

    assert wait_for(lambda: len(said()) == lines, 20)
    return said()


def test_cpu_is_the_processes_own_account_and_the_cgroups_across_a_restart(
    checkout: Checkout, base_image: str, name: str
) -> None:
    start(checkout, "sums", CONTAINER=name, PROC_REFRESH="1")
    container_id = run(name, base_image, "python3", "-c", ACCOUNT)
    identities, counted = [], []
    for instance in (1, 2):
        truth = own_account(name, 2 * instance)
        time.sleep(1.2)
        identities.append(processes(name, 2))
        counted.append(usage_ms(container_id))
        if instance == 1:
            docker("restart", "--time", "0", name)
    docker("rm", "--force", name)
    time.sleep(1.2)
    stop(checkout, "sums")
    quality_of(checkout, "sums")
    sums: dict[tuple[int, int], float] = defaultdict(float)
    for row in lines_of(checkout.logs("sums") / "cctf" / "proc_cpu.jsonl"):
        sums[row["pid"], row["starttime"]] += row["cpu_ms"]
    assert sums.keys() >= identities[0] | identities[1]
    told = cgroup_maxima(lines_of(checkout.logs("sums") / "cctf" / "cgroup_metrics.jsonl"))
    for instance in (0, 1):
        own_ms = sum(truth[2 * instance : 2 * instance + 2])
        used_ms = sum(sums[one] for one in identities[instance])
        assert used_ms == pytest.approx(own_ms, abs=4 * TICK_MS)  # two ticks each
        assert told[instance] == pytest.approx(counted[instance], abs=2)
        # What the runtime used in the first process before it joined the cgroup is in that one's account.
        assert counted[instance] - 4 * TICK_MS <= used_ms <= counted[instance] + 4 * TICK_MS + 60


def cgroup_maxima(rows: list[dict[str, Any]]) -> list[float]:
    """The last usage of each start of the container, ms: it falls where the container is started again."""
    used = [row["usage_us"] / 1000 for row in rows]
    return [one for one, following in zip(used, [*used[1:], -1], strict=True) if following < one]
