"""N hosts as one run: made on this machine, driven over ssh as VMs are."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Checkout, clean_environment, copy_checkout
from fleets import TIMEOUT_S, HeldFleet, held_fleet, need_a_fleet, processes_under
from live import lines_of, wait_for
from services import processes_of

from tracekit.collect import procfs
from tracekit.fleet.losses import losses
from tracekit.fleet.pack import write_archive
from tracekit.runs import Run, state_home

HOSTILE = """{{ lookup("pipe", "touch canary") }}|'"$(touch canary)`touch canary`;touch canary\\d{2}"""
# On a host: kill -9 of one of the run's collectors.
KILL = """
import os, sys
sys.path.insert(0, ".")
from tracekit.runs import Run
run = Run(sys.argv[1])
os.kill(run.holder() if sys.argv[2] == "recorder" else run.told()["collectors"][sys.argv[2]]["pid"], 9)
"""
# Here: 40 requests to the endpoint, then the murder, and time for the recorder to see to it.
LOAD = """
set -e
for n in {1..40}; do
  python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], b"x").read()' \
    "http://$VM_IP:8080/hash/sha256"
done
ssh -F "$SSH_CONFIG" edge0 "cd ../tracekit && .venv/bin/python - $RUN_ID mpstat" <"$MURDER"
sleep 4
"""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout of its own, at a path with a space."""
    need_a_fleet()
    copy = copy_checkout(tmp_path_factory.mktemp("fleet") / "Track kit")
    done = copy.run("tools/setup.sh", "app", "fleet")  # from the hosts' own network nothing can be had
    assert done.returncode == 0, done.stderr
    yield copy
    shutil.rmtree(state_home(copy.root), ignore_errors=True)


@pytest.fixture(scope="module")
def fleet(kit: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldFleet]:
    """endpoint0 and cloud0, set up; nothing of them is left afterwards."""
    folder = tmp_path_factory.mktemp("held") / "tmp"
    with held_fleet(kit, 2, folder) as held:
        code, said = held.make("fleet-setup", f"HOSTS={held.inventory}")
        assert code == 0, said
        assert "2 of 2 hosts went well" in said
        yield held
    assert processes_under(folder) == []
    assert list(folder.iterdir()) == []


def checkout_of(fleet: HeldFleet, host: str) -> Path:
    return fleet.folder / host / "tracekit"


def unified(kit: Checkout, run_id: str) -> Path:
    return kit.root / "unified_cctf" / run_id


def document(path: Path) -> Any:
    return json.loads(path.read_text())


def test_one_command_makes_one_trace_of_three_hosts_and_leaves_nothing(kit: Checkout, tmp_path: Path) -> None:
    folder, murder = tmp_path / "made here", tmp_path / "murder.py"
    folder.mkdir()
    murder.write_text(KILL)
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", kit.root, "fleet-local", "N=3", "RUN_ID=three", f"CMD={LOAD}"],
        env=clean_environment(TMPDIR=str(folder), MURDER=str(murder)),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 hosts went well" in done.stdout
    merged = unified(kit, "three")
    assert kit.make("validate", f"DIR={merged}").returncode == 0
    names = {"endpoint0", "edge0", "cloud0"}
    assert {node["node_id"] for node in document(merged / "nodes.json")} == names
    assert len({node["machine_id_hash"] for node in document(merged / "nodes.json")}) == 3

    nodes_of: dict[str, set[str]] = {}
    for event in lines_of(merged / "invocations.jsonl"):
        nodes_of.setdefault(event["trace_id"], set()).add(event["node"])
    assert len(nodes_of) == 40
    assert all(nodes == names for nodes in nodes_of.values())
    for node in names:  # its own service, and not those of the others, which it sees as well
        pids = {row["pid"] for row in lines_of(merged / "proc_metrics.jsonl") if row["node"] == node}
        assert len(pids) == 1

    pairs = document(merged / "quality.json")["merge"]["clock"]["pairs"]
    assert {frozenset((one["u"], one["v"])) for one in pairs} == {
        frozenset(pair) for pair in itertools.combinations(names, 2)
    }
    for one in pairs:  # all have the clock of this machine
        assert abs(one["offset_ms"]) <= one["error_bound_ms"] < 50

    restarts = [mark for mark in lines_of(merged / "marks.jsonl") if mark["kind"] == "restart"]
    assert [(mark["node"], mark["collector"]) for mark in restarts] == [("edge0", "cpu")]
    assert "edge0: mark restart: cpu: " in done.stdout
    assert list(folder.iterdir()) == []
    assert processes_under(folder) == []
    assert processes_of("three") == []


def pushed(fleet: HeldFleet) -> dict[str, int]:
    """When each part of cloud0's checkout was written."""
    checkout = checkout_of(fleet, "cloud0")
    return {
        path.name: path.stat().st_mtime_ns for path in (checkout / "tools", *(checkout / ".pushed").iterdir())
    }


