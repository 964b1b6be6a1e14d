"""The image and its container, with a real engine: what it may do, may not do, and leaves in the trace."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from conftest import Checkout
from services import events, free_port, rows

from tracekit.runs import state_home
from tracekit.service.docker import container_name

IMAGE = "tracekit-test-svc"


@pytest.fixture(scope="session")
def image(checkout: Checkout, base_image: str) -> str:
    """The image of the service, on a base that no registry is needed for."""
    done = checkout.make("build", f"IMG={IMAGE}", f"BASE={base_image}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return IMAGE


@contextmanager
def container(checkout: Checkout, run_id: str, **more: str) -> Iterator[tuple[str, str]]:
    """(name, base URL) of a container that `make run` has started; removed with the block."""
    port = free_port()
    done = checkout.make("run", f"RUN_ID={run_id}", f"IMG={IMAGE}", f"PORT={port}", **more)
    assert done.returncode == 0, done.stderr
    try:
        yield container_name(IMAGE, port), f"http://127.0.0.1:{port}"
    finally:
        done = checkout.make("stop", f"PORT={port}")
        assert done.returncode == 0, done.stderr


def inspect(name: str) -> dict[str, Any]:
    (found,) = json.loads(docker("inspect", name))
    return dict(found)


def docker(*words: str) -> str:
    """What docker prints; it must succeed."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout


def inside(name: str, command: str) -> int:
    """The exit code of a command in the container, as its user."""
    words = ["docker", "exec", name, "sh", "-c", command]
    return subprocess.run(words, check=False, capture_output=True).returncode


@pytest.mark.parametrize(
    ("image", "port", "name"),
    [("svc", 8080, "svc"), ("svc", 9090, "svc-9090"), ("registry.lan:5000/team/svc:1.2", 8080, "svc")],
)
def test_the_container_has_the_images_name(image: str, port: int, name: str) -> None:
    assert container_name(image, port) == name


def test_it_has_no_right_that_it_does_not_need(checkout: Checkout, image: str) -> None:
    with container(checkout, "rights", WORKERS="2") as (name, base):
        folder = checkout.logs("rights")
        told = inspect(name)
        host = told["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["ReadonlyRootfs"] and not host["Privileged"]
        assert host["PortBindings"]["8080/tcp"][0]["HostIp"] == "127.0.0.1"
        assert int(docker("exec", name, "id", "-u")) != 0
        # By the container: an engine that has just made its first bridge tells no gateway of the network.
        bridge = told["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
        assert bridge
        with socket.socket() as probe:  # the machine's other addresses do not answer
            assert probe.connect_ex((bridge, int(base.rpartition(":")[2]))) != 0

        assert inside(name, "touch /svc/x") != 0
        assert inside(name, "echo mine > /trace/mine") == 0
        for name_of_ours in ("module_inventory.json", "marks.jsonl"):
            assert inside(name, f"rm -f /trace/{name_of_ours}; mv /trace/mine /trace/{name_of_ours}") != 0
        assert inside(name, "echo {} > /trace/module_inventory.json") != 0
        mounts = [one["Source"] for one in inspect(name)["Mounts"] if one["Type"] == "bind"]
        assert mounts == [str(folder)]  # the control state is elsewhere
        assert not str(state_home(checkout.root)).startswith(mounts[0])

        assert httpx.post(f"{base}/kv/set/a", content=b"1").status_code == 200
        assert httpx.get(f"{base}/kv/get/a").content == b"1"
        time.sleep(1.1)
    assert {one["path"] for one in events(folder)} == {"/kv/set/a", "/kv/get/a"}  # a file a worker
    assert len(events(folder)) == 2
    assert all("pid" not in one for one in events(folder))  # it would be a pid of the container's own
    placed = [one["event"] for one in rows(folder, "placement_events.jsonl")]
    assert sorted(placed) == ["start", "start", "stop", "stop"]
    assert subprocess.run(["docker", "inspect", name], check=False, capture_output=True).returncode != 0


def test_two_replicas_that_share_a_run_write_files_of_their_own(checkout: Checkout, image: str) -> None:
    folder = checkout.logs("replicas")
    with container(checkout, "replicas") as (_, first), container(checkout, "replicas") as (_, second):
        for base in (first, second):
            assert httpx.get(f"{base}/work").status_code == 200
        assert [len(path.read_bytes().splitlines()) for path in folder.glob("events.*.jsonl")] == [1, 1]
        assert len({one["instance_id"] for one in events(folder)}) == 2


def test_one_that_was_killed_is_replaced_by_the_next_run(checkout: Checkout, image: str) -> None:
    port = str(free_port())
    words = ("run", "RUN_ID=killed-box", f"IMG={IMAGE}", f"PORT={port}")
    try:
        assert checkout.make(*words).returncode == 0
        again = checkout.make(*words)
        assert again.returncode == 2
        assert f"a container {IMAGE}-{port} is there: `make stop`" in again.stderr
        docker("kill", f"{IMAGE}-{port}")
        assert checkout.make(*words).returncode == 0
    finally:
        assert checkout.make("stop", f"PORT={port}").returncode == 0
    assert "nothing to stop" in checkout.make("stop", f"PORT={port}").stdout


def test_an_image_that_is_not_there_is_told(checkout: Checkout, image: str) -> None:
    done = checkout.make("run", "RUN_ID=noimage", "IMG=tracekit-test-no-such")
    assert done.returncode == 2
    assert "there is no image tracekit-test-no-such: `make build` makes it" in done.stderr
    assert not checkout.logs("noimage").exists()


def test_its_processes_are_sampled_from_the_host(checkout: Checkout, image: str) -> None:
    with container(checkout, "sampled", WORKERS="2") as (name, base):
        done = checkout.make(
            "start-collect", "RUN_ID=sampled", "IFACE=lo", f"CONTAINER={name}", "PROC_REFRESH=1"
        )
        assert done.returncode == 0, done.stderr
        pids = {int(pid) for pid in docker("top", name, "-eo", "pid").split()[1:]}
        time.sleep(1)
        assert httpx.get(f"{base}/work", params={"cpu_ms": 800}, timeout=30).status_code == 200
        time.sleep(2)
        assert checkout.make("stop-collect", "RUN_ID=sampled").returncode == 0
    assert checkout.make("parse", "RUN_ID=sampled").returncode == 0
    assert checkout.make("validate", "RUN_ID=sampled").returncode == 0
    used = rows(checkout.logs("sampled") / "cctf", "proc_cpu.jsonl")
    assert {one["pid"] for one in used} == pids
    (event,) = events(checkout.logs("sampled"))
    assert 800 <= event["cpu_time_ms"] < 850
    assert sum(one["cpu_ms"] for one in used) >= event["cpu_time_ms"] - 20
