"""What is to be merged: cctf directories, found by the words that a user gives, each looked at as a whole
before any line is read."""

import glob
import hashlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import msgspec

from tracekit.errors import TracekitError, UsageError
from tracekit.merge.archives import unpacked
from tracekit.records import CCTF_VERSION, FILES, Manifest, ManifestFile

ARCHIVES = (".tar.gz", ".tgz")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True)
class Input:
    """One cctf. name: as the user gave it; digest: SHA-256 of its manifest; node: "" where it names none."""

    name: str
    folder: Path
    manifest: Manifest
    digest: str

    @property
    def node(self) -> str:
        """The node that was collected on; "" where no collector ran."""
        return self.manifest.nodes[0] if self.manifest.nodes else ""

    @property
    def files(self) -> dict[str, ManifestFile]:
        """The listed files of the format, by name."""
        return {file.name: file for file in self.manifest.files if file.name in FILES}

    @property
    def unknown(self) -> list[str]:
        """The listed files that this release does not know."""
        return sorted(file.name for file in self.manifest.files if file.name not in FILES)

    @property
    def unlisted(self) -> list[str]:
        """What else the directory holds."""
        listed = {file.name for file in self.manifest.files} | {"manifest.json"}
        return sorted(path.name for path in self.folder.iterdir() if path.name not in listed)

    def document(self, name: str) -> Any:
        """A .json file, held against its hash and its record; None where the manifest lists none.

        Unknown members stay. Raises TracekitError where it is not what the manifest says."""
        file = self.files.get(name)
        if file is None:
            return None
        data = (self.folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise changed(self, name)
        wanted: Any = FILES[name].record
        if FILES[name].is_array:
            wanted = list[wanted]
        try:
            value = msgspec.json.decode(data)
            msgspec.convert(value, wanted)
        except _UNREADABLE as error:
            raise TracekitError(f"{self.name}: {name}: {error}; `make validate` says more") from error
        return value


def changed(source: Input, name: str) -> TracekitError:
    """The refusal of a file that is not the one that was written."""
    return TracekitError(
        f"{source.name}: {name} is not the file that its manifest lists (another hash): it was changed, or "
        "copied badly; copy it again, or parse that run again"
    )


def paths_of(words: str) -> list[str]:
    """The paths that IN means: words as a shell takes them, patterns filled in. Raises UsageError."""
    try:
        patterns = shlex.split(words)
    except ValueError as error:
        raise UsageError(f"IN={words!a}: {error}") from error
    if not patterns:
        raise UsageError('IN is not given: name the cctf directories to merge, as in IN="vm1/cctf vm2/cctf"')
    found: list[str] = []
    for pattern in patterns:
        matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern))  # noqa: PTH207 - may be absolute
        if not matches:
            raise TracekitError(f"{pattern}: no such directory or archive")
        found += matches
    return found


def read_inputs(paths: Sequence[str], scratch: Path) -> Iterator[Input]:
    """Each path as an input, whole but for the hashes. scratch: where archives are unpacked.

    Raises TracekitError where one is no cctf, is not whole, or is a merge already."""
    for number, path in enumerate(paths):
        folder = Path(path)
        if folder.is_file() and path.endswith(ARCHIVES):
            folder = unpacked(folder, scratch / str(number))
        elif not folder.is_dir():
            raise TracekitError(f"{path}: neither a directory nor a .tar.gz; name a cctf or its parent")
        elif not (folder / "manifest.json").exists() and (folder / "cctf").is_dir():
            folder = folder / "cctf"
        yield _read_input(path, folder)


def _read_input(name: str, folder: Path) -> Input:
    try:
        data = (folder / "manifest.json").read_bytes()
        manifest = msgspec.json.decode(data, type=Manifest)
    except FileNotFoundError as error:
        told = "no manifest.json there: it was copied by half, or never parsed"
        raise TracekitError(f"{name}: {told}; copy it again, or `make parse` on its VM") from error
    except _UNREADABLE as error:
        raise TracekitError(f"{name}: manifest.json: {error}; copy it again") from error
    if manifest.cctf_version.split(".")[0] != CCTF_VERSION.split(".")[0]:
        told = f"cctf_version is {manifest.cctf_version!a}, this release merges {CCTF_VERSION}"
        raise TracekitError(f"{name}: {told}")
    if len(manifest.nodes) > 1:
        nodes = ", ".join(sorted(manifest.nodes))
        raise TracekitError(f"{name}: is a merge already, of {nodes}; name their own directories instead")
    for file in manifest.files:
        _check_there(name, folder, file)
    return Input(name, folder, manifest, hashlib.sha256(data).hexdigest())


def _check_there(name: str, folder: Path, file: ManifestFile) -> None:
    """A listed file is there, a file itself, and as long as it was."""
    if "/" in file.name or "\0" in file.name or file.name in ("", ".", "..", "manifest.json"):
        raise TracekitError(f"{name}: its manifest lists {file.name!a}, which can be no file of a cctf")
    try:
        found = (folder / file.name).lstat()
    except FileNotFoundError as error:
        told = f"{file.name} is missing, its manifest lists it: it was copied by half"
        raise TracekitError(f"{name}: {told}; copy it again") from error
    if not S_ISREG(found.st_mode):
        raise TracekitError(f"{name}: {file.name} is no regular file; a cctf holds its files itself")
    if found.st_size != file.bytes:
        told = f"{file.name} has {found.st_size} bytes, its manifest says {file.bytes}"
        raise TracekitError(f"{name}: {told}: it was copied by half, or changed; copy it again")
