"""From the records of a batch to entries that can be sorted: key, node, order of the file, line, ids.

A block of lines that need no change is told by columns, which costs a tenth of a look at each line.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import count, repeat
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from tracekit.errors import BadLineError
from tracekit.files.reading import Account, Batch, Reject
from tracekit.files.sorting import Entry
from tracekit.parse.rewriting import added_text, refuse_ambiguous, with_first
from tracekit.records import FILES, Name, Record

# What tells two samples of one time apart, as the ids do for requests.
_SAMPLES = {
    "cgroup_metrics.jsonl": ("container", "mono_ms"),
    "clock_probes.jsonl": ("address", "t1_us"),
    "host_extra.jsonl": ("mono_ms", "mono_ms"),
}
# Where nothing less than the whole line tells two records apart.
_WHOLE = ("marks.jsonl", "proc_inventory.jsonl", "system_stats.jsonl")

KEY, NODE, ORDER, NUMBER, LINE, TRACE, SPAN = range(7)  # of an entry
NULL = 1 << 63  # above every number; an entry without a key has this plus its ts_end


# One field of a batch of entries: a value each, (value,) for all of them, the first of numbers in a row, or
# the text of all lines; None: as the lines.
Column = Sequence[Any] | int | bytes | None
Columns = tuple[Column, ...]

_NAMES = {Name: str, Name | None: str | None}  # their pattern takes as long as all else: one look at each
_NAME = re.compile(Name.__metadata__[0].pattern)  # type: ignore[attr-defined] # Annotated has it


def loose(record: type[Record]) -> type[Any]:
    """The record as raw files may have it: every field may be missing, none may have another type.

    The pattern of names is left to Entries."""
    fields: list[tuple[str, Any, Any]] = [
        (one.name, _NAMES.get(one.type, one.type) | UnsetType, UNSET)
        for one in msgspec.structs.fields(record)
    ]
    if "node" not in record.__struct_fields__:
        fields.append(("node", str | UnsetType, UNSET))
    return msgspec.defstruct(f"Raw{record.__name__}", fields, frozen=True, kw_only=True, gc=False)


def entries_of(columns: Columns) -> list[Entry]:
    """The entries that the columns hold."""
    lines = columns[LINE]
    lines = lines.split(b"\n") if isinstance(lines, bytes) else lines
    whole = [*columns[:LINE], lines, *columns[LINE + 1 :]]
    return list(zip(*[_values(lines if one is None else one) for one in whole], strict=False))


def _values(column: Any) -> Iterable[Any]:
    if isinstance(column, int):
        return count(column)
    return repeat(*column) if isinstance(column, tuple) else column


def for_another_process(columns: Columns) -> Columns:
    """The same, so that little is handed on: one text instead of many lines."""
    lines: Any = columns[LINE]
    return (*columns[:LINE], b"\n".join(lines), *columns[LINE + 1 :])


class Entries:
    """What makes one file's lines whole, and what their order is."""

    def __init__(self, out_name: str, node: str, stage: str) -> None:
        """node, stage: what a line that tells none gets; "" for nothing."""
        file = FILES[out_name]
        names = {one.name for one in msgspec.structs.fields(file.record)}
        self._names = [one.name for one in msgspec.structs.fields(file.record) if one.type in _NAMES]
        self.record = loose(file.record)
        self.key = file.sort_key
        self._node_key = "node_id" if "node_id" in names else "node"
        self._by_other_name = self._node_key == "node_id"  # lines that say `node` are taken too
        if self._by_other_name:
            self._names.append("node")
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
        self._ids = _SAMPLES.get(out_name, ("trace_id", "span_id") if "span_id" in names else ("", ""))
        self._is_whole = out_name in _WHOLE
        self._opening = b'{"%b":' % self.key.encode()
        self._head = self._opening + b"%d,"
        self._records: list[Any] = []
        self._columns: dict[str, list[Any]] = {}  # of these records
        self._has_keys: bool | None = None

    def _column(self, records: list[Any], name: str) -> list[Any]:
        """A field of all records; looked up once for records in a row."""
        if records is not self._records:
            self._records, self._columns, self._has_keys = records, {}, None
        if name not in self._columns:
            self._columns[name] = list(map(attrgetter(name), records))
        return self._columns[name]

    def _are_whole(self, records: list[Any], name: str) -> bool:
        """Whether each of the records has the field: by its class, else by its values."""
        return name in _required(records[0].__class__) or UNSET not in self._column(records, name)

    def _have_keys(self, records: list[Any]) -> bool:
        """Whether the key of each is a number."""
        if records is not self._records or self._has_keys is None:
            self._has_keys = set(map(type, self._column(records, self.key))) == {int}
        return self._has_keys

    # --- what is wrong with a record

    def are_good(self, records: list[Any]) -> bool:
        """Whether complaint would find nothing in any of them; may be false where it would not."""
        wanted = [*self._required, *([] if self._defaults else [self._node_key])]
        if not all(self._are_whole(records, name) for name in wanted) or not self._have_keys(records):
            return False
        return all(map(_is_name, set().union(*(self._column(records, name) for name in self._names))))

    def complaint(self, record: Any) -> str | None:
        """What is wrong with it, as "reason: detail"; None where nothing is."""
        for name in self._required:
            if getattr(record, name) is UNSET:
                return f"type: Object missing required field `{name}`"
        for name in self._names:
            if not _is_name(getattr(record, name)):
                return f"type: Expected a name such as {_NAME.pattern} - at `$.{name}`"
        if self.key == "ts_enqueue" and _value(record, self.key) is None is _value(record, "ts_end"):
            return "no_stamp: neither ts_enqueue nor ts_end is known"
        if not self._defaults and getattr(record, self._node_key) is UNSET is record.node:
            return "no_node: the line names no node, and there is no node_meta.json that does"
        return None

    # --- entries

    def of(
        self, batches: Iterable[Batch[Any]], order: int, name: str, account: Account, reject: Reject
    ) -> Iterator[Columns]:
        """The entries of each batch of a file. A line whose key is ambiguous is rejected."""
        for found in batches:
            batch = found if self._may_stay(found) else self._changed(found, name, account, reject)
            records, lines = batch.records, batch.lines
            if not records:
                continue
            numbers = batch.numbers.start if isinstance(batch.numbers, range) else batch.numbers
            ids: list[Column] = [("",), None]
            if not self._is_whole:
                ids = [self._known(records, one) if one else (None,) for one in self._ids]
            yield (self._keys(records), self._nodes(records), (order,), numbers, lines, *ids)

    def _may_stay(self, batch: Batch[Any]) -> bool:
        """Whether the key stands first in each line, and no default is missing."""
        records, added = batch.records, {self._node_key, *self._defaults}
        if not self._have_keys(records) or not all(self._are_whole(records, name) for name in added):
            return False
        return all(map(bytes.startswith, batch.lines, repeat(self._opening)))

    def _changed(self, batch: Batch[Any], name: str, account: Account, reject: Reject) -> Batch[Any]:
        numbers: list[int] = []
        changed: Batch[Any] = Batch(numbers, [], [])
        for number, line, record in zip(batch.numbers, batch.lines, batch.records, strict=True):
            try:
                changed.lines.append(self._line(line, record))
            except ValueError as error:
                account.rejected["key"] += 1
                reject(BadLineError(name, number, "key", str(error)), line)
                continue
            numbers.append(number)
            changed.records.append(record)
        return changed

    def _line(self, line: bytes, record: Any) -> bytes:
        added: list[tuple[str, str | None]] = [
            (name, value) for name, value in self._defaults.items() if getattr(record, name) is UNSET
        ]
        if self._by_other_name and record.node is not UNSET and record.node_id is UNSET:
            added = [("node_id", record.node), *(one for one in added if one[0] != "node_id")]
        key = getattr(record, self.key)
        if isinstance(key, int):
            head = self._head % key
            if line.startswith(head):
                return head[:-1] + added_text(added) + line[len(head) - 1 :]
        if line.count(f'"{self.key}"'.encode()) != (key is not UNSET):
            refuse_ambiguous(line, self.key, key is not UNSET)
        return with_first(line, self.key, added)

    def _keys(self, records: list[Any]) -> list[int]:
        keys = self._column(records, self.key)
        if self._have_keys(records):
            return keys
        return [
            key if isinstance(key, int) else NULL + (_value(record, "ts_end") or 0)
            for key, record in zip(keys, records, strict=True)
        ]

    def _nodes(self, records: list[Any]) -> Column:
        column = self._column(records, self._node_key)
        default = self._defaults.get(self._node_key, "")
        if self._by_other_name:
            pairs = zip(column, self._column(records, "node"), strict=True)
            column = [other if node is UNSET else node for node, other in pairs]
        if len(set(column)) == 1:  # one text for all of them
            return (default if column[0] is UNSET else column[0],)
        return [default if node is UNSET else node for node in column]

    def _known(self, records: list[Any], name: str) -> list[str | None]:
        values = self._column(records, name)
        return values if self._are_whole(records, name) else [None if one is UNSET else one for one in values]


@lru_cache(16)
def _required(record: type[Any]) -> set[str]:
    """The fields without which none of it is decoded."""
    return {one.name for one in msgspec.structs.fields(record) if one.required}


@lru_cache(1024)
def _is_name(value: str | UnsetType | None) -> bool:
    return not isinstance(value, str) or _NAME.search(value) is not None


def _value(record: Any, name: str) -> Any:
    value = getattr(record, name, None)
    return None if value is UNSET else value
