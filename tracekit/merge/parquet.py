"""A merged cctf as Parquet beside it: <file>/node=<node>/part-0.parquet, zstd, a column a field.

The types are those of the records; members that no record knows are in the JSON lines alone. The node is in
the path, as Hive, Spark, DuckDB and Arrow read it; node_id stays a column. A figure that is left out is null.
"""

import types
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import UNSET

from tracekit.errors import TracekitError
from tracekit.files.place import building
from tracekit.files.reading import Account, Reader, ignore
from tracekit.records import FILES, Record

_HELD = 1 << 26  # bytes of columns that wait for a row group
_PLAIN = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}


def write_parquet(cctf: Path, final: Path) -> Path:
    """Make final of the .jsonl files of a merged cctf that is whole; an older one is replaced in one step."""
    with building(final) as folder:
        for path in sorted(cctf.glob("*.jsonl")):
            if path.name in FILES and FILES[path.name].sort_key:
                _write(path, folder / path.stem)
    return final


def schema_of(record: type[Record]) -> pa.Schema:
    """The columns of a record, in the order of its fields."""
    hints = get_type_hints(record)
    return pa.schema([(one.name, _arrow(hints[one.name])) for one in msgspec.structs.fields(record)])


def _arrow(hint: Any) -> pa.DataType:
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (one for one in get_args(hint) if one not in (types.NoneType, msgspec.UnsetType))
    if get_origin(hint) is Literal:
        return pa.string()
    if get_origin(hint) is list:
        return pa.list_(_arrow(get_args(hint)[0]))
    if isinstance(hint, type) and issubclass(hint, Record):
        return pa.struct(schema_of(hint))
    return _PLAIN[hint]


def _write(path: Path, folder: Path) -> None:
    record = FILES[path.name].record
    schema = schema_of(record)
    by = "node" if "node" in schema.names else "node_id"
    if by == "node":  # which the path tells
        schema = schema.remove(schema.get_field_index(by))
    with ExitStack() as stack:
        parts = _Parts(folder, schema, stack)
        for batch in Reader(record, ignore).read(path, Account()):
            for node, rows in _by_node(batch.records, by):
                parts.add(node, rows)
        parts.end()


def _by_node(records: Sequence[Any], by: str) -> Iterator[tuple[str, list[Any]]]:
    found: dict[str, list[Any]] = {}
    for one in records:
        found.setdefault(getattr(one, by), []).append(one)
    yield from found.items()


class _Parts:
    """The Parquet files of one file of the trace, one a node; what waits for a row group is bounded."""

    def __init__(self, folder: Path, schema: pa.Schema, stack: ExitStack) -> None:
        self._folder, self._schema, self._stack = folder, schema, stack
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[pa.RecordBatch]] = {}
        self._sizes: dict[str, int] = {}

    def add(self, node: str, rows: list[Any]) -> None:
        try:
            columns = [pa.array(_column(rows, one), one.type) for one in self._schema]
        except (OverflowError, pa.ArrowInvalid) as error:
            raise TracekitError(f"{self._folder.name} of {node}: no column can hold it: {error}") from error
        batch = pa.record_batch(columns, schema=self._schema)
        self._waiting.setdefault(node, []).append(batch)
        self._sizes[node] = self._sizes.get(node, 0) + batch.nbytes
        if sum(self._sizes.values()) > _HELD:
            self._flush(max(self._sizes, key=self._sizes.__getitem__))

    def end(self) -> None:
        """Write what waits."""
        for node in sorted(self._waiting):
            self._flush(node)

    def _flush(self, node: str) -> None:
        waiting = self._waiting.pop(node)
        del self._sizes[node]
        if node not in self._writers:
            place = self._folder / f"node={node}"
            place.mkdir(parents=True)
            writer = pq.ParquetWriter(place / "part-0.parquet", self._schema, compression="zstd")
            self._writers[node] = self._stack.enter_context(writer)
        self._writers[node].write_table(pa.Table.from_batches(waiting))


def _column(rows: list[Any], field: pa.Field) -> list[Any]:
    values = [getattr(one, field.name) for one in rows]
    if pa.types.is_nested(field.type):
        return [None if one is UNSET else msgspec.to_builtins(one) for one in values]
    return [None if one is UNSET else one for one in values]
