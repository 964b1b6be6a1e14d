"""The merge as a Spark job, for data sets that outgrow one machine: the folders of N nodes, on any file
system that Hadoop knows, to Parquet by node. Lines pass the same reader as everywhere; those that do not are
counted by an accumulator and left out.
"""

import types
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET
from pyspark import AccumulatorParam, SparkContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as sql
from pyspark.sql.functions import col

from tracekit.errors import BadLineError, TracekitError
from tracekit.files.reading import Account, Reader
from tracekit.records import FILES, Manifest, Record

_PLAIN = {int: sql.LongType(), float: sql.DoubleType(), str: sql.StringType(), bool: sql.BooleanType()}


class Folder(NamedTuple):
    """A cctf: where, and what it lists."""

    uri: str
    manifest: Manifest


class Counts(AccumulatorParam):  # type: ignore[misc] # pyspark has no types for us
    """Counters that are added up."""

    def zero(self, value: "Counter[str]") -> "Counter[str]":
        del value
        return Counter()

    def addInPlace(self, value1: "Counter[str]", value2: "Counter[str]") -> "Counter[str]":  # noqa: N802
        value1.update(value2)
        return value1


def read_folders(spark: SparkSession, uris: Iterable[str]) -> list[Folder]:
    """Each folder, or its cctf/, whole by the sizes of its files, and all of one run and of different nodes.

    Raises TracekitError where that is not so."""
    found = [_read_folder(spark, uri.rstrip("/")) for uri in uris]
    folders = sorted(found, key=lambda one: one.manifest.nodes)
    for one, other in pairwise(folders):
        if one.manifest.run_id != other.manifest.run_id:
            runs = f"{one.uri} is of run {one.manifest.run_id}, {other.uri} of run {other.manifest.run_id}"
            raise TracekitError(f"{runs}: one merge is one run")
        if one.manifest.nodes == other.manifest.nodes:
            raise TracekitError(f"{one.uri} and {other.uri} are both of node {', '.join(one.manifest.nodes)}")
    return folders


def _read_folder(spark: SparkSession, uri: str) -> Folder:
    for folder in (uri, f"{uri}/cctf"):
        if _size(spark, f"{folder}/manifest.json") is not None:
            break
    else:
        raise TracekitError(f"{uri}: no manifest.json there: it was copied by half, or never parsed")
    text = "\n".join(row.value for row in spark.read.text(f"{folder}/manifest.json").collect())
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise TracekitError(f"{folder}/manifest.json: {error}; copy it again") from error
    for file in manifest.files:
        size = _size(spark, f"{folder}/{file.name}")
        if size != file.bytes:
            told = "is missing" if size is None else f"has {size} bytes, its manifest says {file.bytes}"
            raise TracekitError(f"{folder}: {file.name} {told}: it was copied by half; copy it again")
    return Folder(folder, manifest)


def _size(spark: SparkSession, uri: str) -> int | None:
    """Bytes of a file, by Hadoop; None where there is none."""
    jvm, conf = spark._jvm, spark._jsc.hadoopConfiguration()
    path = jvm.org.apache.hadoop.fs.Path(uri)
    system = path.getFileSystem(conf)
    return int(system.getFileStatus(path).getLen()) if system.exists(path) else None


def merge_file(
    spark: SparkSession, folders: Iterable[Folder], name: str, out: str
) -> tuple[int, "Counter[str]"]:
    """One file of all folders to out/<file>/node=<node>/; how many rows, and what was rejected by reason."""
    context: SparkContext = spark.sparkContext
    counts = context.accumulator(Counter[str](), Counts())
    uris = [f"{one.uri}/{name}" for one in folders if name in {file.name for file in one.manifest.files}]
    record = FILES[name].record

    def rows(lines: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        return _rows((row.value for row in lines), name, counts.add)

    text = spark.read.option("lineSep", "\n").text(uris)
    frame = spark.createDataFrame(text.rdd.mapPartitions(rows), _struct(record), verifySchema=False)
    _by_node(frame, FILES[name].sort_key).write.mode("overwrite").partitionBy("node").option(
        "compression", "zstd"
    ).parquet(f"{out}/{name.removesuffix('.jsonl')}")
    rejected = Counter(counts.value)
    return rejected.pop("", 0), rejected


def _by_node(frame: DataFrame, key: str) -> DataFrame:
    """One part a node, in the order of time; a file that says node_id has node besides."""
    whole = frame if "node" in frame.columns else frame.withColumn("node", col("node_id"))
    return whole.repartition("node").sortWithinPartitions("node", col(key).asc_nulls_last())


def _rows(lines: Iterator[str], name: str, count: Any) -> Iterator[tuple[Any, ...]]:
    """The good lines of a partition as rows. count: takes how many ("" for good ones), by reason."""
    found: Counter[str] = Counter()

    def reject(bad: BadLineError, _line: bytes) -> None:
        found[bad.reason] += 1

    record = FILES[name].record
    names = [one.name for one in msgspec.structs.fields(record)]
    for batch in Reader(record, reject).read_stream(_Lines(lines), name, Account()):
        found[""] += len(batch.records)
        yield from (tuple(_value(getattr(one, field)) for field in names) for one in batch.records)
    count(found)


def _value(value: Any) -> Any:
    if value is UNSET:
        return None
    return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct | list) else value


class _Lines:
    """The lines of a partition as a stream of bytes."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._rest = lines, b""

    def read(self, size: int, /) -> bytes:
        parts, length = [self._rest], len(self._rest)
        while length < size and (line := next(self._lines, None)) is not None:
            parts.append(line.encode() + b"\n")
            length += len(parts[-1])
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]


def _struct(record: type[Record]) -> sql.StructType:
    hints = get_type_hints(record)
    return sql.StructType(
        [sql.StructField(one.name, _type(hints[one.name])) for one in msgspec.structs.fields(record)]
    )


def _type(hint: Any) -> sql.DataType:
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (one for one in get_args(hint) if one not in (types.NoneType, msgspec.UnsetType))
    if get_origin(hint) is Literal:
        return sql.StringType()
    if get_origin(hint) is list:
        return sql.ArrayType(_type(get_args(hint)[0]))
    if isinstance(hint, type) and issubclass(hint, Record):
        return _struct(hint)
    return _PLAIN[hint]
