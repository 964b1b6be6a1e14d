"""The recorder killed or stopped, and the signals that the shell which launched a run sends or gets."""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Checkout, clean_environment, need
from live import Clean, holder_of, marks_of, quality_of, start, state_of, stop, wait_for
from workload import FULL, has_terminals


def test_killed_recorder_takes_its_collectors_along_and_stop_says_so(
    checkout: Checkout, finished_run: Clean
) -> None:
    start(checkout, "orphans", PROC_MATCH="nothing-like-this")
    holder = holder_of(checkout, "orphans")
    assert holder is not None
    os.kill(holder, signal.SIGKILL)
    assert wait_for(lambda: holder_of(checkout, "orphans") is None, 2.0)
    assert "run orphans: stopped" in checkout.make("status", "RUN_ID=orphans").stdout
    done = checkout.make("stop-collect", "RUN_ID=orphans")
    assert done.returncode == 2
    assert "its recorder had died before" in done.stderr
    finished_run("orphans")
    assert checkout.make("stop-collect", "RUN_ID=orphans").returncode == 0


def test_a_recorder_that_stood_still_blames_no_collector(checkout: Checkout) -> None:
    start(checkout, "still")
    before = {name: one["pid"] for name, one in state_of(checkout, "still")["collectors"].items()}
    holder = holder_of(checkout, "still")
    assert holder is not None
    os.kill(holder, signal.SIGSTOP)
    time.sleep(13)
    os.kill(holder, signal.SIGCONT)
    time.sleep(2.5)
    after = {name: one["pid"] for name, one in state_of(checkout, "still")["collectors"].items()}
    assert after == before
    assert checkout.make("stop-collect", "RUN_ID=still").returncode == 0
    (mark,) = marks_of(checkout, "still", "stall")
    assert mark["collector"] == "recorder"
    assert "rows came late and were left out" in mark["detail"]
    quality = quality_of(checkout, "still")
    assert quality["inputs"]["resources.jsonl"]["duplicates"] == 0
    for name in ("cpu", "mem", "nic"):
        assert quality["collectors"][name]["missing"] >= 11
        assert {gap["reason"] for gap in quality["collectors"][name]["gaps"]} == {"stall"}


def sessions(checkout: Checkout, run_id: str) -> dict[int, int]:
    """Process -> its session, of all that collect into the run and live."""
    told = state_of(checkout, run_id)["collectors"].values()
    pids = [holder_of(checkout, run_id), *(one["pid"] for one in told)]
    return {pid: os.getsid(pid) for pid in pids}


def launch(checkout: Checkout, run_id: str, then: str) -> str:
    """A script that starts the run and then does something to itself."""
    make = f"make --no-print-directory -C {shlex.quote(str(checkout.root))}"
    return f"{make} start-collect RUN_ID={run_id} IFACE=lo; echo launched $$; {then}"


LAUNCHERS = {
    "INT": ["setsid", "-w", "bash", "-c"],
    "TERM": ["setsid", "-w", "bash", "-c"],
    "HUP": ["setsid", "-w", "bash", "-c"],
    "terminal": ["script", "-qec"],
}


@pytest.mark.parametrize("how", LAUNCHERS)
def test_what_becomes_of_the_shell_that_launched_a_run_is_nothing_to_the_run(
    checkout: Checkout, finished_run: Clean, how: str
) -> None:
    need(shutil.which("script"), "script(1) (package bsdutils)")
    need(how != "terminal" or has_terminals(), "a pty (/dev/pts)")
    for trial in range(20 if FULL else 2):
        run_id = f"group-{how}-{trial}"
        is_terminal = how == "terminal"
        # Every process of the group gets the signal; of a terminal that goes, every one gets SIGHUP.
        script = launch(checkout, run_id, "sleep 60" if is_terminal else f"kill -{how} 0; sleep 60")
        command = [*LAUNCHERS[how], script, *(["/dev/null"] if is_terminal else [])]
        with subprocess.Popen(
            command, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as launcher:
            assert launcher.stdout
            said = b""
            while b"launched" not in said:
                line = launcher.stdout.readline()
                assert line, said
                said += line
            group = int(said.split(b"launched")[1].split()[0])
            if is_terminal:
                launcher.kill()  # and with script(1) goes its side of the terminal
        before = sessions(checkout, run_id)
        assert wait_for(lambda group=group: not Path(f"/proc/{group}").exists(), 5)
        time.sleep(5 if FULL else 1.5)
        assert sessions(checkout, run_id) == before
        assert group not in before.values()
        assert len(set(before.values())) == len(before) == 5  # recorder, three tools, sampler: each its own
        assert all(state(pid) not in "ZX" for pid in before)
        assert stop(checkout, run_id) == ""
        finished_run(run_id)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_start_that_is_interrupted_leaves_a_live_run_or_nothing(
    checkout: Checkout, finished_run: Clean, signum: signal.Signals
) -> None:
    for trial in range(20 if FULL else 3):
        run_id = f"interrupted-{signum}-{trial}"
        command = ["make", "-s", "-C", str(checkout.root), "start-collect", f"RUN_ID={run_id}", "IFACE=lo"]
        with subprocess.Popen(
            command, env=clean_environment(), start_new_session=True, stderr=subprocess.DEVNULL
        ) as starting:
            time.sleep(random.uniform(0.1, 3.5))
            with suppress(ProcessLookupError):
                os.killpg(starting.pid, signum)
        starting.wait(60)
        assert wait_for(lambda group=starting.pid: not members(group), 20)
        is_live = holder_of(checkout, run_id) is not None  # the signal came too late
        if is_live:
            meta = json.loads((checkout.logs(run_id) / "run_meta.json").read_text())
            assert meta["started_ms"] is not None
            stop(checkout, run_id)
        finished_run(run_id)
        assert checkout.logs(run_id).exists() == is_live


def members(group: int) -> list[int]:
    """Processes of the group that live; make may end before what it called."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] not in "ZX":
                found.append(int(path.parent.name))
    return found