def test_an_experiment_goes_on_without_the_host_that_is_out_of_reach_and_tells_of_the_one_that_fell_silent(
    fleet: HeldFleet, kit: Checkout, tmp_path: Path
) -> None:
    murder = tmp_path / "murder.py"
    murder.write_text(KILL)
    ssh = f"ssh -F '{fleet.folder}/ssh_config' cloud0"
    command = f"sleep 2; {ssh} \"cd ../tracekit && .venv/bin/python - $RUN_ID recorder\" <'{murder}'; exit 7"
    before = pushed(fleet)
    code, said = fleet.make(
        "experiment", f"HOSTS={fleet.with_a_stranger}", "RUN_ID=partial", f"CMD={command}"
    )
    assert code == 2
    assert "failed: gone0: unreachable: connect to host 10.0.0.99 port 22: " in said
    assert "failed: cloud0: stop the collectors: " in said
    assert "its recorder had died before" in said
    assert "cloud0: mark died: recorder" in said
    assert "the merged trace is partial, without gone0" in said
    assert "1 of 3 hosts went well (exit 1)" in said
    assert "the command ended with exit code 7 (exit 1)" in said
    merged = unified(kit, "partial")
    assert kit.make("validate", f"DIR={merged}").returncode == 0
    assert document(merged / "manifest.json")["nodes"] == ["cloud0", "endpoint0"]
    assert processes_of("partial") == []
    assert pushed(fleet) == before  # the second set-up had nothing to do


