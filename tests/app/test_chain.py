"""endpoint -> edge -> cloud, three checkouts in three network namespaces, by the README's own commands."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, Checkout, copy_checkout, need
from services import events, processes_of, rows

from tracekit.runs import state_home

README = (ROOT / "README.md").read_text()
SECTION = re.search(r"## A service across three VMs\n(.*?)\n## ", README, re.DOTALL)
BLOCKS = re.findall(r"```bash\n(.*?)```", SECTION[1], re.DOTALL) if SECTION else []
NAMES = ("cloud", "edge", "endpoint")
WIRES = """
endpoint: link add v1 type veth peer name v2
endpoint: link set v2 netns EDGE
edge: link add v3 type veth peer name v4
edge: link set v4 netns CLOUD
endpoint: address add 10.0.0.1/24 dev v1
edge: address add 10.0.0.2/24 dev v2
edge: address add 10.0.0.2/32 dev v3
cloud: address add 10.0.0.3/24 dev v4
endpoint: link set v1 up
edge: link set v2 up
edge: link set v3 up
cloud: link set v4 up
edge: route add 10.0.0.3/32 dev v3
"""


@dataclass
class Vm:
    """A network namespace, told by the process that holds it, and a checkout of its own."""

    checkout: Checkout
    pid: int

    def sh(self, command: str) -> str:
        """What a command prints that is typed in this VM's checkout; it must succeed."""
        done = self.checkout.run("nsenter", f"--target={self.pid}", "--net", "sh", "-c", command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    @property
    def run1(self) -> Path:
        return self.checkout.logs("run1")


@pytest.fixture
def vms(tmp_path: Path) -> Iterator[dict[str, Vm]]:
    need(os.geteuid() == 0, "network namespaces need root")
    need(shutil.which("nsenter") and shutil.which("curl"), "nsenter (package util-linux) and curl")
    holders, made = [], {}
    try:
        for name in NAMES:
            command = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 120"]
            holder = subprocess.Popen(command, stdout=subprocess.PIPE)
            holders.append(holder)
            assert holder.stdout
            need(holder.stdout.readline() == b"ready\n", "this machine lets us make no network namespace")
            made[name] = Vm(copy_checkout(tmp_path / f"{name} VM" / "kit"), holder.pid)
        for line in WIRES.strip().splitlines():
            where, _, words = line.partition(": ")
            for name in NAMES:
                words = words.replace(name.upper(), str(made[name].pid))
            made[where].sh(f"ip {words}")
        yield made
    finally:
        for vm in made.values():
            vm.checkout.make("stop")
            vm.checkout.make("stop-collect")
            shutil.rmtree(state_home(vm.checkout.root), ignore_errors=True)
        for holder in holders:
            holder.kill()
            holder.wait()


def test_one_request_is_one_trace_on_three_vms(vms: dict[str, Vm]) -> None:
    starting, collecting, asking = BLOCKS
    for command in starting.strip().splitlines():
        name = re.search(r"SCEN=(\w+)", command)
        assert name
        assert "serving RUN_ID=run1" in vms[name[1]].sh(command)
    services = processes_of("run1")
    assert len(services) > 2 * len(NAMES)  # workers beside those that start them
    assert "node=cloud0 stage=cloud" in vms["cloud"].sh(collecting.strip())
    ask, load, grep, stop, stop_collect = (
        line.partition("  #")[0].strip() for line in asking.strip().splitlines()
    )
    trace_id = vms["endpoint"].sh(ask).split()[1]
    found = {name: vms[name].sh(grep.replace("<that id>", trace_id)) for name in NAMES}
    assert [found[name].count("\n") for name in NAMES] == [1, 2, 2]  # an event each, and two calls

    event = {name: events(vms[name].run1)[0] for name in NAMES}
    assert {one["trace_id"] for one in event.values()} == {trace_id}
    call = {name: rows(vms[name].run1, "calls.*.jsonl")[0] for name in ("endpoint", "edge")}
    assert event["endpoint"]["parent_id"] is None
    for caller, called in (("endpoint", "edge"), ("edge", "cloud")):
        assert call[caller]["trace_id"] == trace_id
        assert call[caller]["parent_id"] == event[caller]["span_id"]
        assert event[called]["parent_id"] == call[caller]["span_id"]
        assert call[caller]["ts_enqueue"] >= event[caller]["ts_start"]
        assert event[called]["ts_enqueue"] >= call[caller]["ts_enqueue"]
        assert event[called]["ts_end"] <= call[caller]["ts_end"]
        assert (call[caller]["bytes_out"], call[caller]["status"]) == (event[called]["bytes_in"], 200)
        assert call[caller]["bytes_in"] == event[called]["bytes_out"]
    assert {name: (one["node"], one["stage"]) for name, one in event.items()} == {
        name: (f"{name}0", name) for name in NAMES
    }
    assert call["endpoint"]["peer"] == "10.0.0.2:8080"

    if shutil.which("vegeta") or (ROOT / ".venv" / "bin" / "vegeta").exists():
        vms["endpoint"].sh(load.replace("RATE=100 DURATION=60", "RATE=20 DURATION=2"))
        sent = {one["trace_id"] for one in rows(vms["endpoint"].run1, "events_client.jsonl")}
        assert len(sent) == 72
        for name in NAMES:
            assert sent <= {one["trace_id"] for one in events(vms[name].run1)}
    for name in NAMES:
        assert "stopped the service" in vms[name].sh(stop)
    assert "stopped RUN_ID=run1" in vms["cloud"].sh(stop_collect)
    # The namespaces here share one /proc, so the cloud sees what serves on all three, and nothing else.
    told = [one for one in rows(vms["cloud"].run1, "proc_inventory.jsonl") if one["event"] == "seen"]
    seen = {one["pid"] for one in told if one["comm"] != "sh"}  # that types the command itself
    assert seen == set(services)
