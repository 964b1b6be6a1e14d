"""What may happen to the NIC: down, renamed, deleted, added again, not there; in a network of its own."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from conftest import Checkout, need
from live import lines_of, marks_of, quality_of, wait_for

STREAM = """
import socket, time
sender, due = None, time.monotonic()
for _ in range(12000):  # two minutes at most
    try:
        if sender is None:
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"peer0")
        sender.sendto(b"x" * 1000, ("10.99.0.1", 9))
    except OSError:  # the link is away
        sender = None
    due += 0.01
    time.sleep(max(due - time.monotonic(), 0))
"""


@dataclass
class Island:
    """A network namespace with its own sysfs: nic0 and peer0, joined; a run on it."""

    checkout: Checkout
    pid: int

    def inside(self, *command: str) -> "subprocess.CompletedProcess[str]":
        enter = ("nsenter", f"--target={self.pid}", "--net", "--mount")
        return self.checkout.run(*enter, *command)

    def make(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.inside("make", "--no-print-directory", "-C", str(self.checkout.root), *words)

    def ip(self, words: str) -> None:
        done = self.inside("ip", *words.split())
        assert done.returncode == 0, done.stderr

    def join(self) -> None:
        """Make the pair, with an address on either side; 10.99.0.1 is reached without asking."""
        self.ip("link add nic0 type veth peer name peer0")
        for words in ("address add 10.99.0.2/24 dev peer0", "link set peer0 up", "link set nic0 up"):
            self.ip(words)
        self.ip("neigh replace 10.99.0.1 lladdr ff:ff:ff:ff:ff:ff dev peer0 nud permanent")

    def start(self, run_id: str, *words: str) -> None:
        done = self.make("start-collect", f"RUN_ID={run_id}", "IFACE=nic0", *words)
        assert done.returncode == 0, done.stderr

    def stop(self, run_id: str) -> None:
        done = self.make("stop-collect", f"RUN_ID={run_id}")
        assert done.returncode == 0, done.stderr

    def rows(self, run_id: str) -> list[dict[str, Any]]:
        return lines_of(self.checkout.logs(run_id) / "links.jsonl")

    def wait_for_rows(self, run_id: str, count: int) -> None:
        """So many more whole rows of the NIC."""
        wanted = len(self.rows(run_id)) + count
        assert wait_for(lambda: len(self.rows(run_id)) >= wanted, count + 3)


@pytest.fixture
def island(checkout: Checkout) -> Iterator[Island]:
    need(os.geteuid() == 0, "a network namespace needs root")
    need(shutil.which("nsenter") and shutil.which("unshare"), "unshare and nsenter (package util-linux)")
    script = "mount -t sysfs sysfs /sys && echo ready && exec sleep 120"
    command = ["unshare", "--net", "--mount", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout
            need(
                holder.stdout.readline() == b"ready\n",
                "this machine lets us make no network namespace with a sysfs of its own",
            )
            made = Island(checkout, holder.pid)
            done = made.inside("ip", "link", "add", "try0", "type", "veth", "peer", "name", "try1")
            need(done.returncode == 0, "this kernel has no veth pairs")
            made.ip("link delete try0")
            made.ip("link set lo up")
            made.join()
            yield made
            made.make("stop-collect")  # where a test failed before its own
        finally:
            holder.kill()


@pytest.fixture
def stream(island: Island) -> Iterator[None]:
    """100 datagrams of 1000 bytes a second into nic0, whenever it is there."""
    command = ["nsenter", f"--target={island.pid}", "--net", sys.executable, "-I", "-c", STREAM]
    sender = subprocess.Popen(command)
    yield
    assert sender.poll() is None  # it was sending all the time
    sender.kill()
    sender.wait()


def checked_rates(island: Island, run_id: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of link_metrics.jsonl, none a spike or negative, and the NIC's account, which is whole."""
    account = quality_of(island.checkout, run_id)["collectors"]["nic"]
    assert account["expected"] == account["got"] + account["missing"]
    rows = lines_of(island.checkout.logs(run_id) / "cctf" / "link_metrics.jsonl")[1:]  # one before the run
    middle = statistics.median(row["rx_Bps"] for row in rows)
    assert 80_000 < middle < 130_000
    assert sum(abs(row["rx_Bps"] / middle - 1) < 0.2 for row in rows) >= 3
    assert all(0 <= row["rx_Bps"] <= 1.2 * middle for row in rows), [row["rx_Bps"] for row in rows]
    return rows, account


