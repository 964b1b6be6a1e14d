"""Parsing an hour of 50 processes (180,000 lines): our parse beside stdlib json, strict jq, and wc -l.

The peers do a part of the work only: they check the types of each line and write the process rows with
the node. Ours writes all of cctf, with CPU differences, an account of every line, and hashes.
"""

import json
import random
import sys
import tempfile
from pathlib import Path

from measure import compare, table

ROOT = Path(__file__).resolve().parents[1]
T0 = 1_700_000_000_000
SECONDS, PROCESSES = 3600, 50

OURS = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path; from tracekit.parse.build import build
assert build(Path(sys.argv[2])).rejected == 0
"""
STDLIB = """
import json, sys
names = ("ts_ms", "pid", "rss_kb", "utime", "stime", "starttime")
with open(sys.argv[1]) as raw, open("/dev/null", "w") as out:
    for line in raw:
        row = json.loads(line)
        assert all(type(row[name]) is int for name in names)
        row["node"] = "n1"
        out.write(json.dumps(row) + chr(10))
"""
JQ = 'if ([.ts_ms,.pid,.rss_kb,.utime,.stime,.starttime]|all(type=="number")) then .node="n1" else error end'


def make_run(folder: Path) -> Path:
    """A run of an hour, the same each time; its proc_metrics.jsonl."""
    documents: dict[str, dict[str, object]] = {
        "run_meta.json": {"started_ms": T0, "stopped_ms": T0 + SECONDS * 1000, "interval_ms": 1000},
        "node_meta.json": {"node": "n1", "stage": "cloud", "clk_tck": 100},
        "link_meta.json": {"iface": "eth0", "BW_bps": 0, "PR_s": None},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps({"run_id": folder.name, **document}))
    dice = random.Random(1)
    ticks = [0] * PROCESSES
    with (folder / "proc_metrics.jsonl").open("w") as raw:
        for second in range(SECONDS):
            for index in range(PROCESSES):
                ticks[index] += dice.randrange(100)
                head = f'{{"ts_ms":{T0 + second * 1000},"pid":{1000 + index},"rss_kb":{100_000 + second}'
                raw.write(f'{head},"utime":{ticks[index]},"stime":{second},"starttime":{index}}}\n')
    return folder / "proc_metrics.jsonl"


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "r1"
        folder.mkdir()
        raw = str(make_run(folder))
        commands = {
            "tracekit parse": [sys.executable, "-I", "-c", OURS, str(ROOT), str(folder)],
            "stdlib json, a part": [sys.executable, "-I", "-c", STDLIB, raw],
            "jq, a part": ["jq", "-c", JQ, raw],
            "wc -l": ["wc", "-l", raw],
        }
        print(table(compare(commands), "tracekit parse"))


if __name__ == "__main__":
    main()
