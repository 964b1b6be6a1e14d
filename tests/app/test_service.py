"""run-local and stop, for real: a service in the background, and none after."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Checkout
from services import LOCAL, cpu_ms, events, free_port, processes_of, rows, serving

from tracekit.runs import state_home

Clean = Callable[[str], None]


def test_it_serves_when_run_local_returns_and_nothing_is_left_after_stop(
    checkout: Checkout, finished_run: Clean
) -> None:
    with serving(checkout, "served", WORKERS="2") as base:
        folder = checkout.logs("served")
        time.sleep(2)
        assert events(folder) == []  # nobody asked: no probe, no health check
        assert httpx.post(f"{base}/hash/sha256", content=b"abc").json()["sha256"].startswith("ba7816bf")
        assert [one["path"] for one in events(folder)] == ["/hash/sha256"]
        sessions = {os.getsid(pid) for pid in processes_of("served")}
        assert len(sessions) == 1
        assert os.getsid(0) not in sessions
    finished_run("served")
    placed = rows(folder, "placement_events.jsonl")
    assert sorted(one["event"] for one in placed) == ["start", "start", "stop", "stop"]
    assert len({one["instance_id"] for one in placed}) == 2
    assert len(list(folder.glob("events.*.jsonl"))) == 2
    modules = json.loads((folder / "module_inventory.json").read_text())
    assert modules == {"app_id": "refapp", "modules": [{"module_id": "svc", "name": "svc", "type": "http"}]}


def test_its_files_are_a_valid_trace_without_any_collector(checkout: Checkout) -> None:
    with serving(checkout, "alone") as base:
        assert httpx.post(f"{base}/json/validate", content=b"[1]").status_code == 200
        time.sleep(1.1)
    (checkout.logs("alone") / "run_meta.json").write_text('{"run_id":"alone"}')
    assert checkout.make("parse", "RUN_ID=alone").returncode == 0
    done = checkout.make("validate", "RUN_ID=alone")
    assert done.returncode == 0, done.stderr
    (event,) = rows(checkout.logs("alone") / "cctf", "invocations.jsonl")
    assert (event["status"], event["bytes_in"], event["node"]) == (200, 3, event["node"])
    assert rows(checkout.logs("alone") / "cctf", "system_stats.jsonl")


def test_a_scenario_gives_stage_module_and_workers(checkout: Checkout) -> None:
    with serving(checkout, "scenario", SCEN="edge", NODE_ID="edge0") as base:
        httpx.get(f"{base}/work")
    (event,) = events(checkout.logs("scenario"))
    assert (event["stage"], event["module_id"], event["node"]) == ("edge", "svc-edge", "edge0")
    assert len(list(checkout.logs("scenario").glob("events.*.jsonl"))) == 2


def test_a_port_that_is_taken_is_told_with_the_way_out(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = checkout.make("run-local", f"PORT={port}")
    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1: Address already in use" in done.stderr
    assert "choose another PORT=" in done.stderr
    assert "nothing to stop" in checkout.make("stop").stdout


def test_an_address_that_is_not_ours_is_told(checkout: Checkout) -> None:
    done = checkout.make("run-local", "RUN_ID=foreign", "VM_IP=192.0.2.1")
    assert done.returncode == 2
    assert "give this VM's own address" in done.stderr
    assert not checkout.logs("foreign").exists()


def test_a_next_hop_that_is_itself_is_refused(checkout: Checkout) -> None:
    done = checkout.make("run-local", "RUN_ID=mirror", "DEFAULT_NEXT_URL=http://127.0.0.1:8080")
    assert done.returncode == 2
    assert "is this service itself" in done.stderr
    assert not checkout.logs("mirror").exists()


def test_without_an_engine_run_and_build_say_so_and_name_the_other_way(
    checkout: Checkout, tmp_path: Path
) -> None:
    fake = tmp_path / "docker"
    fake.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    fake.chmod(0o755)
    for target in ("build", "run"):
        done = checkout.make(target, "RUN_ID=engine", PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert done.returncode == 2
        assert "no Docker engine answers (Cannot connect to the Docker daemon)" in done.stderr
        assert "`make run-local`" in done.stderr
    assert not checkout.logs("engine").exists()


def test_a_run_that_it_invents_is_the_one_that_the_next_start_takes(
    checkout: Checkout, finished_run: Clean
) -> None:
    port = str(free_port())
    done = checkout.make("run-local", f"PORT={port}")
    run_id = done.stdout.split("RUN_ID=")[1].split()[0]
    try:
        started = checkout.make("start-collect", IFACE="lo", NODE_ID="late")
        assert started.stdout.startswith(f"started RUN_ID={run_id} "), started.stderr
        assert checkout.make("stop-collect").returncode == 0
        again = checkout.make("start-collect", IFACE="lo")
        assert f"RUN_ID={run_id} " not in again.stdout
    finally:
        checkout.make("stop-collect")
        checkout.make("stop", f"PORT={port}")
    finished_run(run_id)


def test_it_joins_the_live_run_as_its_node(checkout: Checkout) -> None:
    checkout.make("start-collect", "RUN_ID=live0", IFACE="lo", NODE_ID="vm7", STAGE="edge")
    port = str(free_port())
    try:
        done = checkout.make("run-local", f"PORT={port}")
        assert "serving RUN_ID=live0 node=vm7 stage=edge" in done.stdout
    finally:
        checkout.make("stop", f"PORT={port}")
        checkout.make("stop-collect", "RUN_ID=live0")


def test_stop_ends_what_has_the_port_or_the_run_and_nothing_else(checkout: Checkout) -> None:
    with serving(checkout, "one") as first, serving(checkout, "two") as second:
        port = first.rpartition(":")[2]
        assert "nothing to stop" in checkout.make("stop", "RUN_ID=three").stdout
        assert f"127.0.0.1:{port} of RUN_ID=one" in checkout.make("stop", f"PORT={port}").stdout
        assert processes_of("one") == []
        assert httpx.get(f"{second}/work").status_code == 200
        assert "of RUN_ID=two" in checkout.make("stop", "RUN_ID=two").stdout
        assert processes_of("two") == []


def test_stop_ends_the_others_where_no_engine_answers_for_one(checkout: Checkout, tmp_path: Path) -> None:
    fake = tmp_path / "docker"
    fake.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    with serving(checkout, "behind"):
        services = state_home(checkout.root) / ".service"
        for name, told in (
            ("0" * 32, {"kind": "docker", "run_id": "first", "host": "10.0.0.1", "port": 1}),
            ("1" * 32, None),
        ):
            (services / name).mkdir()
            (services / name / "service.json").write_text(json.dumps(told) if told else '{"kind":')
        done = checkout.make("stop", PATH=path)
        assert processes_of("behind") == []
        assert "stopped a service whose start was cut short\n" in done.stdout
        assert "None" not in done.stdout
        assert done.returncode == 2
        assert "the service on 10.0.0.1:1 of RUN_ID=first: no Docker engine answers" in done.stderr
        assert [one.name for one in services.iterdir()] == ["0" * 32]  # for the next stop
        (services / ("0" * 32) / "service.json").unlink()


def test_clean_refuses_a_run_that_a_service_writes_to(checkout: Checkout) -> None:
    with serving(checkout, "used"):
        done = checkout.make("clean", "RUN_ID=used")
        assert done.returncode == 2
        assert "stop it first: make stop RUN_ID=used" in done.stderr
        assert checkout.logs("used").is_dir()
    assert checkout.make("clean", "RUN_ID=used").returncode == 0
    assert not checkout.logs("used").exists()


def test_stop_ends_workers_that_outlived_their_parent(checkout: Checkout, finished_run: Clean) -> None:
    with serving(checkout, "orphans", WORKERS="2"):
        first = min(processes_of("orphans"), key=lambda pid: pid != os.getsid(pid))
        os.kill(first, signal.SIGKILL)
        time.sleep(0.3)
        assert len(processes_of("orphans")) >= 2
    finished_run("orphans")


def test_stop_ends_a_service_that_ignores_sigterm(checkout: Checkout, finished_run: Clean) -> None:
    with serving(checkout, "stuck"):
        (pid,) = processes_of("stuck")
        os.kill(pid, signal.SIGSTOP)
        done = checkout.make("stop", "RUN_ID=stuck")
        assert "did not end at SIGTERM and was killed" in done.stderr
    finished_run("stuck")


def test_stop_never_touches_a_stranger(checkout: Checkout) -> None:
    with serving(checkout, "stranger"), subprocess.Popen(["sleep", "60"]) as stranger:
        (pid,) = processes_of("stranger")
        os.kill(pid, signal.SIGKILL)
        # A pid that was reused: whatever number our state holds, it is this one now.
        for path in (state_home(checkout.root) / ".service").glob("*/service.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "pid": stranger.pid}))
        assert "had ended already" in checkout.make("stop", "RUN_ID=stranger").stderr
        assert stranger.poll() is None
        stranger.kill()


# --- the CPU of requests


def test_cpu_of_32_requests_at_once_is_what_the_workers_used(checkout: Checkout) -> None:
    run_id = "cpu"
    with serving(checkout, run_id, WORKERS="2") as base, ThreadPoolExecutor(32) as pool:
        limits = httpx.Limits(max_connections=32)
        with httpx.Client(base_url=base, limits=limits, timeout=60) as client:
            list(pool.map(client.get, ["/work"] * 32))  # imports and connections are no request's CPU
            before, counted = cpu_ms(processes_of(run_id)), len(events(checkout.logs(run_id)))
            answers = list(pool.map(client.get, ["/work?cpu_ms=100"] * 32))
            used = cpu_ms(processes_of(run_id)) - before
    assert {one.status_code for one in answers} == {200}
    told = [one["cpu_time_ms"] for one in events(checkout.logs(run_id)) if one.get("query")]
    assert counted == len(told) == 32
    assert all(100 <= one < 120 for one in told), told
    assert abs(sum(told) / used - 1) <= 0.05, (sum(told), used)


# --- where it connects


def test_a_client_cannot_choose_where_the_server_connects(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary, serving(checkout, "ssrf") as base:
        canary.settimeout(0.5)
        port = canary.getsockname()[1]
        for host in (f"127.0.0.1:{port}", f"127.1:{port}", f"[::ffff:127.0.0.1]:{port}"):
            for url in (f"http://{host}/", f"gopher://{host}/", "file:///etc/passwd"):
                headers = {"X-Next-Url": url, "X-Forwarded-Host": host, "Forwarded": f"host={host}"}
                answer = httpx.post(
                    f"{base}/json/validate",
                    params={"call_url": url, "next_url": url},
                    headers=headers,
                    content="1",
                )
                assert answer.status_code == 200
        with pytest.raises(TimeoutError):
            canary.accept()
    assert rows(checkout.logs("ssrf"), "calls.*.jsonl") == []


def test_the_next_hop_may_not_send_us_elsewhere(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary, socket.create_server(("127.0.0.1", 0)) as hop:
        canary.settimeout(0.5)
        to = f"http://127.0.0.1:{canary.getsockname()[1]}/"
        next_url = f"http://127.0.0.1:{hop.getsockname()[1]}"
        with (
            serving(checkout, "redirect", DEFAULT_NEXT_URL=next_url) as base,
            ThreadPoolExecutor(1) as pool,
        ):
            asked = pool.submit(httpx.post, f"{base}/hash/sha256", content=b"x")
            connection, _ = hop.accept()
            with connection:
                connection.recv(65536)
                head = f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
                connection.sendall(head.encode())
                answer = asked.result(10)
        assert answer.status_code == 502
        assert "answered 302" in answer.text
        with pytest.raises(TimeoutError):
            canary.accept()
    (call,) = rows(checkout.logs("redirect"), "calls.*.jsonl")
    assert (call["status"], call["bytes_out"], call["peer"]) == (302, 1, next_url.removeprefix("http://"))


def test_a_next_hop_that_is_away_is_502_and_a_call_without_status(checkout: Checkout) -> None:
    next_url = f"{LOCAL}:{free_port()}"
    with serving(checkout, "away", DEFAULT_NEXT_URL=next_url) as base:
        answer = httpx.post(f"{base}/hash/sha256", content=b"x")
    assert answer.status_code == 502
    assert "gave no answer" in answer.text
    (call,) = rows(checkout.logs("away"), "calls.*.jsonl")
    assert (call["status"], call["bytes_in"]) == (None, None)
