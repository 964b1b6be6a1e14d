"""A cctf in a .tar.gz: unpacked into a folder of ours, its files alone, whatever else is in the archive.

Names are taken from the manifest, never from the archive, so nothing can be written elsewhere; and no more
bytes than the manifest says.
"""

import tarfile
import zlib
from pathlib import Path, PurePosixPath

import msgspec

from tracekit.errors import TracekitError
from tracekit.records import Manifest

_BLOCK = 1 << 18
_MANIFEST_LIMIT = 1 << 24  # bytes
_BROKEN = (tarfile.TarError, EOFError, zlib.error, OSError)


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder with the cctf of an archive, which may lie at any depth in it.

    Raises TracekitError where the archive is damaged, or holds not just one cctf. What it lacks is for the
    reader of the folder to tell."""
    try:
        where, data = _manifest(archive)
    except _BROKEN as error:
        raise TracekitError(f"{archive}: not a whole .tar.gz ({error}); copy it again") from error
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(data)
    try:
        sizes = {file.name: file.bytes for file in msgspec.json.decode(data, type=Manifest).files}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return folder  # its reader says what is wrong
    try:
        with tarfile.open(archive, "r|gz") as members:
            for member in members:
                path = PurePosixPath(member.name)
                if path.parent == where and path.name in sizes and path.name != "manifest.json":
                    _copy(members, member, folder / path.name, sizes[path.name])
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk that we write to
        raise TracekitError(f"{archive}: not a whole .tar.gz ({error}); copy it again") from error
    return folder


def _manifest(archive: Path) -> tuple[PurePosixPath, bytes]:
    """Where in the archive the cctf is, and its manifest."""
    found: list[tuple[PurePosixPath, bytes]] = []
    with tarfile.open(archive, "r|gz") as members:
        for member in members:
            path = PurePosixPath(member.name)
            stream = members.extractfile(member) if path.name == "manifest.json" else None
            if stream:
                found.append((path.parent, stream.read(_MANIFEST_LIMIT)))
    if len(found) != 1:
        told = "holds no manifest.json, so no cctf" if not found else f"holds {len(found)} manifest.json"
        raise TracekitError(f"{archive}: {told}; pack one cctf directory an archive")
    return found[0]


def _copy(members: tarfile.TarFile, member: tarfile.TarInfo, target: Path, size: int) -> None:
    source = members.extractfile(member) if member.isreg() and member.size == size else None
    if source is None:
        return  # then it is missing, and the reader of the folder says so
    with target.open("wb") as stream:
        while block := source.read(_BLOCK):
            stream.write(block)
