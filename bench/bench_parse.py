"""Parsing a day of 50 processes, and a million requests of eight workers: our parse beside its peers.

HOURS, PROCESSES and REQUESTS in the environment make it smaller. Ours writes a whole cctf with hashes, an
account of every line, and the derived events.jsonl. The peers write the same rows, DuckDB on two threads;
jq puts them into one. Polars and json leave out the CPU differences, and json two of the files; jq and json
read a tenth, and their time is scaled. Each input has 16 bad lines.
"""

import importlib.util
import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from generate import BAD, Size, make_run
from measure import Cost, once

ROOT = Path(__file__).resolve().parents[1]
HOURS = float(os.environ.get("HOURS", "24"))
PROCESSES = int(os.environ.get("PROCESSES", "50"))
REQUESTS = int(os.environ.get("REQUESTS", "1000000"))
BAD_LINES, ROUNDS, PART = 16, 3, 10  # PART: the slow peers read one tenth

DUCKDB_PROC = """
import sys, duckdb
raw, out = sys.argv[1:]
db = duckdb.connect()
db.execute("SET threads = 2")
names = ("ts_ms", "pid", "rss_kb", "utime", "stime", "starttime")
types = "{" + ", ".join(f"{name}: 'BIGINT'" for name in names) + "}"
whole = " AND ".join(f"{name} IS NOT NULL" for name in names)
db.execute(f"CREATE TABLE raw AS SELECT * FROM read_json('{raw}/proc_metrics.jsonl', "
           f"format='newline_delimited', ignore_errors=true, columns={types}) WHERE {whole}")
def copy(name, query):
    db.execute(f"COPY ({query}) TO '{out}/{name}.jsonl' (FORMAT json)")
copy("proc_metrics", "SELECT ts_ms, 'vm1' AS node, pid, rss_kb, utime, stime, starttime FROM raw")
copy("proc_rss", "SELECT ts_ms, 'vm1' AS node, pid, rss_kb, starttime FROM raw")
copy("proc_cpu", "SELECT ts_ms, 'vm1' AS node, pid, cpu_ms, dt_ms, starttime, 'poll' AS source FROM ("
     "SELECT ts_ms, pid, starttime, 10 * (utime + stime - lag(utime + stime) OVER one) AS cpu_ms, "
     "ts_ms - lag(ts_ms) OVER one AS dt_ms FROM raw "
     "WINDOW one AS (PARTITION BY pid, starttime ORDER BY ts_ms)) "
     "WHERE cpu_ms IS NOT NULL ORDER BY ts_ms, pid")
"""
DUCKDB_EVENTS = """
import sys, duckdb
raw, out = sys.argv[1:]
db = duckdb.connect()
db.execute("SET threads = 2")
db.execute(f"COPY (SELECT * FROM read_json('{raw}/events.1*.jsonl', format='newline_delimited', "
           f"ignore_errors=true) WHERE ts_enqueue IS NOT NULL ORDER BY ts_enqueue) "
           f"TO '{out}/invocations.jsonl' (FORMAT json)")
"""
POLARS_PROC = """
import sys, polars
raw, out = sys.argv[1:]
rows = polars.scan_ndjson(f"{raw}/proc_metrics.jsonl").with_columns(node=polars.lit("vm1"))
rows.sink_ndjson(f"{out}/proc_metrics.jsonl")
rows.select("ts_ms", "node", "pid", "rss_kb", "starttime").sink_ndjson(f"{out}/proc_rss.jsonl")
"""
JSON_PROC = """
import json, sys
raw, out = sys.argv[1:]
names = ("ts_ms", "pid", "rss_kb", "utime", "stime", "starttime")
with open(f"{raw}/proc_metrics.jsonl", "rb") as lines, open(f"{out}/proc_metrics.jsonl", "w") as metrics:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            assert all(type(row[name]) is int for name in names)
        except (ValueError, KeyError, AssertionError):
            print(f"bad line {number}", file=sys.stderr)
            continue
        metrics.write(json.dumps({**row, "node": "vm1"}) + chr(10))
"""
JQ_PROC = """
def good: type == "object" and ([.ts_ms, .pid, .rss_kb, .utime, .stime, .starttime]
  | all(type == "number" and . >= 0 and . == floor));
foreach inputs as $line ({last: {}};
  (try ($line | fromjson | if good then . else error("type") end) catch null) as $row
  | if $row == null then .rows = ["bad line \\(input_line_number)"]
    else ($row | {ts_ms, node: "vm1", pid}) as $head | ($row.pid | tostring) as $pid | .last[$pid] as $before
    | .rows = [$head + ($row | {rss_kb, utime, stime, starttime}), $head + ($row | {rss_kb, starttime})]
    | if $before.starttime == $row.starttime then .rows += [$head + {
        cpu_ms: (10 * ($row.utime + $row.stime - $before.utime - $before.stime)),
        dt_ms: ($row.ts_ms - $before.ts_ms), starttime: $row.starttime, source: "poll"}] else . end
    | .last[$pid] = $row end;
  .rows[])
"""


def without_bad(folder: Path, source: Path, name: str, lines: int | None = None) -> Path:
    """A copy of a raw file without its bad lines, for a peer that they would stop; lines: of its first."""
    folder.mkdir()
    with (source / name).open("rb") as raw, (folder / name).open("wb") as clean:
        good = (line for line in raw if line[:-1] not in BAD)
        clean.writelines(itertools.islice(good, lines))
    return folder


