"""Two nodes of one run, end to end: they probe each other while they collect, and are merged."""

import json
import shutil
import socket
import time
from pathlib import Path

import pytest
from conftest import Checkout, copy_checkout

from tracekit.runs import state_home


def free_ports(count: int) -> list[int]:
    """UDP ports of loopback that are free now."""
    held = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def test_two_nodes_probe_each_other_and_are_merged(tmp_path: Path) -> None:
    ports = dict(zip("ab", free_ports(2), strict=True))
    copies: dict[str, Checkout] = {}
    try:
        for node, other in ("ab", "ba"):
            copies[node] = copy_checkout(tmp_path / node)
            peers = f"{other}=127.0.0.1:{ports[other]}"
            words = [f"NODE_ID={node}", "IFACE=lo", f"PEERS={peers}", f"PEER_PORT={ports[node]}"]
            done = copies[node].make("start-collect", "RUN_ID=two", *words)
            assert done.returncode == 0, done.stderr
        time.sleep(5)
        for node, copy in copies.items():
            assert "probe" in copy.make("status", "RUN_ID=two").stdout
            assert copy.make("stop-collect", "RUN_ID=two").returncode == 0
            done = copy.make("parse", "RUN_ID=two")
            assert done.returncode == 0, done.stderr
            shutil.move(copy.logs("two"), tmp_path / f"from-{node}")
        first = copies["a"]
        done = first.make("merge", "RUN_ID=two", f"IN={tmp_path}/from-*")
        assert done.returncode == 0, done.stderr
        assert "of 2 nodes (a, b)" in done.stdout
        assert first.make("validate", "RUN_ID=two").returncode == 0
        assert "b is " in first.make("show", "RUN_ID=two").stdout
    finally:
        for copy in copies.values():
            copy.make("stop-collect", "RUN_ID=two")
            shutil.rmtree(state_home(copy.root), ignore_errors=True)
    merged = first.root / "unified_cctf" / "two"
    links = {one["link"]: one for one in json.loads((merged / "links.json").read_bytes())}
    assert 0 < links["a--b"]["PR_s"] < 0.05
    (pair,) = json.loads((merged / "quality.json").read_bytes())["merge"]["clock"]["pairs"]
    # One machine has one clock.
    assert abs(pair["offset_ms"]) <= pair["error_bound_ms"]
    assert pair["offset_ms"] == pytest.approx(0, abs=5)