def test_each_verb_can_be_repeated_and_values_arrive_as_they_were_typed(
    fleet: HeldFleet, kit: Checkout
) -> None:
    hosts, run_id = f"HOSTS={fleet.inventory}", "again"
    try:
        for _ in range(2):
            code, said = fleet.make("fleet-start", hosts, f"RUN_ID={run_id}", f"PROC_MATCH={HOSTILE}")
            assert code == 0, said
            assert "2 began at most " in said
        assert "cloud0: RUN_ID=again was live: its collectors were stopped, and are started again" in said
        for host in ("endpoint0", "cloud0"):
            recorder = Run(run_id, checkout_of(fleet, host)).holder()
            assert recorder is not None
            environment = procfs.read(recorder, "environ").split(b"\0")
            assert f"PROC_MATCH={HOSTILE}".encode() in environment
            assert f"NODE_ID={host}".encode() in environment
        idle = Checkout(checkout_of(fleet, "cloud0")).run(".venv/bin/python", "tools/lib/on_host.py", "idle")
        assert idle.returncode == 1  # a push must not take the files from under a run
        assert "run again is live here" in idle.stderr
    finally:
        ends = [fleet.make("fleet-stop", hosts) for _ in range(2)]  # it knows which run was the last
    assert [code for code, _ in ends] == [0, 0]
    assert "cloud0: collect_sys: was already stopped" in ends[1][1]
    assert processes_of(run_id) == []
    manifests = []
    for _ in range(2):
        code, said = fleet.make("fleet-collect", hosts, "RAW=1")
        assert code == 0, said
        manifests.append((unified(kit, run_id) / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1]
    assert (kit.root / "fetched" / run_id / "cloud0" / "raw.tar.gz").stat().st_size > 0
    assert not [path for folder in (fleet.folder, kit.root) for path in folder.rglob("canary")]


def test_an_interrupt_ends_the_load_and_stops_the_collectors(fleet: HeldFleet, kit: Checkout) -> None:
    with fleet.begin(
        "experiment", f"HOSTS={fleet.inventory}", "RUN_ID=cut", "CMD=sleep 1000 & sleep 1000"
    ) as process:
        assert process.stdout
        said = ""
        while "running: " not in said:
            said += process.stdout.readline()
        assert wait_for(lambda: any(_is_sleep(pid) for pid in processes_of("cut")), 10)
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode in (
        2,
        -signal.SIGINT,
    )  # make's own: it ends by the signal where it heard it too
    assert "fleet: interrupted\n" in rest
    assert "the command ended with exit code 130" in rest
    assert "cloud0: stopped RUN_ID=cut" in rest
    assert processes_of("cut") == []
    assert not unified(kit, "cut").exists()
    assert document(checkout_of(fleet, "cloud0") / "logs" / "cut" / "run_meta.json")["stopped_ms"] is not None


def _is_sleep(pid: int) -> bool:
    return procfs.read(pid, "cmdline").startswith(b"sleep\0")


def test_an_inventory_that_is_not_there_is_wrong_usage(checkout: Checkout) -> None:
    for words, wanted in ((("HOSTS=none.yml",), "HOSTS=none.yml: no such inventory"), ((), "give HOSTS=")):
        done = checkout.run(
            str(ROOT / ".venv/bin/python"), "tools/fleet.py", "stop", **dict(w.split("=") for w in words)
        )
        assert done.returncode == 2
        assert wanted in done.stderr


def on_host(at: str, given: dict[str, str], host: dict[str, object]) -> "subprocess.CompletedProcess[str]":
    """What a host runs, with `env` for the command that it becomes."""
    told = {"run_id": "r1", "given": given, "host": host}
    return subprocess.run(
        [ROOT / ".venv/bin/python", "-I", ROOT / "tools/lib/on_host.py", "run", "--at", at, "env", "-0"],
        input=f"settings {json.dumps(told)}",
        env=clean_environment(STAGE="of the login"),
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_given_comes_before_the_hosts_own_and_an_empty_value_is_none() -> None:
    done = on_host("1", {"PROC_MATCH": HOSTILE}, {"PROC_MATCH": "x", "STAGE": "", "PROC_REFRESH": 1})
    assert done.returncode == 0, done.stderr
    told, _, environment = done.stdout.partition("\n")
    assert json.loads(told)["let_go_ms"] > 0
    values = dict(entry.split("=", 1) for entry in environment.split("\0") if entry)
    assert values["PROC_MATCH"] == HOSTILE
    assert (values["RUN_ID"], values["STAGE"], values["PROC_REFRESH"]) == ("r1", "of the login", "1")


def test_a_host_whose_clock_is_far_behind_does_not_wait_for_the_common_second() -> None:
    done = on_host(str(int(time.time()) + 3600), {}, {})
    assert done.returncode == 1
    assert re.search(r"this host's clock is 3[56]\d\d s behind the common second", done.stderr)


def test_the_archive_of_the_same_files_is_the_same_bytes(tmp_path: Path) -> None:
    first, second = copy_checkout(tmp_path / "a"), copy_checkout(tmp_path / "b")
    os.utime(second.root / "Makefile", (1, 1))
    assert write_archive(tmp_path / "a.tar.gz", first.root) == write_archive(
        tmp_path / "b.tar.gz", second.root
    )
    (second.root / "Makefile").write_text("other")
    assert write_archive(tmp_path / "a.tar.gz", first.root) != write_archive(
        tmp_path / "c.tar.gz", second.root
    )


def test_what_a_trace_lacks_is_told_by_node() -> None:
    whole = {"expected": 5, "got": 5, "missing": 0, "gaps": []}
    gappy = {
        "expected": 5,
        "got": 3,
        "missing": 2,
        "gaps": [
            {"from_ms": 1, "to_ms": 2, "reason": "restart"},
            {"from_ms": 3, "to_ms": 4, "reason": "late"},
        ],
    }
    marks = [
        {"ts_ms": 1, "kind": "outside_run", "detail": "x"},
        {"ts_ms": 1, "kind": "restart", "detail": "mpstat: killed"},
    ]
    nodes = {
        "b": {"collectors": {"cpu": whole}, "marks": []},
        "a": {"collectors": {"cpu": gappy}, "marks": marks},
    }
    assert list(losses({"nodes": nodes, "merge": {}})) == [
        "a: cpu: 2 of 5 ticks missing (late, restart)",
        "a: mark restart: mpstat: killed",
    ]
