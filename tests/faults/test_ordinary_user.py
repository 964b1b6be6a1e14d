"""A run of a user who is not root: what he may see, and what he may write."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import IGNORED, ROOT, Checkout, clean_environment, need
from live import assert_ticks_are_made, lines_of
from workload import Cpu, cpu_of

NOBODY = 65534
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def as_nobody(*command: str) -> list[str]:
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]


@pytest.fixture
def of_nobody() -> Iterator[Checkout]:
    """A copy of the checkout that belongs to an ordinary user, with a Python that he may read."""
    need(os.geteuid() == 0, "becoming another user needs root")
    need(shutil.which("setpriv") and shutil.which("unshare"), "unshare and setpriv (package util-linux)")
    from tracekit.runs import state_home  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp(prefix="tracekit-hidepid-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        copy = Checkout(folder / "kit")
        shutil.copytree(ROOT, copy.root, ignore=IGNORED)
        make_readable_venv(copy.root / ".venv")
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", copy.root], check=True)
        yield copy
        shutil.rmtree(Path(f"/var/tmp/tracekit-{NOBODY}") / state_home(copy.root).name, ignore_errors=True)
    finally:
        shutil.rmtree(folder)


def make_readable_venv(venv: Path) -> None:
    """The checkout's own packages under the system's Python, where .venv's Python is in a private place."""

    def works(python: Path) -> bool:
        # By way of a shell: what setpriv itself executes, it may still find with root's rights.
        command = as_nobody("sh", "-c", 'exec "$0" "$@"', str(python), "-I", "-c", "import msgspec, psutil")
        done = subprocess.run(command, env=clean_environment(), capture_output=True, check=False, cwd="/")
        return done.returncode == 0

    if works(ROOT / ".venv" / "bin" / "python"):
        venv.symlink_to(ROOT / ".venv")
        return
    command = ["/usr/bin/python3", "-m", "venv", "--system-site-packages", "--without-pip", str(venv)]
    made = subprocess.run(command, env=clean_environment(), capture_output=True, check=False)
    need(made.returncode == 0, "a Python that an ordinary user may read (package python3-venv)")
    (into,) = venv.glob("lib/python3*/site-packages")
    for packages in (ROOT / ".venv").glob("lib/python3*/site-packages"):
        (into / "checkout.pth").write_text(f"{packages}\n")
    need(works(venv / "bin" / "python"), "msgspec and psutil for a Python that an ordinary user may read")


def test_under_hidepid_an_ordinary_user_traces_his_own_processes_and_it_is_said_once(
    of_nobody: Checkout,
) -> None:
    mounted = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'  # a new instance, for these commands only

    def hidden(*words: str) -> "subprocess.CompletedProcess[str]":
        make = as_nobody("make", "--no-print-directory", "-C", str(of_nobody.root), *words)
        return of_nobody.run("unshare", "--mount", "sh", "-c", mounted, "sh", *make, PATH=SYSTEM_PATH)

    busy = [shutil.which("sh", path=SYSTEM_PATH) or "sh", "-c", "while :; do :; done # tk-hidden"]
    with subprocess.Popen(as_nobody(*busy)) as own, subprocess.Popen(busy) as foreign:
        try:
            done = hidden("start-collect", "RUN_ID=hidden", "IFACE=lo", "PROC_MATCH=tk-hidden$")
            assert done.returncode == 0, done.stderr
            time.sleep(4)
            os.kill(own.pid, 19)
            time.sleep(1.2)
            truth = cpu_of(own.pid)
            stopped = hidden("stop-collect", "RUN_ID=hidden")
        finally:
            for process in (own, foreign):
                process.kill()
    assert stopped.returncode == 0, stopped.stderr
    parsed = hidden("parse", "RUN_ID=hidden")
    assert parsed.returncode == 0, parsed.stderr
    folder = of_nobody.logs("hidden")
    assert folder.stat().st_uid == NOBODY
    rows = lines_of(folder / "proc_metrics.jsonl")
    assert {(row["pid"], row["starttime"]) for row in rows} == {(own.pid, truth.starttime)}
    last = rows[-1]
    assert truth == Cpu(last["utime"] + last["stime"], last["starttime"])
    messages = (folder / "procmon.err").read_text().splitlines()
    assert len([line for line in messages if "hidepid" in line]) == 1
    assert len(messages) <= 3  # one a cause, not one a tick
    assert_ticks_are_made(json.loads((folder / "cctf" / "quality.json").read_text())["collectors"]["proc"])


def user_make(checkout: Checkout, *words: str) -> "subprocess.CompletedProcess[str]":
    command = as_nobody("make", "--no-print-directory", "-C", str(checkout.root), *words)
    return checkout.run(*command, PATH=SYSTEM_PATH)


def test_a_whole_run_works_for_an_ordinary_user_and_no_other_may_read_it(of_nobody: Checkout) -> None:
    busy = as_nobody("sh", "-c", "while :; do :; done # tk-ordinary")
    with subprocess.Popen(busy) as process:
        try:
            done = user_make(of_nobody, "start-collect", "RUN_ID=own", "IFACE=lo", "PROC_MATCH=tk-ordinary$")
            assert done.returncode == 0, done.stderr
            time.sleep(2.2)
            assert user_make(of_nobody, "status", "RUN_ID=own").returncode == 0
        finally:
            stopped = user_make(of_nobody, "stop-collect", "RUN_ID=own")
            process.kill()
    assert (stopped.returncode, stopped.stderr) == (0, "")
    for target in ("parse", "validate", "show"):
        done = user_make(of_nobody, target, "RUN_ID=own")
        assert done.returncode == 0, done.stderr
    folder = of_nobody.logs("own")
    assert {row["pid"] for row in lines_of(folder / "cctf" / "proc_cpu.jsonl")} >= {process.pid}
    for path in (folder, *folder.rglob("*")):
        found = path.stat()
        assert (found.st_uid, found.st_mode & 0o007) == (NOBODY, 0), path


def test_a_directory_of_another_user_is_refused_in_one_line(of_nobody: Checkout) -> None:
    logs = of_nobody.root / "logs"
    logs.mkdir(mode=0o755, exist_ok=True)  # root's
    (logs / "theirs").mkdir(mode=0o755)
    for run_id in ("mine", "theirs"):
        done = user_make(of_nobody, "start-collect", f"RUN_ID={run_id}", "IFACE=lo")
        assert done.returncode == 2
        ours = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
        assert len(ours) == 1, ours
        assert "Permission denied" in ours[0]
    assert user_make(of_nobody, "status", "RUN_ID=mine").returncode == 2
    assert [path.name for path in logs.iterdir()] == ["theirs"]
    assert list((logs / "theirs").iterdir()) == []
