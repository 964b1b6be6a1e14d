"""What was started by this checkout and not ended yet: a folder each, out of any container's reach.

The folder's name is a token that every process of the service has in its environment, which is how
they are told from all others; a pid in a file is never trusted.
"""

import secrets
import shutil
from pathlib import Path
from typing import Any

from tracekit import ROOT, jsonl
from tracekit.errors import TracekitError
from tracekit.runs import Run, make_state, state_home
from tracekit.service.plan import Plan

TOKEN = "TRACEKIT_SERVICE"


class Started:
    """A service that was started. kind: local or docker; container: its id; image: null for a local one."""

    def __init__(self, folder: Path, told: dict[str, Any]) -> None:
        self.folder, self.token = folder, folder.name
        self.kind = str(told.get("kind"))
        self.run = Run(str(told.get("run_id")))
        self.node = str(told.get("node"))
        self.host, self.port = str(told.get("host")), int(told.get("port") or 0)
        self.title = (
            f"the service on {self.host}:{self.port} of RUN_ID={self.run.run_id}"
            if told
            else "a service whose start was cut short"
        )
        self.container = told.get("container")
        self.image, self.workers, self.scen = told.get("image"), told.get("workers"), told.get("scen")

    def forget(self) -> None:
        """It has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)


def new_folder(run: Run) -> Path:
    """A folder for a service that is about to be started; its store lives there too."""
    make_state(run)  # checks that all folders above are this user's alone
    folder = state_home(run.root) / ".service" / secrets.token_hex(16)
    folder.mkdir(mode=0o700, parents=True)
    return folder


def note(folder: Path, plan: Plan, kind: str, **more: object) -> Started:
    """Write down what was started."""
    told = {
        "kind": kind,
        "run_id": plan.run.run_id,
        "node": plan.node,
        "host": plan.host,
        "port": plan.port,
        "workers": plan.workers,
        "scen": plan.scen or None,
        **more,
    }
    jsonl.write_document(folder / "service.json", told)
    return Started(folder, told)


def all_started(root: Path = ROOT) -> list[Started]:
    """Every service of this checkout and user that was started and not ended, in the order of their ports."""
    found = []
    for folder in (state_home(root) / ".service").glob("*"):
        try:
            told = jsonl.read_document(folder / "service.json")
        except (TracekitError, OSError):
            told = {}  # half written: its processes are found by the token all the same
        found.append(Started(folder, told))
    return sorted(found, key=lambda one: (one.port, one.token))
