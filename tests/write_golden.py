#!/usr/bin/env python3
"""Write tests/golden/<run>/cctf anew from tests/golden/<run>/raw. Review the diff; check the sums by hand."""

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit.parse.build import build

GOLDEN = Path(__file__).resolve().parent / "golden"


def parse_golden(run: Path, scratch: Path) -> Path:
    """A copy of the run's raw files under scratch, parsed; the copy's directory."""
    folder = scratch / run.name
    shutil.copytree(run / "raw", folder)
    build(folder)
    return folder


def main() -> int:
    """Every golden run."""
    for run in sorted(GOLDEN.iterdir()):
        with tempfile.TemporaryDirectory() as scratch:
            shutil.rmtree(run / "cctf", ignore_errors=True)
            shutil.copytree(parse_golden(run, Path(scratch)) / "cctf", run / "cctf")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
