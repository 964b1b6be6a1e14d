"""A real run with a known load and a known byte stream, held against what the kernel says of the same time.

FULL=1 makes it 60 s long.
"""

import json
import os
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from conftest import Checkout
from live import lines_of
from workload import can_listen, datagrams

SECONDS = 60 if os.environ.get("FULL") else 12
LOAD = f"known-load-{os.getpid()}-of-the-test"  # another run of the tests has another
CHUNK, PERIOD_S = 8192, 0.01  # some 0.8 MB/s through lo


def kernel_now() -> dict[str, float]:
    """CPU jiffies (busy and all), free memory in MB, bytes received on lo."""
    jiffies = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = jiffies[3] + jiffies[4]  # idle and iowait
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    lo = next(
        line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:")
    )
    return {
        "ts_ms": time.time() * 1000,
        "busy": sum(jiffies) - idle,
        "all": sum(jiffies),
        "free_mb": int(memory["MemFree"].split()[0]) * 1024 / 1e6,
        "lo_bytes": int(lo.split(":")[1].split()[0]),
    }


class Watch(Thread):
    """Reads the kernel's figures every 5 ms, until told to end."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ending = Event()
        self.samples: list[dict[str, float]] = []

    def run(self) -> None:
        while not self.ending.wait(0.005):
            self.samples.append(kernel_now())

    def at(self, ts_ms: float) -> dict[str, float]:
        """The sample nearest to that moment."""
        times = [sample["ts_ms"] for sample in self.samples]
        index = min(max(bisect_left(times, ts_ms), 1), len(times) - 1)
        return min(self.samples[index - 1 : index + 1], key=lambda sample: abs(sample["ts_ms"] - ts_ms))


@contextmanager
def known_work() -> Iterator[None]:
    """One core kept busy, and a steady stream of datagrams on lo."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass", LOAD])
    try:
        with datagrams(CHUNK, PERIOD_S):
            yield
    finally:
        busy.kill()
        busy.wait()


@pytest.fixture(scope="module")
def run(checkout: Checkout) -> tuple[Path, Watch]:
    """The directory of a run that was collected, stopped, parsed and validated; and the kernel's figures."""
    watch = Watch()
    watch.start()
    with known_work():
        words = (
            "RUN_ID=e2e",
            "NODE_ID=n1",
            "IFACE=lo",
            f"PROC_MATCH={LOAD}",
            "PROC_REFRESH=1",
        )
        started = checkout.make("start-collect", *words)
        assert started.returncode == 0, started.stderr
        time.sleep(SECONDS)
        stopped = checkout.make("stop-collect", "RUN_ID=e2e")
        assert (stopped.returncode, stopped.stderr) == (0, "")
    watch.ending.set()
    watch.join()
    for target in ("parse", "validate", "show"):
        done = checkout.make(target, "RUN_ID=e2e")
        assert done.returncode == 0, done.stderr
    return checkout.logs("e2e"), watch


