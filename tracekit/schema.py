"""JSON Schemas (2020-12) of the cctf files, made from the records: of a line, or of a whole document."""

from typing import Any

import msgspec

from tracekit.records import CCTF_VERSION, FILES, CctfFile

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Schema by file name; for a .jsonl file it is the schema of one line."""
    return {name: _schema(name, file) for name, file in FILES.items()}


def _schema(name: str, file: CctfFile) -> dict[str, Any]:
    wanted: Any = list[file.record] if file.is_array else file.record  # type: ignore[name-defined]
    head = {"$schema": _DIALECT, "$id": f"urn:cctf:{CCTF_VERSION}:{name}", "title": name}
    return head | msgspec.json.schema(wanted)
