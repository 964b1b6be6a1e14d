"""The .json files of a cctf, of one node or of a merge."""

import json
from pathlib import Path
from typing import Any

import msgspec

from tracekit.errors import TracekitError
from tracekit.records import FILES, Json, Manifest, Quality, Record
from tracekit.validate.report import Report

_UNREADABLE = (msgspec.MsgspecError, RecursionError, ValueError)


class MergedQuality(Record, frozen=True):
    """quality.json of a merge: the account of each node, and what the merge itself did."""

    nodes: dict[str, Quality]
    merge: Json


def read_manifest(folder: Path) -> Manifest:
    """manifest.json of a cctf. Raises TracekitError where there is none."""
    path = folder / "manifest.json"
    try:
        return msgspec.convert(_strict(path.read_bytes()), Manifest)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TracekitError(
            f"{folder}: no manifest.json here, so this is no cctf; `make parse` makes one"
        ) from error
    except _UNREADABLE as error:
        raise TracekitError(f"{path}: {error}; make the cctf again") from error


def read_document(path: Path, report: Report) -> Any:
    """The document as its record, or as a list of records; None where it is neither, and that is reported."""
    try:
        value = _strict(path.read_bytes())
        return msgspec.convert(value, _wanted(path.name, value))
    except _UNREADABLE as error:
        report.error("record", path.name, str(error))
        return None


def _wanted(name: str, value: Any) -> Any:
    """What the document must be. In a merge some are an array, one a node, and quality.json is another."""
    file = FILES[name]
    if name == "quality.json":
        return MergedQuality if isinstance(value, dict) and "nodes" in value else Quality
    may_be_array = name in ("run_meta.json", "module_inventory.json") and isinstance(value, list)
    return list[file.record] if file.is_array or may_be_array else file.record  # type: ignore[name-defined]


def _strict(data: bytes) -> Any:
    """The value; ValueError where it is no strict JSON or an object has a member twice."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            doubled = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the member {doubled!a} is there twice")
        return found

    json.loads(data.decode(), object_pairs_hook=members)
    return msgspec.json.decode(data)
