#!/usr/bin/env python3
"""Get uPlot, the charting library of the report: its pinned npm package, held against its hash before use.

Usage: tools/lib/fetch_uplot.py FOLDER. tools/setup.sh calls it. npm itself is not needed; npm_config_registry
and the usual proxy variables are followed.
"""

import hashlib
import io
import os
import sys
import tarfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracekit import cli
from tracekit.errors import TracekitError

_PATH = "uplot/-/uplot-1.6.32.tgz"
_SHA256 = "4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d"
_FILES = {
    "package/dist/uPlot.iife.min.js": "uPlot.js",
    "package/dist/uPlot.min.css": "uPlot.css",
    "package/LICENSE": "LICENSE",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Put the files into FOLDER."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder: Path = parser.parse_args(argv).folder
    package = _download()
    digest = hashlib.sha256(package).hexdigest()
    if digest != _SHA256:
        raise TracekitError(f"{_PATH}: SHA-256 is {digest}, not {_SHA256}; it is not used")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for name, target in _FILES.items():
            stream = archive.extractfile(name)
            assert stream is not None  # the hash says that it is there
            (folder / target).write_bytes(stream.read())
    return cli.DONE


def _download() -> bytes:
    registry = os.environ.get("npm_config_registry") or "https://registry.npmjs.org"  # noqa: SIM112 - npm's own
    url = f"{registry.rstrip('/')}/{_PATH}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bytes(answer.read())
    except OSError as error:
        raise TracekitError(f"{url}: {error}; is there a way to the network?") from error


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
