"""Is a directory a whole and true cctf? Every line against its record, every file against the manifest.

The records are those that the JSON Schemas in docs/schema/ are made from, so a pass here is a pass
there; typed decoding only says it a hundred times faster.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tracekit.errors import BadLineError, TracekitError
from tracekit.parse.quality import is_balanced
from tracekit.parse.reading import Account, Reader
from tracekit.records import CCTF_VERSION, FILES, Manifest, ManifestFile, Quality


def find_problems(folder: Path) -> Iterator[str]:
    """What is wrong, as "file:line: what" or "file: what"; nothing where all is well.

    Raises TracekitError where folder holds no readable manifest.json: then it is no cctf at all."""
    manifest = read_manifest(folder)
    if manifest.cctf_version.split(".")[0] != CCTF_VERSION.split(".")[0]:
        yield f"manifest.json: cctf_version is {manifest.cctf_version}, this tool reads {CCTF_VERSION}"
    listed = {file.name for file in manifest.files}
    for path in sorted(folder.iterdir()):
        if path.name not in listed and path.name != "manifest.json":
            yield f"{path.name}: is there, but the manifest does not list it"
    for file in manifest.files:
        yield from _problems_of_file(folder, file)
    if "quality.json" not in listed:
        yield "quality.json: is missing; nobody can tell what the run lost"
    yield from _problems_of_rejects(folder, manifest)


def _problems_of_rejects(folder: Path, manifest: Manifest) -> Iterator[str]:
    """rejected.jsonl holds exactly the lines that quality.json counts."""
    records = {file.name: file.records for file in manifest.files}
    try:
        quality = msgspec.json.decode((folder / "quality.json").read_bytes(), type=Quality)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return  # said already
    counted = sum(sum(one.rejected.values()) for one in quality.inputs.values())
    if counted != records.get("rejected.jsonl", 0):
        yield f"rejected.jsonl: has {records.get('rejected.jsonl', 0)} lines, quality.json counts {counted}"


def read_manifest(folder: Path) -> Manifest:
    """manifest.json of a cctf. Raises TracekitError where there is none."""
    path = folder / "manifest.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise TracekitError(
            f"{folder}: no manifest.json here, so this is no cctf; `make parse` makes one"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TracekitError(f"{path}: {error}; parse the run again") from error


def _problems_of_file(folder: Path, file: ManifestFile) -> Iterator[str]:
    path = folder / file.name
    if "/" in file.name or file.name not in FILES:
        yield f"manifest.json: lists {file.name!r}, which is no file of a cctf"
        return
    try:
        digest = _sha256(path)
    except FileNotFoundError:
        yield f"{file.name}: is missing, the manifest lists it"
        return
    if digest != file.sha256 or path.stat().st_size != file.bytes:
        yield f"{file.name}: is not the file that was written (its hash is not the manifest's); parse again"
    yield from (
        _problems_of_lines(path, file) if path.suffix == ".jsonl" else _problems_of_document(path, file)
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 18):
            digest.update(block)
    return digest.hexdigest()


def _problems_of_lines(path: Path, file: ManifestFile) -> Iterator[str]:
    kind = FILES[file.name]
    bad: list[BadLineError] = []
    account = Account()
    times: list[int] = []
    last: tuple[bool, int] | None = None
    reader = Reader(kind.record, lambda one, _line: bad.append(one))
    for batch in reader.read(path, account):
        yield from (str(one) for one in bad)
        bad.clear()
        if not kind.sort_key:
            continue
        for number, record in zip(batch.numbers, batch.records, strict=True):
            value = getattr(record, kind.sort_key)
            key = (value is None, value or 0)
            if last is not None and key < last:
                yield f"{file.name}:{number}: is not in the order of {kind.sort_key}"
            last = key
            if value is not None:
                times = [min(value, *times[:1]), max(value, *times[1:])] if times else [value, value]
    yield from (str(one) for one in bad)
    if account.lines != file.records:
        yield f"{file.name}: has {account.lines} records, the manifest says {file.records}"
    if (file.first_ts, file.last_ts) != (tuple(times) or (None, None)):
        yield f"{file.name}: its first and last {kind.sort_key or 'time'} are not those of the manifest"


def _problems_of_document(path: Path, file: ManifestFile) -> Iterator[str]:
    kind = FILES[file.name]
    wanted: Any = list[kind.record] if kind.is_array else kind.record  # type: ignore[name-defined]
    try:
        value = msgspec.json.decode(path.read_bytes(), type=wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        yield f"{file.name}: {error}"
        return
    records = len(value) if kind.is_array else 1
    if records != file.records:
        yield f"{file.name}: has {records} records, the manifest says {file.records}"
    if isinstance(value, Quality):
        if not is_balanced(value.collectors, value.inputs):
            yield "quality.json: its figures do not add up (lines, or ticks)"
        elif not value.balanced:
            yield "quality.json: says that it is not balanced"
