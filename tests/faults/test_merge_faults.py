"""A merge killed at any moment, and one without room: the older merge is whole, the next one succeeds, and no
process stays behind."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Checkout, clean_environment, copy_checkout, need
from merges import bytes_of, machine, made_cctf, rss


def made_inputs(parent: Path, count: int, rows: int) -> str:
    """So many nodes with so many rows in two files each; as IN names them."""
    for number in range(count):
        node = f"vm{number}"
        lines = [rss(node, 10 * at, pid=number + 1) for at in range(rows)]
        host = [{"ts_ms": row["ts_ms"], "node": node, "stage": "edge", "mem_free_mb": 7} for row in lines]
        files = {"proc_rss.jsonl": lines, "host_metrics.jsonl": host}
        made_cctf(parent / node, node, files, **machine(str(number)))
    return f"{parent}/vm*"


@pytest.fixture
def copy(tmp_path: Path) -> Checkout:
    return copy_checkout(tmp_path / "kit")


def merge(copy: Checkout, words: str) -> "subprocess.CompletedProcess[str]":
    return copy.make("merge", "RUN_ID=r1", f"IN={words}")


def test_a_merge_killed_at_many_moments_leaves_the_older_one_and_nothing_that_lives(
    copy: Checkout, tmp_path: Path
) -> None:
    small = made_inputs(tmp_path / "small", 2, 10)
    large = made_inputs(tmp_path / "large", 4, 60_000)
    out = copy.root / "unified_cctf" / "r1"
    assert merge(copy, small).returncode == 0
    older = bytes_of(out)
    began = time.monotonic()
    assert merge(copy, large).returncode == 0
    lasted = time.monotonic() - began
    newer = bytes_of(out)
    assert merge(copy, small).returncode == 0
    was_building = 0
    for moment in range(1, 7):
        group = _started(copy, large)
        time.sleep(lasted * moment / 8)
        was_building += any(out.parent.glob(".r1.*.tmp"))
        _kill_main(group)
        assert _waited_until_empty(group)
        assert bytes_of(out) in (older, newer)
        if bytes_of(out) == newer:
            assert merge(copy, small).returncode == 0
    assert was_building >= 1
    assert merge(copy, large).returncode == 0
    assert bytes_of(out) == newer
    assert [path.name for path in out.parent.iterdir()] == ["r1"]


def _started(copy: Checkout, words: str) -> "subprocess.Popen[bytes]":
    """tools/merge.py in a session of its own."""
    return subprocess.Popen(
        [copy.root / "tools" / "merge.py"],
        env=clean_environment(RUN_ID="r1", IN=words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill_main(process: "subprocess.Popen[bytes]") -> None:
    """The main process alone: what it started has to end by itself."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


def _waited_until_empty(process: "subprocess.Popen[bytes]") -> bool:
    """Whether no process of the session is left within two seconds."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def small_disk(copy: Checkout) -> Iterator[Path]:
    """unified_cctf on a file system of 1 MB."""
    need(os.geteuid() == 0, "mounting a small file system needs root")
    place = copy.root / "unified_cctf"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_merge_without_room_says_so_and_leaves_the_older_one(
    copy: Checkout, small_disk: Path, tmp_path: Path
) -> None:
    assert merge(copy, made_inputs(tmp_path / "small", 2, 10)).returncode == 0
    older = bytes_of(small_disk / "r1")
    done = merge(copy, made_inputs(tmp_path / "large", 4, 8000))
    assert done.returncode == 2
    assert "No space left on device (exit 1)" in done.stderr
    assert bytes_of(small_disk / "r1") == older
    assert [path.name for path in small_disk.iterdir()] == ["r1"]


def test_two_machines_of_one_name_end_in_one_line_and_exit_code_1(copy: Checkout, tmp_path: Path) -> None:
    a = made_cctf(tmp_path / "a", "a")
    b = made_cctf(tmp_path / "b", "a", **machine("f"))
    done = copy.run("tools/merge.py", str(a), str(b), RUN_ID="r1")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(a) in done.stderr
    assert str(b) in done.stderr
    assert list((copy.root / "unified_cctf").iterdir()) == []


def test_what_the_commands_say_of_a_merge(copy: Checkout, tmp_path: Path) -> None:
    done = merge(copy, made_inputs(tmp_path / "in", 2, 10))
    assert done.stdout == "unified_cctf/r1: 40 records of 2 nodes (vm0, vm1)\n"
    assert copy.make("validate", "RUN_ID=r1").stdout.startswith("unified_cctf/r1: valid, ")
    done = copy.make("merge", "RUN_ID=r1")
    assert done.returncode == 2
    assert "IN is not given" in done.stderr
