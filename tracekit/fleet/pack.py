"""What a VM needs of this checkout, as an archive that is the same bytes for the same files."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from tracekit import ROOT

PARTS = ("Makefile", "app", "requirements", "scenarios", "tools", "tracekit")


def write_archive(target: Path, root: Path = ROOT) -> str:
    """Write the parts as tar.gz: sorted, of nobody, without a time. Returns the archive's SHA-256."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as tar,
    ):
        for part in PARTS:
            tar.add(root / part, part, filter=_plain)  # a folder's entries come sorted
    target.write_bytes(packed.getvalue())
    return hashlib.sha256(packed.getvalue()).hexdigest()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if "__pycache__" in entry.name:
        return None
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry
