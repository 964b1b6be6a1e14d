"""Start and stop twice, at once, from elsewhere, without the tools, or with false control state."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Checkout, clean_environment
from live import (
    LO,
    Clean,
    holder_of,
    lines_of,
    marks_of,
    pid_of,
    quality_of,
    shadowed_path,
    start,
    stop,
    wait_for,
)

from tracekit.runs import Run


def test_stop_works_from_another_directory_with_another_environment(
    checkout: Checkout, finished_run: Clean
) -> None:
    start(checkout, "elsewhere", HOME="/root", TMPDIR="/tmp", XDG_STATE_HOME="/tmp/x")
    script = str(checkout.root / "tools" / "collect_sys.sh")
    done = checkout.run("bash", script, "stop", cwd=Path("/"), RUN_ID="elsewhere", HOME="/nonexistent")
    assert done.returncode == 0, done.stderr
    finished_run("elsewhere")


def test_stop_of_a_run_that_never_was_fails_and_makes_nothing(checkout: Checkout) -> None:
    done = checkout.make("stop-collect", "RUN_ID=never-was")
    assert done.returncode == 2
    assert "collect_sys: no such run: logs/never-was does not exist" in done.stderr
    assert not checkout.logs("never-was").exists()


def test_second_stop_does_no_harm(checkout: Checkout) -> None:
    start(checkout, "twice")
    assert checkout.make("stop-collect", "RUN_ID=twice").returncode == 0
    before = (checkout.logs("twice") / "run_meta.json").read_bytes()
    assert checkout.make("stop-collect", "RUN_ID=twice").returncode == 0
    assert (checkout.logs("twice") / "run_meta.json").read_bytes() == before


def test_start_on_a_live_run_appends_with_one_writer_and_a_mark(
    checkout: Checkout, finished_run: Clean
) -> None:
    start(checkout, "again")
    raw = checkout.logs("again") / "resources.jsonl"
    before, first = raw.read_bytes(), pid_of(checkout, "again", "mpstat")
    started_ms = json.loads((checkout.logs("again") / "run_meta.json").read_text())["started_ms"]
    start(checkout, "again")
    assert raw.read_bytes().startswith(before)
    assert not Path(f"/proc/{first}/stat").exists() or b") Z " in Path(f"/proc/{first}/stat").read_bytes()
    assert json.loads((checkout.logs("again") / "run_meta.json").read_text())["started_ms"] == started_ms
    assert len(marks_of(checkout, "again", "restart")) == 1
    assert checkout.make("stop-collect", "RUN_ID=again").returncode == 0
    finished_run("again")
    quality = quality_of(checkout, "again")
    assert quality["balanced"]
    for name in ("cpu", "mem", "nic", "proc"):
        account = quality["collectors"][name]
        assert account["expected"] == account["got"] + account["missing"]
        assert {gap["reason"] for gap in account["gaps"]} <= {"restart"}


def test_two_starts_of_one_run_at_once_leave_one_recorder_and_its_files(
    checkout: Checkout, finished_run: Clean
) -> None:
    command = ["make", "-s", "-C", str(checkout.root), "start-collect", "RUN_ID=race", "IFACE=lo"]
    starts = [subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE) for _ in range(2)]
    assert [one.wait(60) for one in starts] == [0, 0]
    done = checkout.make("stop-collect", "RUN_ID=race")
    assert done.returncode == 0, done.stderr
    finished_run("race")
    meta = json.loads((checkout.logs("race") / "run_meta.json").read_text())
    assert meta["stopped_ms"] > meta["started_ms"]
    assert len(marks_of(checkout, "race", "restart")) == 1


def test_two_starts_without_a_name_at_once_make_two_runs(checkout: Checkout) -> None:
    command = ["make", "-s", "-C", str(checkout.root), "start-collect", "IFACE=lo"]
    before = set((checkout.root / "logs").iterdir())
    starts = [subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE) for _ in range(2)]
    assert [one.wait(60) for one in starts] == [0, 0]
    made = set((checkout.root / "logs").iterdir()) - before
    assert len(made) == 2
    unclear = checkout.make("stop-collect")
    assert "2 runs are live" in unclear.stderr
    for run in made:
        assert checkout.make("stop-collect", f"RUN_ID={run.name}").returncode == 0


def test_tool_that_ends_at_once_stops_the_start_and_leaves_nothing(
    checkout: Checkout, tmp_path: Path, finished_run: Clean
) -> None:
    path = shadowed_path(tmp_path / "bin", "vmstat", "#!/bin/sh\necho broken >&2\nexit 7\n")
    done = checkout.make("start-collect", "RUN_ID=broken", **LO, PATH=path)
    assert done.returncode == 2
    assert "vmstat ended before its first row (exit code 7): broken" in done.stderr
    assert not checkout.logs("broken").exists()
    finished_run("broken")


NO_IFSTAT = "#!/bin/sh\nexit 1\n"


def test_a_failed_start_in_an_apps_directory_leaves_the_apps_documents_alone(
    checkout: Checkout, tmp_path: Path, finished_run: Clean
) -> None:
    folder = checkout.logs("apps")
    folder.mkdir(parents=True)
    modules = b'{"app_id": "refapp", "modules": []}'
    (folder / "module_inventory.json").write_bytes(modules)
    path = shadowed_path(tmp_path / "bin", "ifstat", NO_IFSTAT)
    done = checkout.make("start-collect", "RUN_ID=apps", **LO, PATH=path)
    assert done.returncode == 2
    assert "ifstat ended before its first row (exit code 1)" in done.stderr
    assert {one.name: one.read_bytes() for one in folder.glob("*.json")} == {"module_inventory.json": modules}
    finished_run("apps")
    start(checkout, "apps", NODE_ID="another")  # nothing of the failed one holds
    stop(checkout, "apps")


def test_a_failed_start_on_a_live_run_leaves_it_stopped_by_its_documents_too(
    checkout: Checkout, tmp_path: Path, finished_run: Clean
) -> None:
    start(checkout, "half")
    before_ms = time.time() * 1000
    path = shadowed_path(tmp_path / "bin", "ifstat", NO_IFSTAT)
    assert checkout.make("start-collect", "RUN_ID=half", **LO, PATH=path).returncode == 2
    finished_run("half")
    meta = json.loads((checkout.logs("half") / "run_meta.json").read_text())
    assert before_ms - 1 <= meta["stopped_ms"] <= time.time() * 1000
    clock = json.loads((checkout.logs("half") / "node_meta.json").read_text())["clock"]
    assert clock["stop"] is not None
    assert "was already stopped" in stop(checkout, "half")


@pytest.mark.parametrize("missing", ["mpstat", "vmstat", "ifstat"])
def test_missing_tools_are_named_before_anything_is_started(
    checkout: Checkout, tmp_path: Path, missing: str
) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    for name in ("bash", "make", "env", "awk", "dirname", "ip", "ping", "mpstat", "vmstat", "ifstat", "sh"):
        found = shutil.which(name)
        if found and name != missing:
            (tmp_path / name).symlink_to(found)
    done = checkout.make("start-collect", "RUN_ID=missing", **LO, PATH=str(tmp_path))
    assert done.returncode == 2
    assert f"not found: {missing} (package " in done.stderr
    assert "make setup" in done.stderr
    assert not checkout.logs("missing").exists()


def test_poisoned_control_state_harms_no_stranger(checkout: Checkout, finished_run: Clean) -> None:
    start(checkout, "poison")
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    path = Run("poison", checkout.root).state / "run.json"
    state = json.loads(path.read_text())
    for one in state["collectors"].values():
        one["pid"] = stranger.pid
    path.write_text(json.dumps(state))
    (path.parent / "lock").write_text(f"{stranger.pid}\n")
    checkout.make("stop-collect", "RUN_ID=poison")
    assert stranger.poll() is None
    finished_run("poison")
    path.write_text("not JSON")
    assert checkout.make("stop-collect", "RUN_ID=poison").returncode == 0
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize(
    "state",
    ["[]", "{}", '{"collectors":[]}', '{"collectors":{"mpstat":7}}', '{"collectors":{"mpstat":{"pid":"1"}}}'],
)
def test_control_state_of_another_shape_stops_neither_status_nor_stop(
    checkout: Checkout, finished_run: Clean, state: str
) -> None:
    start(checkout, "shape")
    (Run("shape", checkout.root).state / "run.json").write_text(state)
    shown = checkout.make("status", "RUN_ID=shape")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "run shape: live (recorder pid" in shown.stdout
    assert stop(checkout, "shape") == ""
    finished_run("shape")


def test_pids_that_a_killed_recorder_left_and_a_stranger_has_now_are_not_signalled(
    checkout: Checkout, finished_run: Clean
) -> None:
    start(checkout, "stale")
    holder, path = holder_of(checkout, "stale"), Run("stale", checkout.root).state / "run.json"
    assert holder
    os.kill(holder, signal.SIGKILL)
    assert wait_for(lambda: holder_of(checkout, "stale") is None, 3)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        state = json.loads(path.read_text())
        for one in state["collectors"].values():
            one["pid"] = stranger.pid
        path.write_text(json.dumps(state))
        (path.parent / "lock").write_text(f"{stranger.pid}\n")
        done = checkout.make("stop-collect", "RUN_ID=stale")
        assert done.returncode == 2
        assert "its recorder had died before" in done.stderr
        assert stranger.poll() is None
        stranger.kill()
    finished_run("stale")


@pytest.mark.parametrize("settings", [{"IFACE": "nosuch0"}, {"VM_IP": "203.0.113.77", "IFACE": "nosuch1"}])
def test_a_nic_that_is_not_there_is_refused_with_those_that_are(
    checkout: Checkout, settings: dict[str, str]
) -> None:
    done = checkout.make("start-collect", "RUN_ID=nonic", **settings)
    assert done.returncode == 2
    assert "no such network interface (there are " in done.stderr
    assert not checkout.logs("nonic").exists()


def test_a_container_without_any_engine_is_told_and_costs_no_tick(checkout: Checkout, tmp_path: Path) -> None:
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*"):
            if program.name not in ("docker", "podman") and not (tmp_path / program.name).exists():
                (tmp_path / program.name).symlink_to(program)
    start(checkout, "noengine", CONTAINER="svc", PATH=str(tmp_path))
    time.sleep(2.2)
    said = stop(checkout, "noengine", PATH=str(tmp_path))
    assert "container svc never came" in said
    account = quality_of(checkout, "noengine")["collectors"]["proc"]
    assert account["expected"] >= 2
    assert account["missing"] == 0
    assert lines_of(checkout.logs("noengine") / "proc_metrics.jsonl") == []
