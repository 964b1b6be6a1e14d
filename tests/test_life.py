"""The life of a run, for real: start, status, stop, and what may go wrong between them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Checkout, clean_environment

Clean = Callable[[str], None]
TOOLS = {"mpstat": "mpstat 1", "vmstat": "vmstat -Sm -t 1", "ifstat": "ifstat -i lo 1"}
LO = {"IFACE": "lo"}


def start(checkout: Checkout, run_id: str, **more: str) -> None:
    done = checkout.make("start-collect", f"RUN_ID={run_id}", **{**LO, **more})
    assert done.returncode == 0, done.stderr


def state_of(checkout: Checkout, run_id: str) -> dict[str, Any]:
    from tracekit.runs import Run  # noqa: PLC0415 - not needed where tests are only collected

    return Run(run_id, checkout.root).told()


def pid_of(checkout: Checkout, run_id: str, collector: str) -> int:
    return int(state_of(checkout, run_id)["collectors"][collector]["pid"])


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


def test_three_tools_run_while_a_run_is_live_and_none_after(checkout: Checkout, finished_run: Clean) -> None:
    start(checkout, "tools")
    for tool, command in TOOLS.items():
        cmdline = Path(f"/proc/{pid_of(checkout, 'tools', tool)}/cmdline").read_bytes()
        assert cmdline.rstrip(b"\0").replace(b"\0", b" ").decode() == command
    done = checkout.make("stop-collect", "RUN_ID=tools")
    assert (done.returncode, done.stderr) == (0, "")
    finished_run("tools")


def test_start_returns_when_every_collector_has_given_a_row(checkout: Checkout) -> None:
    start(checkout, "ready")
    folder = checkout.logs("ready")
    assert lines_of(folder / "links.jsonl")
    assert any("cpu_util" in row for row in lines_of(folder / "resources.jsonl"))
    assert any("mem_free_mb" in row for row in lines_of(folder / "resources.jsonl"))
    assert (folder / "proc_metrics.jsonl").read_bytes() == b""
    assert json.loads((folder / "run_meta.json").read_text())["started_ms"] % 1000 == 0
    assert checkout.make("stop-collect", "RUN_ID=ready").returncode == 0


def test_more_of_the_host_is_recorded_where_it_is_asked_for_and_only_there(
    checkout: Checkout, finished_run: Clean
) -> None:
    start(checkout, "extras", HOST_EXTRAS="1")
    folder = checkout.logs("extras")
    assert wait_for(lambda: len(lines_of(folder / "host_extra.jsonl")) >= 4, 8)
    shown = checkout.make("status", "RUN_ID=extras").stdout.splitlines()
    rows_shown = {words[0]: int(words[2]) for line in shown if (words := line.split())[1] == "running"}
    assert 4 <= rows_shown["host"] <= 6
    assert 4 <= rows_shown["ifstat"] <= 7  # not the rows of the other NICs
    assert checkout.make("stop-collect", "RUN_ID=extras").returncode == 0
    finished_run("extras")
    assert set(quality_of(checkout, "extras")["collectors"]) == {"cpu", "mem", "nic", "proc"}
    assert checkout.make("validate", "RUN_ID=extras").returncode == 0
    node = json.loads((folder / "node_meta.json").read_text())["node"]
    rows = lines_of(folder / "cctf" / "host_extra.jsonl")
    assert all(row["node"] == node and len(row["core_util_pct"]) >= os.cpu_count() for row in rows)
    assert all(row["ts_ms"] % 1000 < 500 for row in rows)
    links = {one["link"] for one in json.loads((folder / "cctf" / "links.json").read_text())}
    assert {row["link"] for row in lines_of(folder / "cctf" / "link_metrics.jsonl")} <= links
    start(checkout, "noextras")
    assert checkout.make("stop-collect", "RUN_ID=noextras").returncode == 0
    assert not (checkout.logs("noextras") / "host_extra.jsonl").exists()


def test_stop_works_from_another_directory_with_another_environment(
    checkout: Checkout, finished_run: Clean
) -> None:
    start(checkout, "elsewhere", HOME="/root", TMPDIR="/tmp", XDG_STATE_HOME="/tmp/x")
    script = str(checkout.root / "tools" / "collect_sys.sh")
    done = checkout.run("bash", script, "stop", cwd=Path("/"), RUN_ID="elsewhere", HOME="/nonexistent")
    assert done.returncode == 0, done.stderr
    finished_run("elsewhere")


def test_stop_of_a_run_that_never_was_fails_and_makes_nothing(checkout: Checkout) -> None:
    done = checkout.make("stop-collect", "RUN_ID=never")
    assert done.returncode == 2
    assert "collect_sys: no such run: logs/never does not exist" in done.stderr
    assert not checkout.logs("never").exists()


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


def test_start_on_a_finished_run_refuses_another_node(checkout: Checkout) -> None:
    start(checkout, "node", NODE_ID="a")
    assert checkout.make("stop-collect", "RUN_ID=node").returncode == 0
    before = {path: path.read_bytes() for path in checkout.logs("node").iterdir()}
    done = checkout.make("start-collect", "RUN_ID=node", "NODE_ID=b", **LO)
    assert done.returncode == 2
    assert "recorded with NODE_ID=a, not b" in done.stderr
    assert {path: path.read_bytes() for path in checkout.logs("node").iterdir()} == before


def test_without_a_run_id_start_invents_one_and_the_others_take_it(checkout: Checkout) -> None:
    before = set((checkout.root / "logs").glob("*"))
    started = checkout.make("start-collect", **LO)
    assert started.returncode == 0, started.stderr
    (made,) = set((checkout.root / "logs").glob("*")) - before
    assert f"RUN_ID={made.name}" in started.stdout
    assert f"run {made.name}: live" in checkout.make("status").stdout
    assert checkout.make("stop-collect").returncode == 0
    assert checkout.make("parse").returncode == 0
    assert checkout.make("validate").returncode == 0
    assert set((checkout.root / "logs").glob("*")) - before == {made}


def test_killed_tool_is_restarted_within_two_seconds_and_its_gap_is_told(checkout: Checkout) -> None:
    start(checkout, "killed")
    first = pid_of(checkout, "killed", "mpstat")
    os.kill(first, signal.SIGKILL)
    assert wait_for(lambda: pid_of(checkout, "killed", "mpstat") != first, 2.0)
    assert wait_for(lambda: marks_of(checkout, "killed", "restart"), 4.0)
    assert "down" not in checkout.make("status", "RUN_ID=killed").stdout
    time.sleep(1.2)
    done = checkout.make("stop-collect", "RUN_ID=killed")
    assert done.returncode == 0
    assert "mpstat was started again (killed by signal 9)" in done.stderr
    (died,), (restart,) = marks_of(checkout, "killed", "died"), marks_of(checkout, "killed", "restart")
    assert died["collector"] == restart["collector"] == "cpu"
    assert died["reason"] == "killed by signal 9"
    quality = quality_of(checkout, "killed")
    cpu = quality["collectors"]["cpu"]
    assert cpu["missing"] >= 1
    assert cpu["expected"] == cpu["got"] + cpu["missing"]
    assert {gap["reason"] for gap in cpu["gaps"]} == {"restart"}
    assert quality["collectors"]["mem"]["missing"] <= 1


def test_killed_recorder_takes_its_collectors_along_and_stop_says_so(
    checkout: Checkout, finished_run: Clean
) -> None:
    from tracekit.runs import Run  # noqa: PLC0415

    start(checkout, "orphans", PROC_MATCH="nothing-like-this")
    holder = Run("orphans", checkout.root).holder()
    assert holder is not None
    os.kill(holder, signal.SIGKILL)
    assert wait_for(lambda: Run("orphans", checkout.root).holder() is None, 2.0)
    assert "run orphans: stopped" in checkout.make("status", "RUN_ID=orphans").stdout
    done = checkout.make("stop-collect", "RUN_ID=orphans")
    assert done.returncode == 2
    assert "its recorder had died before" in done.stderr
    finished_run("orphans")
    assert checkout.make("stop-collect", "RUN_ID=orphans").returncode == 0


def shadowed_path(folder: Path, name: str, script: str) -> str:
    """A PATH on which a program of ours stands before the real one."""
    folder.mkdir()
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


STUBBORN = """#!/bin/bash
trap '' TERM
echo '00:00:01 CPU %usr %iowait %idle'
while :; do echo '00:00:02 all 1.00 0.00 99.00'; sleep 1; done
"""


def test_tool_that_ignores_term_is_killed_and_it_is_said(
    checkout: Checkout, tmp_path: Path, finished_run: Clean
) -> None:
    start(checkout, "stubborn", PATH=shadowed_path(tmp_path / "bin", "mpstat", STUBBORN))
    began = time.monotonic()
    done = checkout.make("stop-collect", "RUN_ID=stubborn")
    assert done.returncode == 0, done.stderr
    assert "mpstat did not end at SIGTERM and was killed" in done.stderr
    assert time.monotonic() - began < 10
    finished_run("stubborn")


def test_tool_that_ends_at_once_stops_the_start_and_leaves_nothing(
    checkout: Checkout, tmp_path: Path, finished_run: Clean
) -> None:
    path = shadowed_path(tmp_path / "bin", "vmstat", "#!/bin/sh\necho broken >&2\nexit 7\n")
    done = checkout.make("start-collect", "RUN_ID=broken", **LO, PATH=path)
    assert done.returncode == 2
    assert "vmstat ended before its first row (exit code 7): broken" in done.stderr
    assert not checkout.logs("broken").exists()
    finished_run("broken")


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


@pytest.mark.parametrize("settings", [{"IFACE": "nosuch0"}, {"VM_IP": "203.0.113.77", "IFACE": "nosuch1"}])
def test_a_nic_that_is_not_there_is_refused_with_those_that_are(
    checkout: Checkout, settings: dict[str, str]
) -> None:
    done = checkout.make("start-collect", "RUN_ID=nonic", **settings)
    assert done.returncode == 2
    assert "no such network interface (there are " in done.stderr
    assert not checkout.logs("nonic").exists()


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


def test_poisoned_control_state_harms_no_stranger(checkout: Checkout, finished_run: Clean) -> None:
    from tracekit.runs import Run  # noqa: PLC0415

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


def test_removed_run_directory_ends_the_run_and_is_said(checkout: Checkout, finished_run: Clean) -> None:
    from tracekit.runs import Run  # noqa: PLC0415

    start(checkout, "vanished")
    shutil.rmtree(checkout.logs("vanished"))
    assert wait_for(lambda: Run("vanished", checkout.root).holder() is None, 5.0)
    finished_run("vanished")
    assert "was removed or renamed" in str(state_of(checkout, "vanished")["error"])
    start(checkout, "vanished")  # a removed directory is a new run
    assert checkout.make("stop-collect", "RUN_ID=vanished").returncode == 0
    assert marks_of(checkout, "vanished", "restart") == []


def test_clean_refuses_a_live_run(checkout: Checkout) -> None:
    start(checkout, "alive")
    done = checkout.make("clean", "RUN_ID=alive")
    assert done.returncode == 2
    assert "is live; stop it first" in done.stderr
    assert checkout.make("stop-collect", "RUN_ID=alive").returncode == 0
    assert checkout.make("clean", "RUN_ID=alive").returncode == 0
    assert not checkout.logs("alive").exists()


def test_collector_never_samples_itself(checkout: Checkout) -> None:
    start(checkout, "self", PROC_MATCH="make|bash|python|stat|setpriv|proc.py", PROC_REFRESH="1")
    time.sleep(1.1)
    own = {one["pid"] for one in state_of(checkout, "self")["collectors"].values()}
    from tracekit.runs import Run  # noqa: PLC0415

    own.add(Run("self", checkout.root).holder())
    assert checkout.make("stop-collect", "RUN_ID=self").returncode == 0
    seen = lines_of(checkout.logs("self") / "proc_inventory.jsonl")
    assert not own & {row["pid"] for row in seen}
    assert not [row for row in seen if "RUN_ID=self" in str(row.get("cmdline"))]
    assert "left out" in (checkout.logs("self") / "procmon.err").read_text()


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


def test_a_recorder_that_stood_still_blames_no_collector(checkout: Checkout) -> None:
    from tracekit.runs import Run  # noqa: PLC0415

    start(checkout, "still")
    before = {name: one["pid"] for name, one in state_of(checkout, "still")["collectors"].items()}
    holder = Run("still", checkout.root).holder()
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


def test_settings_that_rows_depend_on_hold_for_the_whole_run(checkout: Checkout) -> None:
    start(checkout, "same", STAGE="edge", PROC_INTERVAL_MS="500")
    assert checkout.make("stop-collect", "RUN_ID=same").returncode == 0
    done = checkout.make("start-collect", "RUN_ID=same", "STAGE=cloud")
    assert done.returncode == 2
    assert "recorded with STAGE=edge, not cloud" in done.stderr
    assert checkout.make("start-collect", "RUN_ID=same").returncode == 0
    assert checkout.make("stop-collect", "RUN_ID=same").returncode == 0
    node = json.loads((checkout.logs("same") / "node_meta.json").read_text())
    assert (node["stage"], node["iface"]) == ("edge", "lo")
    assert json.loads((checkout.logs("same") / "run_meta.json").read_text())["interval_ms"] == 500
