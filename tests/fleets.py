"""Hosts made on this machine for the tests: `tools/fleet_local.py hold`, and make in their network."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import Checkout, clean_environment, need

from tracekit.collect import procfs

TIMEOUT_S = 300


def need_a_fleet() -> None:
    need(os.geteuid() == 0, "network namespaces and sshd need root")
    need(shutil.which("sshd"), "sshd (package openssh-server)")


@dataclass
class HeldFleet:
    """Hosts that stay until the block ends. inventory: theirs, and one host more that nobody has."""

    checkout: Checkout
    process: "subprocess.Popen[str]"
    folder: Path

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory.yml"

    @property
    def with_a_stranger(self) -> Path:
        told = json.loads(self.inventory.read_text())
        told["all"]["hosts"]["gone0"] = {"ansible_host": "10.0.0.99"}
        path = self.folder / "with_a_stranger.yml"
        path.write_text(json.dumps(told))
        return path

    def begin(self, *words: str, **env: str) -> "subprocess.Popen[str]":
        """make in the hosts' network, in a session of its own."""
        enter = ["nsenter", "--net", f"--target={self.process.pid}"]
        return subprocess.Popen(
            [*enter, "make", "--no-print-directory", "-C", str(self.checkout.root), *words],
            env=clean_environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def make(self, *words: str, **env: str) -> tuple[int, str]:
        """The exit code, and all that was said."""
        with self.begin(*words, **env) as process:
            said, _ = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, said


@contextmanager
def held_fleet(checkout: Checkout, count: int, folder: Path) -> Iterator[HeldFleet]:
    folder.mkdir()
    process = subprocess.Popen(
        [checkout.root / "tools" / "fleet_local.py", "hold"],
        env=clean_environment(N=str(count), TMPDIR=str(folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        told = next(line for line in process.stdout if line.startswith("HOSTS="))
        yield HeldFleet(checkout, process, Path(told.strip().removeprefix("HOSTS=")).parent)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_S)


def processes_under(folder: Path) -> list[int]:
    """Living processes that name the folder in their command line or work in it."""
    found = []
    for pid in procfs.list_pids():
        try:
            words, state = procfs.read(pid, "cmdline"), procfs.read_stat(pid).fields[procfs.STATE]
            if state not in procfs.DEAD and os.fsencode(folder) in words:
                found.append(pid)
        except OSError:
            continue
    return found
