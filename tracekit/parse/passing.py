"""Lines that go through as they came: checked, sorted, and otherwise left byte for byte.

Only the sort key moves to the front, and a missing node or stage is put in behind it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from tracekit.errors import BadLineError
from tracekit.parse.reading import Account, Reader, Reject
from tracekit.records import FILES, Record

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')


def loose(record: type[Record]) -> type[Any]:
    """The record as raw files may have it: every field may be missing, none may have another type."""
    fields: list[tuple[str, Any, Any]] = [
        (one.name, one.type | UnsetType, UNSET) for one in msgspec.structs.fields(record)
    ]
    if "node" not in record.__struct_fields__:
        fields.append(("node", str | UnsetType, UNSET))
    return msgspec.defstruct(f"Raw{record.__name__}", fields, frozen=True, kw_only=True)


def _member_spans(line: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(key with its quotes, start, end) of each member of the object; end is behind its value."""
    depth, key, start, end = 0, None, 0, 0
    for token in _TOKEN.finditer(line):
        text = token.group()
        if depth == 1 and text in (b",", b"}"):
            if key is not None:
                yield key, start, end
            key = None
        elif depth == 1 and key is None:
            key, start = text, token.start()
        depth += (text in (b"{", b"[")) - (text in (b"}", b"]"))
        end = token.end()


def with_first(line: bytes, first: str, added: list[tuple[str, str | None]]) -> bytes:
    """The object with member `first` in front (null where it has none), then the added members.

    line: one JSON object. Every other byte stays."""
    name = f'"{first}"'.encode()
    extra = b"".join(
        b",%b:%b" % (msgspec.json.encode(key), msgspec.json.encode(value)) for key, value in added
    )
    if line.startswith(b"{" + name + b":") and not extra:
        return line
    value, rest = b"null", line[1:-1].strip()
    for key, start, end in _member_spans(line):
        if key == name:
            value = line[start + len(name) : end].lstrip().removeprefix(b":").lstrip()
            before, after = line[1:start].rstrip(), line[end:-1].lstrip()
            rest = (
                before.removesuffix(b",") + after if not after else before + after.removeprefix(b",").lstrip()
            )
            break
    head = b"{" + name + b":" + value + extra
    return head + (b"," if rest.strip() else b"") + rest + b"}"


class Passing:
    """One kind of pass-through lines from all its files, as lines of one sorted file."""

    def __init__(self, out_name: str, node: str, stage: str, reject: Reject) -> None:
        file = FILES[out_name]
        names = {one.name for one in msgspec.structs.fields(file.record)}
        self._key = file.sort_key
        self._node_key = "node_id" if "node_id" in names else "node"
        self._reject = reject
        self._defaults = {self._node_key: node} if node else {}
        if "stage" in names and stage:
            self._defaults["stage"] = stage
        self._required = [
            one.name
            for one in msgspec.structs.fields(file.record)
            if one.default is msgspec.NODEFAULT
            and one.default_factory is msgspec.NODEFAULT
            and one.name not in (self._node_key, "ts_enqueue")
        ]
        self._reader: Reader[Any] = Reader(loose(file.record), reject, self._complaint)

    def _complaint(self, record: Any) -> str | None:
        for name in self._required:
            if getattr(record, name) is UNSET:
                return f"type: Object missing required field `{name}`"
        if self._key == "ts_enqueue" and not _stamps(record):
            return "no_stamp: neither ts_enqueue nor ts_end is known"
        if not self._defaults and getattr(record, self._node_key) is UNSET:
            return "no_node: the line names no node, and there is no node_meta.json that does"
        return None

    def read(self, paths: list[Path], accounts: dict[str, Account]) -> tuple[list[bytes], list[int | None]]:
        """The lines of all files in the order of the key, without duplicates, and their keys.

        Equal keys: by node, then by file name, then by line. A duplicate has the same key, trace and span."""
        entries = []
        for order, path in enumerate(sorted(paths)):
            account = accounts[path.name]
            for batch in self._reader.read(path, account):
                for number, line, record in zip(batch.numbers, batch.lines, batch.records, strict=True):
                    key = _value(record, self._key)
                    end = _value(record, "ts_end")
                    node = _value(record, self._node_key) or self._defaults.get(self._node_key)
                    rank = (key is None, key or 0, end or 0 if key is None else 0, node, order, number)
                    try:
                        entries.append((rank, self._line(line, record), _identity(record), path.name))
                    except ValueError as error:
                        account.rejected["key"] += 1
                        self._reject(BadLineError(path.name, number, "key", str(error)), line)
        entries.sort(key=lambda entry: entry[0])
        return self._unique(entries, accounts)

    def _line(self, line: bytes, record: Any) -> bytes:
        added: list[tuple[str, str | None]] = [
            (name, value) for name, value in self._defaults.items() if getattr(record, name) is UNSET
        ]
        if self._node_key == "node_id" and record.node is not UNSET:  # it says its node, by the other name
            added = [(name, record.node if name == "node_id" else value) for name, value in added]
        if line.count(f'"{self._key}"'.encode()) != (getattr(record, self._key) is not UNSET):
            _refuse_ambiguous(line, self._key, getattr(record, self._key) is not UNSET)
        # A raw return is white space in JSON, but many readers take it for the end of the line.
        return with_first(line.replace(b"\r", b" "), self._key, added)

    def _unique(
        self, entries: list[Any], accounts: dict[str, Account]
    ) -> tuple[list[bytes], list[int | None]]:
        lines: list[bytes] = []
        keys: list[int | None] = []
        seen: set[tuple[str, str]] = set()
        at: object = self
        for rank, line, identity, name in entries:
            if rank[:2] != at:
                at, seen = rank[:2], set()
            if identity is not None and identity in seen:
                accounts[name].duplicates += 1
                continue
            if identity is not None:
                seen.add(identity)
            lines.append(line)
            keys.append(None if rank[0] else rank[1])
        return lines, keys


def _refuse_ambiguous(line: bytes, key: str, is_there: bool) -> None:
    """Raises ValueError where the sort key stands twice in the object, or is spelled with escapes."""
    name = f'"{key}"'.encode()
    count = sum(found == name for found, _, _ in _member_spans(line))
    if count > 1:
        raise ValueError(f"the key {key} is there {count} times")
    if count < is_there:
        raise ValueError(f"the key {key} is written with escapes")


def _value(record: Any, name: str) -> Any:
    value = getattr(record, name, None)
    return None if value is UNSET else value


def _stamps(record: Any) -> bool:
    return _value(record, "ts_enqueue") is not None or _value(record, "ts_end") is not None


def _identity(record: Any) -> tuple[str, str] | None:
    """(trace, span) where both are known, of a sample its monotonic time; another is never a duplicate."""
    if "core_util_pct" in record.__struct_fields__:  # a row of host_extra.jsonl
        return "mono_ms", str(_value(record, "mono_ms"))
    trace, span = _value(record, "trace_id"), _value(record, "span_id")
    if trace is not None and span is not None:
        return trace, span
    return None
