"""The manifest against the directory: what is listed is there as it was written, and nothing else is."""

import hashlib
from collections import Counter
from pathlib import Path
from stat import S_ISREG

from tracekit.records import CCTF_VERSION, FILES, Manifest, ManifestFile
from tracekit.validate.report import Report, shown

MADE_OF_IT = {"exports", "report.html"}  # what a merged run may have beside its files


def check_listing(folder: Path, manifest: Manifest, report: Report) -> dict[str, ManifestFile]:
    """The listed files that can be read on, by name; whatever else there is goes into the report."""
    if manifest.cctf_version.split(".")[0] != CCTF_VERSION.split(".")[0]:
        told = f"cctf_version is {shown(manifest.cctf_version)}, this tool reads {CCTF_VERSION}"
        report.error("manifest", "manifest.json", told)
    times = Counter(file.name for file in manifest.files)
    for name in sorted(name for name in times if times[name] > 1):
        report.error("manifest", "manifest.json", f"lists {shown(name)} {times[name]} times")
    for node in sorted(node for node, count in Counter(manifest.nodes).items() if count > 1):
        report.error("manifest", "manifest.json", f"names the node {shown(node)} more than once")
    for path in sorted(folder.iterdir()):
        is_ours = path.name == "manifest.json" or path.name in MADE_OF_IT
        if path.name not in times and not is_ours:
            report.error("unlisted", path.name, "is there, but the manifest does not list it")
    if "quality.json" not in times:
        report.error("missing", "quality.json", "is missing; nobody can tell what the run lost")
    if manifest.nodes and "nodes.json" not in times:
        told = f"is missing; the manifest names {shown(sorted(manifest.nodes))}"
        report.error("missing", "nodes.json", told)
    return {file.name: file for file in manifest.files if _is_as_listed(folder, file, report)}


def _is_as_listed(folder: Path, file: ManifestFile, report: Report) -> bool:
    """Whether there is a file of the format to read on, be its bytes right or wrong."""
    name = file.name
    if "/" in name or "\0" in name or name in ("", ".", "..", "manifest.json"):
        report.error("manifest", "manifest.json", f"lists {shown(name)}, which can be no file of a cctf")
        return False
    path = folder / name
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        report.error("missing", name, f"is missing, the manifest lists it ({error.strerror})")
        return False
    if not S_ISREG(mode):
        report.error("not_a_file", name, "is no regular file; a cctf holds its files itself")
        return False
    _check_bytes(path, file, report)
    if name not in FILES:
        report.tell("unknown_file", name, "is listed, but this release does not know it")
    return name in FILES


def _check_bytes(path: Path, file: ManifestFile, report: Report) -> None:
    digest, size, has_returns, last = hashlib.sha256(), 0, False, b"\n"
    with path.open("rb") as stream:
        while block := stream.read(1 << 18):
            digest.update(block)
            size += len(block)
            has_returns = has_returns or b"\r" in block
            last = block[-1:]
    if digest.hexdigest() != file.sha256 or size != file.bytes:
        told = f"{size} bytes for {file.bytes}" if size != file.bytes else "another hash"
        report.error("hash", file.name, f"is not the file that was written ({told}); make the cctf again")
    if has_returns:  # in strict JSON it can stand at the end of a line only
        report.error("encoding", file.name, "has carriage returns; lines end in LF")
    if file.name.endswith(".jsonl") and last != b"\n":
        report.error("encoding", file.name, "its last line does not end in LF")
