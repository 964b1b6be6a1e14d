"""The recorder killed or stopped, and the signals that the shell which launched a run sends or gets."""

import os
import signal
import subprocess
import time

from conftest import Checkout, clean_environment
from live import Clean, holder_of, marks_of, quality_of, start, state_of, wait_for


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


def test_signals_to_the_group_that_launched_the_run_do_not_end_it(checkout: Checkout) -> None:
    script = 'make --no-print-directory start-collect RUN_ID=group IFACE=lo; trap "" INT TERM HUP; '
    script += "kill -INT 0; kill -TERM 0; kill -HUP 0"
    done = subprocess.run(
        ["setsid", "-w", "bash", "-c", script], cwd=checkout.root, env=clean_environment(), check=False
    )
    assert done.returncode == 0
    time.sleep(1.5)
    assert "live" in checkout.make("status", "RUN_ID=group").stdout
    assert checkout.make("stop-collect", "RUN_ID=group").returncode == 0
