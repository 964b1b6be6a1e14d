"""The directory of a run removed, renamed, read-only or another user's."""

import shutil
import stat
import subprocess

import pytest
from conftest import Checkout
from live import LO, Clean, holder_of, marks_of, quality_of, start, state_of, wait_for


def test_removed_run_directory_ends_the_run_and_is_said(checkout: Checkout, finished_run: Clean) -> None:
    start(checkout, "vanished")
    shutil.rmtree(checkout.logs("vanished"))
    assert wait_for(lambda: holder_of(checkout, "vanished") is None, 5.0)
    finished_run("vanished")
    assert "was removed or renamed" in str(state_of(checkout, "vanished")["error"])
    start(checkout, "vanished")  # a removed directory is a new run
    assert checkout.make("stop-collect", "RUN_ID=vanished").returncode == 0
    assert marks_of(checkout, "vanished", "restart") == []


def test_renamed_run_directory_ends_the_run_and_keeps_its_rows(
    checkout: Checkout, finished_run: Clean
) -> None:
    start(checkout, "moved")
    moved = checkout.logs("moved").rename(checkout.logs("moved-away"))
    before = (moved / "resources.jsonl").read_bytes()
    assert wait_for(lambda: holder_of(checkout, "moved") is None, 5.0)
    finished_run("moved")
    assert "was removed or renamed" in str(state_of(checkout, "moved")["error"])
    assert not checkout.logs("moved").exists()
    assert (moved / "resources.jsonl").read_bytes().startswith(before)
    moved.rename(checkout.logs("moved"))
    done = checkout.make("stop-collect", "RUN_ID=moved")
    assert done.returncode == 2  # part of the run is lost, and stop says it
    assert "was removed or renamed" in done.stderr
    assert quality_of(checkout, "moved")["balanced"]


@pytest.mark.parametrize("name", ["resources.jsonl", "links.jsonl", "proc_metrics.jsonl"])
def test_a_raw_file_that_is_removed_or_replaced_ends_the_run(
    checkout: Checkout, finished_run: Clean, name: str
) -> None:
    run_id = f"replaced-{name.split('.', maxsplit=1)[0]}"
    start(checkout, run_id)
    (checkout.logs(run_id) / name).unlink()
    (checkout.logs(run_id) / name).write_text("another\n")
    assert wait_for(lambda: holder_of(checkout, run_id) is None, 5.0)
    finished_run(run_id)
    assert f"{name} was removed or renamed" in str(state_of(checkout, run_id)["error"])
    assert (checkout.logs(run_id) / name).read_text() == "another\n"


def test_a_read_only_disk_is_refused_before_anything_is_started(small: Checkout, finished_run: Clean) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small.root / "logs"], check=True)
    done = small.make("start-collect", "RUN_ID=readonly", **LO)
    assert done.returncode == 2
    assert "Read-only file system" in done.stderr
    assert len(done.stderr.splitlines()) == 2  # one of ours, and make's
    finished_run("readonly")
    assert not small.logs("readonly").exists()


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_files_of_a_run_are_open_to_owner_and_group_at_most(checkout: Checkout, umask: str) -> None:
    run_id = f"umask-{umask}"
    script = 'umask "$1"; for goal in start-collect stop-collect parse; do make -s $goal RUN_ID="$2"; done'
    done = checkout.run("bash", "-euc", script, "bash", umask, run_id, **LO)
    assert done.returncode == 0, done.stderr
    wanted = 0o640 & ~int(umask, 8)
    folder = checkout.logs(run_id)
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o027 & ~0o050 == 0, (path, oct(mode))
        assert mode & 0o600 == 0o600
        if path.is_file():
            assert mode & ~wanted == 0, (path, oct(mode))