def during(folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    meta = json.loads((folder / "run_meta.json").read_text())
    return [row for row in rows if meta["started_ms"] <= row["ts_ms"] <= meta["stopped_ms"]]


def test_each_series_has_one_row_a_second(run: tuple[Path, Watch]) -> None:
    folder, _ = run
    host = during(folder, lines_of(folder / "cctf" / "host_metrics.jsonl"))
    links = during(folder, lines_of(folder / "cctf" / "link_metrics.jsonl"))
    for rows in (
        [row for row in host if "cpu_util" in row],
        [row for row in host if "mem_free_mb" in row],
        links,
    ):
        assert abs(len(rows) - SECONDS) <= 1


def test_every_tick_is_got_or_told(run: tuple[Path, Watch]) -> None:
    quality = json.loads((run[0] / "cctf" / "quality.json").read_text())
    assert quality["balanced"] is True
    assert set(quality["collectors"]) == {"cpu", "mem", "nic", "proc"}
    for account in quality["collectors"].values():
        assert abs(account["expected"] - SECONDS) <= 1
        assert account["got"] + account["missing"] == account["expected"]
        gaps_ms = sum(gap["to_ms"] - gap["from_ms"] for gap in account["gaps"])
        assert gaps_ms == account["missing"] * 1000
        assert account["missing"] <= 2


def test_cpu_utilisation_is_the_kernels(run: tuple[Path, Watch]) -> None:
    folder, watch = run
    rows = during(folder, [row for row in lines_of(folder / "resources.jsonl") if "cpu_util" in row])
    for before, row in pairwise(rows):
        first, last = watch.at(before["ts_ms"]), watch.at(row["ts_ms"])
        truth = 100 * (last["busy"] - first["busy"]) / (last["all"] - first["all"])
        assert abs(row["cpu_util"] - truth) <= max(
            2.5, 0.05 * truth
        )  # 20 ms apart is up to 2 points by itself
        assert row["cpu_util"] >= 95 / (os.cpu_count() or 1)


def test_free_memory_is_the_kernels(run: tuple[Path, Watch]) -> None:
    folder, watch = run
    rows = during(folder, [row for row in lines_of(folder / "resources.jsonl") if "mem_free_mb" in row])
    for row in rows:
        around = [one["free_mb"] for one in watch.samples if abs(one["ts_ms"] - row["ts_ms"]) <= 50]
        assert 0.98 * min(around) <= row["mem_free_mb"] <= 1.02 * max(around)  # others take some too


def test_bytes_a_second_are_the_kernels(run: tuple[Path, Watch]) -> None:
    folder, watch = run
    rows = during(folder, lines_of(folder / "links.jsonl"))
    for before, row in pairwise(rows):
        first, last = watch.at(before["ts_ms"]), watch.at(row["ts_ms"])
        seconds = (row["mono_ms"] - before["mono_ms"]) / 1000
        assert row["rx_Bps"] == pytest.approx((last["lo_bytes"] - first["lo_bytes"]) / seconds, rel=0.05)
        own = (row["rx_bytes_total"] - before["rx_bytes_total"]) / seconds
        assert row["rx_Bps"] == pytest.approx(own, rel=0.02)


def test_the_two_clocks_of_a_row_belong_together(run: tuple[Path, Watch]) -> None:
    folder, _ = run
    rows = lines_of(folder / "resources.jsonl") + lines_of(folder / "links.jsonl")
    offsets = {row["ts_ms"] - row["mono_ms"] for row in rows}
    assert max(offsets) - min(offsets) <= 2


def given(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of CPU that a process is given; all must be, where the kernel tells what ended processes used."""
    return [row for row in rows if row["pid"] is not None or can_listen()]


def test_process_cpu_is_what_one_busy_core_gives(run: tuple[Path, Watch]) -> None:
    folder, _ = run
    (seen,) = [row for row in lines_of(folder / "cctf" / "proc_inventory.jsonl") if row["event"] == "seen"]
    rows = given(lines_of(folder / "cctf" / "proc_cpu.jsonl"))
    assert {(row["pid"], row["starttime"]) for row in rows} == {(seen["pid"], seen["starttime"])}
    used_ms, elapsed_ms = sum(row["cpu_ms"] for row in rows), sum(row["dt_ms"] for row in rows)
    assert used_ms == pytest.approx(elapsed_ms, rel=0.1)
    for row in rows:
        assert abs(row["dt_ms"] - 1000) < 200


def test_show_tells_the_process_and_the_balance(run: tuple[Path, Watch], checkout: Checkout) -> None:
    shown = checkout.make("show", "RUN_ID=e2e").stdout
    (pid,) = {row["pid"] for row in given(lines_of(run[0] / "cctf" / "proc_cpu.jsonl"))}
    assert "n1 (cloud)" in shown
    assert f" {pid}  " in shown
    assert "every line accounted for" in shown


@pytest.mark.parametrize(
    "env",
    [
        {"TZ": "America/New_York", "LC_ALL": "C"},
        {"TZ": "Asia/Kolkata", "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"},
        {"TZ": "Pacific/Chatham", "HOME": "/nonexistent", "TMPDIR": "/nonexistent"},
    ],
)
def test_zone_locale_and_directory_change_no_byte(
    run: tuple[Path, Watch], checkout: Checkout, tmp_path: Path, env: dict[str, str]
) -> None:
    folder, _ = run
    raw = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    before = {path.name: path.read_bytes() for path in (folder / "cctf").iterdir()}
    script = str(checkout.root / "tools" / "parse_sys.py")
    done = checkout.run(sys.executable, script, "e2e", cwd=tmp_path, **env)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (folder / "cctf").iterdir()} == before
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == raw


def test_collecting_in_another_zone_and_locale_gives_the_same_kind_of_rows(checkout: Checkout) -> None:
    env = {
        "TZ": "Asia/Kolkata",
        "LC_ALL": "en_US.UTF-8",
        "LANG": "en_US.UTF-8",
        "S_TIME_FORMAT": "",
        "IFACE": "lo",
    }
    before_ms = time.time() * 1000
    assert checkout.make("start-collect", "RUN_ID=zone", **env).returncode == 0
    time.sleep(1.2)
    assert checkout.make("stop-collect", "RUN_ID=zone", **env).returncode == 0
    after_ms = time.time() * 1000
    rows = lines_of(checkout.logs("zone") / "resources.jsonl") + lines_of(
        checkout.logs("zone") / "links.jsonl"
    )
    assert len(rows) >= 3
    assert all(before_ms <= row["ts_ms"] <= after_ms for row in rows)
