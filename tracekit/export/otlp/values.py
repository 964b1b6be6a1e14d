"""Values as OTLP JSON writes them: 64-bit whole numbers and times as text, ids as hex.

Source: opentelemetry-proto, docs/specification.md (JSON Protobuf encoding) and common/v1/common.proto.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tracekit import __version__

Json = dict[str, Any]
Value = str | int | float | bool | None
SCOPE = {"name": "tracekit", "version": __version__}
_DIGITS = {"trace": 32, "span": 16}


def attributes(values: Mapping[str, Value]) -> list[Json]:
    """Attributes with a value, in their order; those of None are left out."""
    return [{"key": key, "value": _any(value)} for key, value in values.items() if value is not None]


def _any(value: str | int | float | bool) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": value}


def hex_id(kind: str, known: str) -> str:
    """The id where it is one of W3C Trace Context, else its hash in that form. kind: trace or span."""
    digits = _DIGITS[kind]
    lower = known.lower()
    if re.fullmatch(f"[0-9a-f]{{{digits}}}", lower) and lower.strip("0"):
        return lower
    return hashlib.sha256(f"{kind}/{known}".encode()).hexdigest()[:digits]


def write_lines(path: Path, lines: Iterable[Json]) -> None:
    """A file of JSON lines."""
    encoder = msgspec.json.Encoder()
    with path.open("wb") as out:
        for line in lines:
            out.write(encoder.encode(line) + b"\n")
