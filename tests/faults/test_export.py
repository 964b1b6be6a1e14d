"""An export that is killed, or that finds no room: there is always a whole one, the older or the new."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Checkout, clean_environment
from runs import snapshot
from workload import fill

GOLDEN = ROOT / "tests" / "golden" / "one-node"
SLOW = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop())
from tracekit import cli
from tracekit.cli_export import exporter
sys.argv[0] = "planetlab"

def export(dataset, folder, settings, audit):
    (folder / "edge0").write_text("half of")
    print("half", flush=True)
    signal.pause()

raise SystemExit(cli.run(exporter("Never ends.", export)))
"""


@pytest.fixture
def run_dir(small: Checkout) -> Path:
    """A run with a whole export, on a file system of 1 MB."""
    folder = small.logs("r1")
    shutil.copytree(GOLDEN / "cctf", folder / "cctf")
    done = export(small)
    assert done.returncode == 0, done.stderr
    return folder


def export(checkout: Checkout) -> "subprocess.CompletedProcess[str]":
    program = checkout.root / "tools" / "exporters" / "planetlab.py"
    return checkout.run(sys.executable, "-I", str(program), str(checkout.logs("r1")))


def test_without_room_the_older_export_stays_and_nothing_else_is_left(small: Checkout, run_dir: Path) -> None:
    before = snapshot(run_dir / "exports")
    filled = fill(small)
    done = export(small)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert snapshot(run_dir / "exports") == before
    filled.unlink()
    assert export(small).returncode == 0
    assert snapshot(run_dir / "exports") == before


def test_what_a_killed_export_left_is_gone_after_the_next(small: Checkout, run_dir: Path) -> None:
    before = snapshot(run_dir / "exports")
    command = [sys.executable, "-I", "-c", SLOW, str(run_dir), str(small.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment(), text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        os.kill(process.pid, signal.SIGKILL)
    left = [path.name for path in (run_dir / "exports").iterdir() if path.name.startswith(".")]
    assert left == [f".planetlab.{process.pid}.tmp"]
    assert (run_dir / "exports" / "planetlab" / "edge0").read_bytes() == before["planetlab/edge0"]
    assert export(small).returncode == 0
    assert snapshot(run_dir / "exports") == before