def assert_gap_is_told(account: dict[str, Any], from_ms: float, to_ms: float, reason: str) -> None:
    """The whole seconds between are missing, for that reason."""
    assert account["missing"] >= 1
    gaps = [gap for gap in account["gaps"] if gap["from_ms"] <= to_ms and gap["to_ms"] >= from_ms]
    assert sum(gap["to_ms"] - gap["from_ms"] for gap in gaps) >= to_ms - from_ms - 2000
    assert {gap["reason"] for gap in gaps} == {reason}, gaps


def mark_of(island: Island, run_id: str, kind: str) -> dict[str, Any]:
    """The one mark of that kind; it is the NIC's."""
    (mark,) = marks_of(island.checkout, run_id, kind)
    assert mark["collector"] == "nic"
    return mark


def test_an_interface_that_is_down_for_three_seconds_gives_no_spike_and_no_byte_is_lost(
    island: Island, stream: None
) -> None:
    island.start("down")
    island.wait_for_rows("down", 3)
    down_ms = time.time() * 1000
    island.ip("link set nic0 down")
    time.sleep(3)
    up_ms = time.time() * 1000
    island.ip("link set nic0 up")
    island.wait_for_rows("down", 3)
    island.stop("down")
    rows, account = checked_rates(island, "down")
    silent = [row["ts_ms"] for row in rows if row["rx_Bps"] == 0]
    assert all(down_ms <= ts_ms <= up_ms + 1500 for ts_ms in silent)
    if len(silent) < 2:  # then there are no rows, and that is told
        assert_gap_is_told(account, down_ms, up_ms, "link_down")
    down, up = mark_of(island, "down", "link_down"), mark_of(island, "down", "link_up")
    assert down["from_ms"] <= down_ms + 50 <= down["ts_ms"] + 100 < down_ms + 2000
    assert down["reason"] in ("down", "lowerlayerdown")
    assert up["from_ms"] == down["from_ms"]
    assert up_ms - 100 < up["to_ms"] < up_ms + 2000
    raw = island.rows("down")
    counted = raw[-1]["rx_bytes_total"] - raw[0]["rx_bytes_total"]
    summed = sum(
        after["rx_Bps"] * (after["mono_ms"] - before["mono_ms"]) / 1000 for before, after in pairwise(raw)
    )
    assert abs(summed / counted - 1) < 0.1


def test_an_interface_that_is_renamed_and_back_gives_a_gap_and_no_spike(island: Island, stream: None) -> None:
    island.start("renamed")
    island.wait_for_rows("renamed", 2)
    for words in ("link set nic0 down", "link set nic0 name other0", "link set other0 up"):
        island.ip(words)
    away_ms = time.time() * 1000
    time.sleep(2.5)
    back_ms = time.time() * 1000
    for words in ("link set other0 down", "link set other0 name nic0", "link set nic0 up"):
        island.ip(words)
    island.wait_for_rows("renamed", 2)
    island.stop("renamed")
    rows, account = checked_rates(island, "renamed")
    assert not [row for row in rows if away_ms + 1000 < row["ts_ms"] < back_ms]
    assert_gap_is_told(account, away_ms, back_ms, "renamed")
    assert "is other0 now" in mark_of(island, "renamed", "renamed")["detail"]
    back = mark_of(island, "renamed", "back")
    assert "is the same NIC" in back["detail"]
    assert back["from_ms"] <= away_ms
    assert back_ms - 100 < back["to_ms"] < back_ms + 2000
    assert marks_of(island.checkout, "renamed", "reset") == []


def test_an_interface_that_is_deleted_and_added_again_is_told_and_never_a_spike(
    island: Island, stream: None
) -> None:
    island.start("anew")
    island.wait_for_rows("anew", 2)
    island.ip("link delete nic0")
    away_ms = time.time() * 1000
    time.sleep(2.5)
    back_ms = time.time() * 1000
    island.join()
    island.wait_for_rows("anew", 2)
    island.stop("anew")
    rows, account = checked_rates(island, "anew")
    assert not [row for row in rows if away_ms + 1000 < row["ts_ms"] < back_ms]
    assert_gap_is_told(account, away_ms, back_ms, "link_gone")
    assert "is no longer there" in mark_of(island, "anew", "gone")["detail"]
    assert "is another NIC" in mark_of(island, "anew", "back")["detail"]
    assert "another NIC has the name" in mark_of(island, "anew", "reset")["detail"]


