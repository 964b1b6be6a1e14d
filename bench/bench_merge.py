"""Merging 16 nodes of 240,000 process rows and 60,000 requests: our merge beside GNU sort -m, jq and json.

NODES and LINES (of a node) in the environment change the size, ROUNDS how often the two take turns. Ours
checks every line and all hashes, and writes the manifest. sort -m (LC_ALL=C, stable, by the same keys) checks
nothing; its inputs come in the order of the nodes. Once more it has its inputs hashed beside it, and its
outputs after it, by openssl. json and jq hold all lines in memory, once each; jq reads a tenth, and its time
is scaled. Memory is that of the largest process.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Cost, once

ROOT = Path(__file__).resolve().parents[1]
NODES = int(os.environ.get("NODES", "16"))
LINES = int(os.environ.get("LINES", "300000"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
FILES = {"proc_metrics.jsonl": "-k1.10,1.22", "invocations.jsonl": "-k1.15,1.27"}  # bytes of the sort key
KEYS = {"proc_metrics.jsonl": "ts_ms", "invocations.jsonl": "ts_enqueue"}
PART = 10

JSON = """
import json, sys
from pathlib import Path
parent, out, key, name = sys.argv[1:]
rows = []
for path in sorted(Path(parent).glob("*/" + name)):
    rows += [json.loads(line) for line in path.open("rb")]
rows.sort(key=lambda row: row[key])
with open(out, "w") as stream:
    stream.writelines(json.dumps(row, separators=(",", ":")) + chr(10) for row in rows)
"""


def make_nodes(parent: Path, nodes: int, lines: int) -> Path:
    """parent/vm<k>, each a cctf; made by another process, for what this one holds counts as a command's."""
    script = Path(__file__).with_name("generate_nodes.py")
    subprocess.run([sys.executable, script, parent, str(nodes), str(lines)], check=True)
    return parent


def ours(parent: Path, out: Path) -> list[str]:
    """Our merge, as tools/merge.py calls it."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path; from tracekit.merge.build import merge\n"
        "merge(sorted(map(str, Path(sys.argv[1]).iterdir())), Path(sys.argv[2]) / 'r1')"
    )
    return [sys.executable, "-I", "-c", code, str(parent), str(out)]


def sort_m(parent: Path, out: Path) -> list[str]:
    """Both files, one after the other."""
    one = "LC_ALL=C sort -m -s {key} '{parent}'/*/{name} >'{out}/{name}'"
    script = " && ".join(
        one.format(key=key, parent=parent, name=name, out=out) for name, key in FILES.items()
    )
    return ["bash", "-c", script]


def sort_m_and_hashes(parent: Path, out: Path) -> list[str]:
    """The same, with the hashes of all inputs, and with hashes and counts of what came out."""
    inputs = f"openssl dgst -sha256 -r '{parent}'/*/*.jsonl >'{out}/inputs'"
    outputs = f"openssl dgst -sha256 -r '{out}'/*.jsonl >'{out}/hashes'"
    counts = f"wc -lc '{out}'/*.jsonl >'{out}/counts'"
    script = f"{inputs} & {sort_m(parent, out)[-1]} && wait && {{ {outputs} & {counts}; wait; }}"
    return ["bash", "-c", script]


def in_memory(parent: Path, out: Path) -> list[str]:
    """json.loads of every line, list.sort, json.dumps."""
    one = f"'{sys.executable}' -I -c '{JSON}' " + "'{parent}' '{out}/{name}' {key} {name}"
    return _both(one, parent, out, KEYS)


def jq(parent: Path, out: Path) -> list[str]:
    """jq -s."""
    return _both("cat '{parent}'/*/{name} | jq -cs 'sort_by(.{key})[]' >'{out}/{name}'", parent, out, KEYS)


def _both(one: str, parent: Path, out: Path, keys: dict[str, str]) -> list[str]:
    """The command for both files, one after the other."""
    words = [one.format(parent=parent, out=out, name=name, key=key) for name, key in keys.items()]
    return ["bash", "-c", " && ".join(words)]


def measure(commands: dict[str, list[str]], out: Path, rounds: int) -> dict[str, list[Cost]]:
    """Each command so many times, by turns, into an empty directory."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            costs[name].append(once(command))
    return costs


def show(costs: dict[str, list[Cost]], scales: dict[str, int]) -> None:
    """Medians by wall time; ratios to sort -m of the same round, their median."""
    print(f"  {'command':<24} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'x sort -m':>10} {'CPU':>7}")
    base = costs["sort -m"]
    for name, several in costs.items():
        scale = scales.get(name, 1)
        middle = sorted(several)[len(several) // 2]
        walls = sorted(one.wall_s * scale / other.wall_s for one, other in zip(several, base, strict=False))
        cpus = sorted(one.cpu_s * scale / other.cpu_s for one, other in zip(several, base, strict=False))
        ratios = f"{walls[len(walls) // 2]:>10.2f} {cpus[len(cpus) // 2]:>7.2f}"
        times = f"{middle.wall_s * scale:>8.2f} {middle.cpu_s * scale:>8.2f}"
        print(f"  {name:<24} {times} {middle.rss_mb:>8.0f} {ratios}")


def main() -> None:
    """One table; our memory at twice the length below it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        nodes = make_nodes(folder / "nodes", NODES, LINES)
        tenth = make_nodes(folder / "tenth", NODES, LINES // PART)
        out = folder / "out"
        fast = {"sort -m": sort_m(nodes, out), "sort -m, hashes": sort_m_and_hashes(nodes, out)}
        fast["tracekit merge"] = ours(nodes, out)
        costs = measure(fast, out, ROUNDS)
        once(sort_m(nodes, out))
        for name in FILES:
            once(["cmp", str(out / name), str(out / "r1" / name)])
        costs |= measure({"json in memory": in_memory(nodes, out)}, out, 1)
        if shutil.which("jq"):
            costs |= measure({"jq -s (a tenth)": jq(tenth, out)}, out, 1)
        print(f"{NODES} nodes, {LINES} lines each")
        show(costs, {"jq -s (a tenth)": PART})
        shutil.rmtree(nodes)
        twice = make_nodes(folder / "twice", NODES, 2 * LINES)
        cost = measure({"ours": ours(twice, out)}, out, 1)["ours"][0]
        print(f"  twice the length: {cost.wall_s:.2f} s, CPU {cost.cpu_s:.2f} s, peak {cost.rss_mb:.0f} MB")


if __name__ == "__main__":
    main()
