"""Tracekit: from the counters of a Linux VM to a trace that a datacentre simulator can replay.

Everything here runs from a clone. The commands in tools/ may be started by any python3: where that
one lacks the locked packages and the checkout has a .venv, the command goes on under .venv's Python.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(__file__).resolve().parents[1]


_STDLIB_ONLY = {"settings.py"}  # runs before set-up


def _continue_in_venv() -> None:
    command = Path(sys.argv[0]).resolve()
    if not command.is_relative_to(ROOT / "tools") or find_spec("msgspec") is not None:
        return
    python = ROOT / ".venv" / "bin" / "python"
    if os.access(python, os.X_OK) and not sys.executable.startswith(str(python.parent)):
        os.execv(python, [str(python), *sys.orig_argv[1:]])
    if command.name not in _STDLIB_ONLY:
        sys.exit(f"{command.stem}: the Python environment is missing or incomplete: run 'make setup'")


_continue_in_venv()
