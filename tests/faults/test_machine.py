"""What the machine does to a run: it stands still, is booted anew, allows no process, clears /var/tmp."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Checkout, need
from live import (
    LO,
    Clean,
    assert_law,
    cpu_rows,
    holder_of,
    marks_of,
    pid_of,
    quality_of,
    start,
    stop,
    wait_for,
)
from runs import snapshot
from services import processes_of
from workload import children

from tracekit.runs import Run

Make = Callable[[str], Path]


@pytest.fixture
def cgroup() -> Iterator[Make]:
    """Makes a cgroup of a controller, v1 or v2; whoever is in it goes back before it is removed."""
    made: list[Path] = []

    def make(controller: str) -> Path:
        parent = Path("/sys/fs/cgroup", controller)
        if not parent.is_dir():
            parent = parent.parent
        need(os.access(parent / "cgroup.procs", os.W_OK), "cgroups of its own need root")
        if controller == "pids" and parent.name != "pids":
            (parent / "cgroup.subtree_control").write_text("+pids")
        folder = parent / f"tracekit-test-{os.getpid()}"
        folder.mkdir()
        made.append(folder)
        return folder

    yield make
    for folder in made:
        for pid in (folder / "cgroup.procs").read_text().split():
            (folder.parent / "cgroup.procs").write_text(pid)
        folder.rmdir()


def freeze(folder: Path, is_frozen: bool) -> None:
    """Let a cgroup stand still, or go on."""
    if (folder / "freezer.state").exists():
        (folder / "freezer.state").write_text("FROZEN" if is_frozen else "THAWED")
    else:
        (folder / "cgroup.freeze").write_text(f"{is_frozen:d}")


def test_a_machine_that_stands_still_is_a_gap_and_no_cpu_is_invented(
    checkout: Checkout, tmp_path: Path, cgroup: Make, finished_run: Clean
) -> None:
    freezer = cgroup("freezer")
    with children(tmp_path, "tk-frozen", [b"tk-frozen"], is_busy=True) as (busy,):
        start(checkout, "frozen", PROC_MATCH="^tk-frozen$")
        time.sleep(1.2)
        for pid in (*processes_of("frozen"), busy):
            (freezer / "cgroup.procs").write_text(str(pid))
        freeze(freezer, True)
        from_ms = time.time() * 1000
        try:
            time.sleep(4)
        finally:
            to_ms = time.time() * 1000
            freeze(freezer, False)
        time.sleep(2.2)
        stop(checkout, "frozen")
    finished_run("frozen")
    quality = quality_of(checkout, "frozen")
    assert_law(quality)
    for name, account in quality["collectors"].items():
        assert 3 <= account["missing"] <= 5, (name, account)
        assert {gap["reason"] for gap in account["gaps"]} == {"stall"}, name
    assert [mark["reason"] for mark in marks_of(checkout, "frozen", "died")] == []
    rows = [row for row in cpu_rows(checkout, "frozen", busy) if row["source"] == "poll"]
    (across,) = [row for row in rows if row["ts_ms"] - row["dt_ms"] < from_ms and row["ts_ms"] > to_ms - 100]
    assert across["dt_ms"] > 3900
    assert across["cpu_ms"] <= across["dt_ms"] - 3900  # it could use none while it was frozen


def test_a_collector_that_cannot_be_started_again_is_tried_until_it_can(
    checkout: Checkout, cgroup: Make, finished_run: Clean
) -> None:
    pids = cgroup("pids")
    start(checkout, "nofork")
    recorder, first = holder_of(checkout, "nofork"), pid_of(checkout, "nofork", "mpstat")
    (pids / "cgroup.procs").write_text(str(recorder))
    (pids / "pids.max").write_text("0")  # fork fails: EAGAIN
    os.kill(first, signal.SIGKILL)
    log = Run("nofork", checkout.root).state / "recorder.log"
    assert wait_for(lambda: "mpstat: cannot be started: Resource temporarily un" in log.read_text(), 4)
    assert holder_of(checkout, "nofork") == recorder
    assert "down: killed by signal 9" in checkout.make("status", "RUN_ID=nofork").stdout
    (pids / "pids.max").write_text("max")
    assert wait_for(lambda: marks_of(checkout, "nofork", "restart"), 8)
    assert "mpstat was started again (killed by signal 9)" in stop(checkout, "nofork")
    finished_run("nofork")
    quality = quality_of(checkout, "nofork")
    assert_law(quality)
    assert quality["collectors"]["cpu"]["missing"] >= 1
    assert {gap["reason"] for gap in quality["collectors"]["cpu"]["gaps"]} == {"restart"}
    assert all(quality["collectors"][name]["missing"] <= 1 for name in ("mem", "nic", "proc"))


@pytest.mark.parametrize("what", ["lock", ""], ids=["the lock", "all of it"])
def test_a_live_run_whose_control_state_is_removed_is_found_again_and_stopped(
    checkout: Checkout, finished_run: Clean, what: str
) -> None:
    run_id = f"cleared-{what}"
    start(checkout, run_id)
    recorder, state = holder_of(checkout, run_id), Run(run_id, checkout.root).state
    if what:
        (state / what).unlink()
    else:
        shutil.rmtree(state)
    assert wait_for(lambda: holder_of(checkout, run_id) == recorder, 3)
    shown = checkout.make("status", f"RUN_ID={run_id}").stdout
    assert f"live (recorder pid {recorder})" in shown
    assert shown.count(" running ") == 4
    assert stop(checkout, run_id) == ""
    finished_run(run_id)
    assert all(account["missing"] <= 1 for account in quality_of(checkout, run_id)["collectors"].values())


def test_a_start_on_a_run_whose_control_state_was_just_removed_leaves_one_recorder(
    checkout: Checkout, finished_run: Clean
) -> None:
    start(checkout, "usurped")
    first = holder_of(checkout, "usurped")
    shutil.rmtree(Run("usurped", checkout.root).state)
    start(checkout, "usurped")
    assert wait_for(lambda: not Path(f"/proc/{first}").exists(), 4)
    assert holder_of(checkout, "usurped") is not None
    assert len(processes_of("usurped")) == 5  # the recorder, three tools, the sampler
    shown = checkout.make("status", "RUN_ID=usurped").stdout
    assert shown.count(" running ") == 4
    assert stop(checkout, "usurped") == ""
    finished_run("usurped")
    assert quality_of(checkout, "usurped")["balanced"]


ANOTHER_BOOT = """
mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"
"""


@pytest.fixture
def earlier(checkout: Checkout, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """make in another boot: an id of its own, and monotonic clocks that are behind or ahead."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("11111111-2222-4333-8444-555555555555\n")

    def make(ahead_s: int, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
        clocks = [f"--boottime={ahead_s}", f"--monotonic={ahead_s}"]
        inside = ["sh", "-c", ANOTHER_BOOT, "sh", str(boot_id)]
        command = ["make", "--no-print-directory", "-C", str(checkout.root), *words]
        return checkout.run("unshare", "--mount", "--time", *clocks, "--fork", *inside, *command, **env)

    can = make(0, "--version").returncode == 0
    need(can, "a time namespace and a boot id of its own need root and Linux 5.6")
    return make


@pytest.mark.parametrize("ahead_s", [-60, 86400])
def test_a_run_that_a_power_cut_ended_is_not_gone_on_with_and_its_gap_is_as_long_as_it_was(
    checkout: Checkout,
    earlier: Callable[..., "subprocess.CompletedProcess[str]"],
    finished_run: Clean,
    ahead_s: int,
) -> None:
    run_id = f"power{ahead_s}"
    done = earlier(ahead_s, "start-collect", f"RUN_ID={run_id}", **LO)
    assert done.returncode == 0, done.stderr
    time.sleep(2.2)
    holder = holder_of(checkout, run_id)
    assert holder
    os.kill(holder, signal.SIGKILL)
    time.sleep(2)
    before = snapshot(checkout.logs(run_id))
    again = checkout.make("start-collect", f"RUN_ID={run_id}", **LO)
    assert again.returncode == 2
    assert "recorded in another boot of the machine: choose another RUN_ID" in again.stderr
    assert snapshot(checkout.logs(run_id)) == before
    stopped = checkout.make("stop-collect", f"RUN_ID={run_id}")
    assert "its recorder had died before; the rest of the run is a gap" in stopped.stderr
    finished_run(run_id)
    quality = quality_of(checkout, run_id)
    assert_law(quality)
    meta = json.loads((checkout.logs(run_id) / "run_meta.json").read_text())
    lasted_s = (meta["stopped_ms"] - meta["started_ms"]) / 1000
    assert 4 <= lasted_s < 60
    for account in quality["collectors"].values():
        assert abs(account["expected"] - lasted_s) <= 2
        assert {gap["reason"] for gap in account["gaps"]} == {"died"}
    assert all(quality["collectors"][name]["got"] >= 2 for name in ("cpu", "mem", "nic"))
