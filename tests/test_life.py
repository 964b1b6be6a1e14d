"""The life of a run, for real: start, status, stop, and what each of them leaves alone."""

import json
import os
import time
from pathlib import Path

from conftest import Checkout
from live import LO, Clean, lines_of, marks_of, pid_of, quality_of, start, stop, wait_for

TOOLS = {"mpstat": "mpstat 1", "vmstat": "vmstat -Sm -t 1", "ifstat": "ifstat -i lo 1"}


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


def test_start_does_not_wait_for_a_tick_that_is_far_away_and_its_silence_is_no_stall(
    checkout: Checkout,
) -> None:
    start(checkout, "hourly", PROC_INTERVAL_MS="3600000", PROC_MATCH="^tk-nobody$")
    time.sleep(4)  # two of them would be a stall of a sampler that ticks each second
    stop(checkout, "hourly")
    assert marks_of(checkout, "hourly", "stall") == []
    quality = quality_of(checkout, "hourly")
    assert quality["balanced"]
    assert quality["collectors"]["proc"]["expected"] == 0  # no whole hour has passed
    assert quality["collectors"]["cpu"]["got"] >= 3


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


def test_start_on_a_finished_run_refuses_another_node(checkout: Checkout) -> None:
    start(checkout, "node", NODE_ID="a")
    assert checkout.make("stop-collect", "RUN_ID=node").returncode == 0
    before = {path: path.read_bytes() for path in checkout.logs("node").iterdir()}
    done = checkout.make("start-collect", "RUN_ID=node", "NODE_ID=b", **LO)
    assert done.returncode == 2
    assert "recorded with NODE_ID=a, not b" in done.stderr
    assert {path: path.read_bytes() for path in checkout.logs("node").iterdir()} == before


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


def test_what_start_is_told_of_the_service_is_recorded(checkout: Checkout) -> None:
    start(checkout, "told", SCEN="edge", IMG="svc2")
    assert checkout.make("stop-collect", "RUN_ID=told").returncode == 0
    meta = json.loads((checkout.logs("told") / "run_meta.json").read_text())
    assert (meta["scen"], meta["img"], meta["workers"]) == ("edge", "svc2", 2)  # as scenarios/edge.env has it
    assert meta["rate"] is None


def test_clean_refuses_a_live_run(checkout: Checkout) -> None:
    start(checkout, "alive")
    done = checkout.make("clean", "RUN_ID=alive")
    assert done.returncode == 2
    assert "is live; stop it first" in done.stderr
    assert checkout.make("stop-collect", "RUN_ID=alive").returncode == 0
    assert checkout.make("clean", "RUN_ID=alive").returncode == 0
    assert not checkout.logs("alive").exists()
