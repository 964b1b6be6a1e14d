"""Values from text: JSON of any quality, and the types of the trace's fields."""

from typing import Any

import msgspec

from tracekit.adapt.account import NotTakenError
from tracekit.adapt.ids import padded
from tracekit.records import Invocation

_ALL = {one.name: one.type for one in msgspec.structs.fields(Invocation)}
FIELDS = {name: kind for name, kind in _ALL.items() if not name.endswith("_orig")}  # those are a merge's
_ANY = msgspec.json.Decoder()


def json_value(data: bytes) -> Any:
    """The JSON value in data; bytes that are not UTF-8 become U+FFFD. Raises NotTakenError."""
    try:
        return _ANY.decode(data.decode("utf-8", "replace"))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NotTakenError("json", str(error)) from error


def json_object(data: bytes) -> dict[str, Any]:
    """The JSON object in data. Raises NotTakenError where it is none."""
    value = json_value(data)
    if not isinstance(value, dict):
        raise NotTakenError("json", "the line is no JSON object")
    return value


def typed(field: str, text: str) -> Any:
    """A text as the value of a field of the trace. Raises NotTakenError where it is none."""
    if field in ("trace_id", "span_id", "parent_id"):
        return padded(text, 32 if field == "trace_id" else 16)
    try:
        return msgspec.convert(text, FIELDS[field], strict=False)
    except msgspec.ValidationError as error:
        raise NotTakenError("type", f"{field}={text[:40]!a}: {error}") from error
