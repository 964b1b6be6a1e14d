"""A run as its user sees it: started, looked at, stopped and parsed by make, in a copy of the checkout."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Checkout

from tracekit.runs import Run

Clean = Callable[[str], None]
LO = {"IFACE": "lo"}


def start(checkout: Checkout, run_id: str, **more: str) -> None:
    done = checkout.make("start-collect", f"RUN_ID={run_id}", **{**LO, **more})
    assert done.returncode == 0, done.stderr


def stop(checkout: Checkout, run_id: str, **more: str) -> str:
    """Stop the run; what was said."""
    done = checkout.make("stop-collect", f"RUN_ID={run_id}", **more)
    assert done.returncode == 0, done.stderr
    return done.stderr


def state_of(checkout: Checkout, run_id: str) -> dict[str, Any]:
    return Run(run_id, checkout.root).told()


def pid_of(checkout: Checkout, run_id: str, collector: str) -> int:
    return int(state_of(checkout, run_id)["collectors"][collector]["pid"])


def holder_of(checkout: Checkout, run_id: str) -> int | None:
    """The pid of the run's recorder, from the kernel."""
    return Run(run_id, checkout.root).holder()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def marks_of(checkout: Checkout, run_id: str, kind: str) -> list[dict[str, Any]]:
    return [mark for mark in lines_of(checkout.logs(run_id) / "marks.jsonl") if mark["kind"] == kind]


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def quality_of(checkout: Checkout, run_id: str) -> dict[str, Any]:
    done = checkout.make("parse", f"RUN_ID={run_id}")
    assert done.returncode == 0, done.stderr
    return dict(json.loads((checkout.logs(run_id) / "cctf" / "quality.json").read_text()))


def shadowed_path(folder: Path, name: str, script: str) -> str:
    """A PATH on which a program of ours stands before the real one."""
    folder.mkdir()
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def assert_law(quality: dict[str, Any]) -> None:
    assert quality["balanced"]
    assert quality["collectors"].keys() == {"cpu", "mem", "nic", "proc"}
    for account in quality["collectors"].values():
        assert account["expected"] == account["got"] + account["missing"]
        told_ms = sum(gap["to_ms"] - gap["from_ms"] for gap in account["gaps"])
        assert (told_ms > 0) == (account["missing"] > 0)


def assert_ticks_are_made(account: dict[str, Any]) -> None:
    """The account of a series is whole, and 95 % of its rows are there."""
    assert account["expected"] == account["got"] + account["missing"]
    assert account["expected"] >= 4
    assert account["got"] >= 0.95 * account["expected"], account


def cpu_rows(checkout: Checkout, run_id: str, pid: int) -> list[dict[str, Any]]:
    rows = lines_of(checkout.logs(run_id) / "cctf" / "proc_cpu.jsonl")
    return [row for row in rows if row["pid"] == pid]


def raw_rows(checkout: Checkout, run_id: str, pid: int) -> list[dict[str, Any]]:
    rows = lines_of(checkout.logs(run_id) / "proc_metrics.jsonl")
    return [row for row in rows if row["pid"] == pid]