def part_of(folder: Path, source: Path, name: str) -> Path:
    """A tenth of a raw file."""
    folder.mkdir()
    with (source / name).open("rb") as raw, (folder / name).open("wb") as part:
        part.writelines(itertools.islice(raw, round(HOURS * 3600 * PROCESSES / PART)))
    return folder


def median_cost(command: list[str], out: Path, rounds: int) -> Cost:
    """The run with the median wall time; what an earlier one made is gone each time."""
    costs = []
    for _ in range(rounds):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        (out.parent / "events.jsonl").unlink(missing_ok=True)
        costs.append(once(command))
    return sorted(costs)[len(costs) // 2]


def show(title: str, rows: dict[str, tuple[Cost, int, str]], ours: str) -> None:
    """A row a command: wall and CPU seconds (times its scale), peak memory, ratios to ours, rejects."""
    print(title)
    print(f"  {'command':<26} {'wall s':>8} {'CPU s':>8} {'RSS MB':>7} {'x wall':>7} {'x CPU':>7}  rejects")
    base = rows[ours][0]
    for name, (cost, scale, rejects) in rows.items():
        wall_s, cpu_s = cost.wall_s * scale, cost.cpu_s * scale
        ratios = f"{wall_s / base.wall_s:>7.2f} {cpu_s / base.cpu_s:>7.2f}"
        print(f"  {name:<26} {wall_s:>8.2f} {cpu_s:>8.2f} {cost.rss_mb:>7.0f} {ratios}  {rejects}")


def python(code: str, raw: Path, out: Path) -> list[str]:
    """A peer written in Python."""
    return [sys.executable, "-I", "-c", code, str(raw), str(out)]


def parse(raw: Path) -> list[str]:
    """Ours, as a user runs it but for the exit code 3 that tells of the bad lines."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path; from tracekit.parse.build import build\n"
        f"assert build(Path(sys.argv[1])).rejected == {BAD_LINES}"
    )
    return [sys.executable, "-I", "-c", code, str(raw)]


def compare_processes(scratch: Path) -> None:
    """proc_metrics.jsonl to three files."""
    hour = make_run(scratch / "hour" / "r1", Size(1, PROCESSES, 0, BAD_LINES))
    raw = make_run(scratch / "proc" / "r1", Size(HOURS, PROCESSES, 0, BAD_LINES))
    clean = without_bad(scratch / "clean", raw, "proc_metrics.jsonl")
    tenth = part_of(scratch / "tenth", raw, "proc_metrics.jsonl")
    out, file = scratch / "out", "proc_metrics.jsonl"
    jq = ["bash", "-c", f'jq -nRc \'{JQ_PROC}\' "$1" >"$2"', "jq", f"{tenth}/{file}", f"{out}/x"]
    commands = {
        "tracekit parse": (parse(raw), raw / "cctf", 1, "all, by line"),
        "tracekit, one hour": (parse(hour), hour / "cctf", 1, "all, by line"),
        "DuckDB, 2 threads": (python(DUCKDB_PROC, raw, out), out, 1, "dropped in silence"),
        "Polars, clean, no CPU": (python(POLARS_PROC, clean, out), out, 1, "stops at the first"),
        "stdlib json, a part": (python(JSON_PROC, tenth, out), out, PART, "all, by line"),
        "jq, strict, a part": (jq, out, PART, "all, by line"),
        "wc -l": (["wc", "-l", f"{raw}/{file}"], out, 1, ""),
    }
    rows = {
        name: (median_cost(command, where, ROUNDS if scale == 1 else 1), scale, rejects)
        for name, (command, where, scale, rejects) in commands.items()
        if _is_there(name)
    }
    size_mb = (raw / file).stat().st_size / 1e6
    show(f"{HOURS:g} h x {PROCESSES} processes, {size_mb:.0f} MB", rows, "tracekit parse")


def compare_events(scratch: Path) -> None:
    """Eight events.<pid>.jsonl to one invocations.jsonl."""
    raw = make_run(scratch / "events" / "r1", Size(1, 0, REQUESTS, BAD_LINES))
    out = scratch / "out"
    commands = {
        "tracekit parse": (parse(raw), raw / "cctf", "all, by line"),
        "DuckDB, 2 threads": (python(DUCKDB_EVENTS, raw, out), out, "dropped in silence"),
        "wc -l": (["bash", "-c", f"wc -l '{raw}'/events.1*.jsonl"], out, ""),
    }
    rows = {
        name: (median_cost(command, where, ROUNDS), 1, rejects)
        for name, (command, where, rejects) in commands.items()
        if _is_there(name)
    }
    show(f"{REQUESTS} requests in 8 files", rows, "tracekit parse")


def _is_there(name: str) -> bool:
    module = {"DuckDB": "duckdb", "Polars": "polars"}.get(name.partition(",")[0])
    if module and importlib.util.find_spec(module) is None:
        print(f"left out: {name} is not installed (make bench-parse does)")
        return False
    return True


def main() -> None:
    """Two tables."""
    with tempfile.TemporaryDirectory() as scratch:
        compare_processes(Path(scratch))
        compare_events(Path(scratch))


if __name__ == "__main__":
    main()