def test_an_interface_that_takes_the_name_with_larger_counters_gives_no_spike(
    island: Island, stream: None
) -> None:
    for words in (
        "link add spare0 type veth peer name spare1",
        "address add 10.98.0.2/24 dev spare1",
        "link set spare0 up",
        "link set spare1 up",
        "neigh replace 10.98.0.1 lladdr ff:ff:ff:ff:ff:ff dev spare1 nud permanent",
    ):
        island.ip(words)
    flood = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for _ in range(50000): s.sendto(b'x' * 1000, ('10.98.0.1', 9))"
    )
    assert island.inside(sys.executable, "-I", "-c", flood).returncode == 0  # some 50 MB before the run
    island.start("larger")
    island.wait_for_rows("larger", 2)
    before = island.rows("larger")[-1]["rx_bytes_total"]
    for words in (
        "link set spare0 down",
        "link delete nic0",
        "link set spare0 name nic0",
        "link set nic0 up",
    ):
        island.ip(words)
    island.wait_for_rows("larger", 2)
    island.stop("larger")
    assert island.rows("larger")[-1]["rx_bytes_total"] > 40_000_000 > before
    quality_of(island.checkout, "larger")
    rates = [row["rx_Bps"] for row in lines_of(island.checkout.logs("larger") / "cctf/link_metrics.jsonl")]
    assert max(rates) < 200_000
    assert "another NIC has the name" in mark_of(island, "larger", "reset")["detail"]
    assert "is no longer there" in mark_of(island, "larger", "gone")["detail"]
    assert mark_of(island, "larger", "back")["reason"] == "gone"


def test_a_tool_that_knows_no_rate_is_not_taken_for_a_stuck_one(island: Island, stream: None) -> None:
    island.start("long")
    island.wait_for_rows("long", 2)
    island.ip("link delete nic0")
    time.sleep(13)  # longer than a silent collector lives
    island.join()
    island.wait_for_rows("long", 2)
    island.stop("long")
    account = quality_of(island.checkout, "long")["collectors"]["nic"]
    assert account["missing"] >= 11
    assert {gap["reason"] for gap in account["gaps"]} == {"link_gone"}
    for kind in ("stall", "died", "restart"):
        assert marks_of(island.checkout, "long", kind) == []


def test_an_interface_that_does_not_exist_is_refused_with_those_of_this_network(island: Island) -> None:
    done = island.make("start-collect", "RUN_ID=nosuch", "IFACE=nosuch0")
    assert done.returncode == 2
    assert "IFACE=nosuch0: no such network interface (there are lo, nic0, peer0)" in done.stderr
    assert not island.checkout.logs("nosuch").exists()


def test_without_a_default_route_start_refuses_and_lists_the_interfaces(island: Island) -> None:
    done = island.make("start-collect", "RUN_ID=noroute")
    assert done.returncode == 2
    assert "no default route: name the NIC with IFACE= (there are lo, nic0, peer0)" in done.stderr
    assert not island.checkout.logs("noroute").exists()


def test_of_two_default_routes_the_one_of_least_metric_is_taken(island: Island) -> None:
    island.ip("route add default dev nic0 metric 300")
    island.ip("route add default dev peer0 metric 200")
    assert island.make("start-collect", "RUN_ID=least").returncode == 0
    island.stop("least")
    folder = island.checkout.logs("least")
    assert json.loads((folder / "node_meta.json").read_text())["iface"] == "peer0"
    assert json.loads((folder / "link_meta.json").read_text())["iface"] == "peer0"


def test_a_further_interface_that_comes_and_goes_has_its_rows_and_no_spike(
    island: Island, stream: None
) -> None:
    def seen(link: str) -> list[dict[str, Any]]:
        return [row for row in island.rows("further") if row["link"].endswith(link)]

    island.start("further", "HOST_EXTRAS=1", "NODE_ID=n1")
    assert wait_for(lambda: len(seen(".nic.peer0")) >= 3, 8)
    island.ip("link add more0 type veth peer name more1")
    assert wait_for(lambda: len(seen(".nic.more0")) >= 2, 5)
    island.ip("link delete nic0")  # and peer0 with it
    time.sleep(2)
    gone = len(seen(".nic.peer0"))
    time.sleep(1)
    assert len(seen(".nic.peer0")) == gone
    island.join()
    assert wait_for(lambda: len(seen(".nic.peer0")) >= gone + 2, 8)
    island.stop("further")
    quality = quality_of(island.checkout, "further")
    assert set(quality["collectors"]) == {"cpu", "mem", "nic", "proc"}
    assert quality["collectors"]["nic"]["missing"] >= 2  # the rows of the others are not its rows
    cctf = island.checkout.logs("further") / "cctf"
    rates = [row for row in lines_of(cctf / "link_metrics.jsonl") if row["link"] == "n1.nic.peer0"]
    assert all(0 <= row["tx_Bps"] < 130_000 for row in rates)  # it sends what nic0 receives
    assert statistics.median(row["tx_Bps"] for row in rates) > 80_000
    links = {one["link"]: one["iface"] for one in json.loads((cctf / "links.json").read_text())}
    expected = {"n1.nic": "nic0", **{f"n1.nic.{name}": name for name in ("peer0", "more0", "more1")}}
    assert links == expected
