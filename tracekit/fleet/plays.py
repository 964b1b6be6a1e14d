"""Run a play of fleet/ on the hosts of an inventory, and hear what each host says.

The plays print through fleet/callback_plugins/told.py, one JSON object a line. A host that fails or cannot be
reached is out of its play; the others go on.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tracekit import ROOT
from tracekit.errors import REJECTED, UsageError

Say = Callable[[str], None]

FOLDER = ROOT / "fleet"
LOCAL = "localhost"  # where merge is at work
OF_MAKE = (
    "MAKEFLAGS",
    "MAKEOVERRIDES",
    "MAKELEVEL",
    "MFLAGS",
)  # of the make that called us: for none we call
_OF_ONE_VM = "raw files: "  # and how to stop them: what start says to somebody who is there


@dataclass
class Outcome:
    """hosts: those that answered or failed. failed: host -> why. rejected: hosts whose parse told exit 3.
    merged: those whose cctf went into the merged trace.

    let_go_ms: host -> ms after the common second at which its start went on, by its own clock."""

    hosts: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)
    merged: set[str] = field(default_factory=set)
    let_go_ms: dict[str, float] = field(default_factory=dict)

    @property
    def well(self) -> set[str]:
        """The hosts that did not fail."""
        return self.hosts - self.failed.keys()

    def add(self, later: "Outcome") -> None:
        """Take over what a later play told; of a host that failed twice, the first reason."""
        self.hosts |= later.hosts
        self.failed = {**later.failed, **self.failed}
        self.unreachable |= later.unreachable
        self.rejected |= later.rejected
        self.merged |= later.merged
        self.let_go_ms |= later.let_go_ms


class Fleet:
    """The hosts of one inventory. given: variables whose values, in the environment, go to every host."""

    def __init__(self, inventory: Path, given: Sequence[str], say: Say, warn: Say) -> None:
        if not inventory.exists():
            raise UsageError(
                f"HOSTS={inventory}: no such inventory; fleet/inventory.example.yml shows how one looks"
            )
        self._inventory = inventory.resolve()
        self._given = given
        self._say, self._warn = say, warn

    def play(self, name: str, hosts: set[str] | None = None, **values: str) -> Outcome:
        """Run fleet/<name>.yml on all hosts, or on these, and tell what they say.

        Raises UsageError where the inventory names no host."""
        command = [sys.executable, "-I", "-m", "ansible", "playbook", "-i", str(self._inventory)]
        if hosts is not None:
            command += ["--limit", ",".join(sorted({*hosts, LOCAL}))]
        command += ["--extra-vars", msgspec.json.encode(values).decode(), str(FOLDER / f"{name}.yml")]
        outcome = Outcome()
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C is ours alone
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self._hear(line.rstrip("\n"), outcome)
        if not outcome.hosts:
            raise UsageError(f"no host of {self._inventory} took part; Ansible's own words stand above")
        return outcome

    def _environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in environ.items() if name not in OF_MAKE}
        own = {
            "ANSIBLE_CONFIG": str(FOLDER / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "told",
            "ANSIBLE_NOCOLOR": "1",
            "FLEET_GIVEN": " ".join(self._given),
            "LC_ALL": "C.UTF-8",  # Ansible wants an encoding that can say everything
        }
        return {**kept, **own}

    def _hear(self, line: str, outcome: Outcome) -> None:
        if not line.startswith('{"state"'):
            if line:
                self._warn(line)
            return
        told = msgspec.json.decode(line, type=dict)
        host = told["host"]
        outcome.hosts.add(host)
        if told["state"] != "ok":
            outcome.failed[host] = f"{told['task']}: {_reason(told)}"
            if told["state"] == "unreachable":
                outcome.unreachable.add(host)
                outcome.failed[host] = f"unreachable: {_reason(told).rpartition('ssh: ')[2]}"
            self._warn(f"{host}: {outcome.failed[host]}")
            return
        self._hear_well(told, outcome)

    def _hear_well(self, told: Mapping[str, Any], outcome: Outcome) -> None:
        """What the commands of a task that went well said; a moment of the start is kept and not shown."""
        host = told["host"]
        if told.get("rc") == REJECTED:
            outcome.rejected.add(host)
        for line in str(told.get("stdout", "")).splitlines():
            if line.startswith('{"let_go_ms"'):
                outcome.let_go_ms[host] = msgspec.json.decode(line)["let_go_ms"]
            elif not line.startswith(_OF_ONE_VM):
                self._say(f"{host}: {line}")
        for line in str(told.get("stderr", "")).splitlines():
            self._warn(f"{host}: {line}")


def _reason(told: Mapping[str, Any]) -> str:
    """The last line that says something: of the command's stderr, else of its stdout, else Ansible's."""
    for name in ("stderr", "stdout", "msg"):
        lines = [line for line in str(told.get(name, "")).splitlines() if line.strip()]
        if lines:
            return lines[-1]
    return "no reason given"
