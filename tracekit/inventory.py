"""module_inventory.json: which modules an app consists of. The collector itself knows of none."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracekit import jsonl
from tracekit.errors import TracekitError

FILE = "module_inventory.json"


def write_module_inventory(
    folder: Path, app_id: str | None = None, modules: list[dict[str, Any]] | None = None
) -> None:
    """Create the inventory, or add to it: one entry for each module_id, what is there stays.

    Writers take turns, and one that has nothing to add leaves the file alone. Raises TracekitError where
    what is there is no inventory."""
    with _alone(folder):
        inventory = _read(folder / FILE)
        known = {str(module.get("module_id")): module for module in inventory.get("modules", [])}
        for module in modules or []:
            known.setdefault(module["module_id"], module)
        app = inventory.get("app_id") or app_id
        wanted = {"app_id": app, "modules": [known[key] for key in sorted(known)]}
        if wanted != inventory:
            jsonl.write_document(folder / FILE, wanted)


def _read(path: Path) -> dict[str, Any]:
    """What is there, {} where nothing is: an app may have written it.

    Raises TracekitError where modules are not a list of objects."""
    inventory = jsonl.read_document(path)
    modules = inventory.get("modules", [])
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise TracekitError(f"{path}: `modules` is no list of objects; mend it or remove it")
    return inventory


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
