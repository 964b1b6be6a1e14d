"""A million lines of nginx to invocations: ours beside Polars, DuckDB and goaccess.

The peers do a part of the work: Polars and DuckDB take the same fields out of each line by one expression and
write JSON lines, in the order of the log, without ids, and lose a line that does not match; goaccess counts.
They may use every core, ours uses one. `make bench-adapters` installs Polars and DuckDB into .venv; goaccess
is a Debian package.

LINES=100000 makes it shorter.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from measure import compare, table

ROOT = Path(__file__).resolve().parents[1]
LINES = int(os.environ.get("LINES", "1000000"))
T0_MS = 1_767_225_600_000
RUN_ID = f"bench-{os.getpid()}"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"
EXPRESSION = (
    r"^\S+ - .*? \[[^\]]+\] "
    r'"(?P<method>[A-Z]+) (?P<path>[^ ?"]+)(?P<query>\?[^ "]*)? HTTP/[0-9.]+" '
    r'(?P<status>\d+) (?P<bytes_out>\d+) "[^"]*" "[^"]*" (?P<end>\d+\.\d+) (?P<rt>\d+\.\d+) '
    r'"(?P<bytes_in>[^"]*)" "[^"]*" '
    r'"(?:00-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-[0-9a-f]{2}|-)" (?P<id>\S+) '
)
OF_POLARS = """
import sys, polars as pl
lines = pl.scan_lines(sys.argv[1]) if hasattr(pl, "scan_lines") else pl.scan_csv(
    sys.argv[1], has_header=False, separator=chr(1), quote_char=None, new_columns=["lines"])
column = lines.collect_schema().names()[0]
found = lines.select(pl.col(column).str.extract_groups(sys.argv[2]).alias("x")).unnest("x")
end = (pl.col("end").str.replace(".", "", literal=True)).cast(pl.Int64)
rt = (pl.col("rt").str.replace(".", "", literal=True)).cast(pl.Int64)
found.select((end - rt).alias("ts_enqueue"), pl.exclude("end", "rt"), end.alias("ts_end"), rt.alias("rt_ms")
    ).sink_ndjson(sys.argv[3])
"""
OF_DUCKDB = """
import sys, re, duckdb
names = re.findall(r"[?]P<(\\w+)>", sys.argv[2])
plain = re.sub(r"[?]P<\\w+>", "", sys.argv[2])
listed = ", ".join("'" + name + "'" for name in names)
number = "cast(replace(x.{0}, '.', '') as bigint)".format
duckdb.execute(f'''copy (select x.*, {number('"end"')} - {number('rt')} as ts_enqueue from (
    select regexp_extract(line, '{plain}', [{listed}]) as x
    from read_csv('{sys.argv[1]}', header=false, delim='\\x01', quote='', escape='',
        columns={{'line': 'varchar'}})
    )) to '{sys.argv[3]}' (format json)''')
"""


def make_log(path: Path) -> None:
    """A log in the toolkit's format, the same each time."""
    dice, now_ms, second, stamp = random.Random(1), T0_MS, 0, ""
    with path.open("w") as log:
        for index in range(LINES):
            now_ms += dice.randrange(3)
            if now_ms // 1000 != second:
                second = now_ms // 1000
                stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))
            caller = "-"
            if index % 2:
                caller = f"00-{dice.getrandbits(128) | 1:032x}-{dice.getrandbits(64) | 1:016x}-01"
            query = f"?page={index}" if index % 3 else ""
            log.write(
                f'10.0.0.{index % 250} - - [{stamp}] "GET /api/v1/items/{index}{query} HTTP/1.1" 200'
                f' {dice.randrange(9999)} "-" "{AGENT}" {second}.{now_ms % 1000:03}'
                f" 0.{dice.randrange(400):03}"
                f' "-" "-" "{caller}" {dice.getrandbits(128) | 1 << 100:032x}'
                ' "127.0.0.1:8080" "200" "0.040" "-" "-"\n'
            )


def commands(log: str) -> dict[str, list[str]]:
    """Ours, and the peers that are there; the others are named."""
    python = [sys.executable, "-I"]
    ours = [str(ROOT / "tools" / "adapters" / "nginx.py"), "--run-id", RUN_ID, log]
    known = {
        "tracekit nginx, one core": ["taskset", "-c", "0", *python, *ours],
        "polars extract_groups, a part": [*python, "-c", OF_POLARS, log, EXPRESSION, f"{log}.out"],
        "duckdb regexp_extract, a part": [*python, "-c", OF_DUCKDB, log, EXPRESSION, f"{log}.out"],
        "goaccess, counts": ["goaccess", log, "--log-format=COMBINED", "-o", f"{log}.json", "--no-progress"],
        "wc -l": ["wc", "-l", log],
    }  # fmt: skip
    for name in ("polars", "duckdb"):
        if find_spec(name) is None:
            print(f"not there, and left out: {name} (pip install {name} into .venv)")
            del known[next(key for key in known if key.startswith(name))]
    if shutil.which("goaccess") is None:
        print("not there, and left out: goaccess (package goaccess)")
        del known["goaccess, counts"]
    return known


def main() -> None:
    """Print the table, and ours in lines a second."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "access.log"
        make_log(log)
        try:
            costs = compare(commands(str(log)), rounds=3)
        finally:
            clean = [sys.executable, "-I", str(ROOT / "tools" / "clean_run.py"), RUN_ID]
            subprocess.run(clean, check=False, capture_output=True)
        print(table(costs, "tracekit nginx, one core"))
        ours = costs["tracekit nginx, one core"]
        print(f"ours: {LINES / ours.wall_s:,.0f} lines/s, {LINES / ours.cpu_s:,.0f} a second of CPU")


if __name__ == "__main__":
    main()
