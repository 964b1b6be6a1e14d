"""The archive that ui.perfetto.dev and trace_processor open: the traces, and the manifest that relates them.

Source: Perfetto, docs/reference/perfetto-manifest (version 1).
"""

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tracekit.jsonl import encode

REQUESTS = "requests.pftrace"
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # ZIP knows no earlier date; the same data set gives the same bytes


def manifest(run_id: str, nodes: Sequence[str], offsets_ns: dict[str, int]) -> dict[str, object]:
    """Each node is a machine. Its clock reads T + offset when that of the requests (corrected) reads T."""
    clock = "REALTIME"
    files: list[dict[str, object]] = [{"path": REQUESTS}]
    for node in nodes:
        entry: dict[str, object] = {"path": path_of(node), "machine": {"name": node}}
        if offsets_ns.get(node):
            sync = {"file": REQUESTS, "clock": clock}
            entry["clocks"] = {"clock": clock, "sync_to": sync, "offset_ns": -offsets_ns[node]}
        files.append(entry)
    told = {
        "version": 1,
        "trace_time": {"clock": clock, "file": REQUESTS},
        "files": files,
        "attributes": {"tracekit.run_id": run_id},
    }
    return {"perfetto_manifest": told}


def path_of(node: str) -> str:
    """The file of a node in the archive. "node." keeps it apart from the requests, whatever its name."""
    return f"node.{node}.pftrace"


def pack(target: Path, document: dict[str, object], files: Sequence[Path]) -> None:
    """Write the archive and remove the files."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_member("perfetto_manifest.json"), encode(document))
        for path in files:
            with path.open("rb") as source, archive.open(_member(path.name), "w") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            path.unlink()


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _EARLIEST)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member
