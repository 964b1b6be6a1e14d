"""Runs exports/simgrid in SimGrid (its Python module); prints what came of it as one JSON object.

Usage: python3 simgrid_run.py FOLDER [together]. Each request waits for its arrival (together: none does),
gets bytes_in from its caller's host, computes, and sends bytes_out back: bytes / bandwidth + delay.
"""

import csv
import json
import sys
from pathlib import Path

import simgrid

EXACT = ("network/model:CM02", "network/crosstraffic:0", "network/TCP-gamma:0")


def main() -> None:
    folder, is_together = Path(sys.argv[1]), len(sys.argv) > 2
    quiet = ["--log=root.threshold:error", *(f"--cfg={one}" for one in EXACT)]
    engine = simgrid.Engine(["simgrid_run", *quiet])
    engine.load_platform(str(folder / "platform.xml"))
    with (folder / "requests.csv").open(encoding="utf-8", newline="") as stream:
        requests = list(csv.DictReader(stream))
    host_of = {row["id"]: row["host"] for row in requests}
    ends: dict[str, float] = {}
    cpu_s: dict[str, float] = {}

    def send(source: str, target: str, size: str) -> None:
        if source != target and size:
            simgrid.Comm.sendto(engine.host_by_name(source), engine.host_by_name(target), int(size))

    def serve(row: dict[str, str]) -> None:
        simgrid.this_actor.sleep_until(0.0 if is_together else float(row["arrive_s"]))
        caller = host_of[row["parent"]] if row["parent"] else row["host"]
        send(caller, row["host"], row["bytes_in"])
        work = simgrid.this_actor.exec_init(float(row["flops"]))
        work.start()
        work.wait()
        done = float(row["flops"]) - work.remaining
        cpu_s[row["id"]] = done / engine.host_by_name(row["host"]).speed
        send(row["host"], caller, row["bytes_out"])
        ends[row["id"]] = simgrid.Engine.clock

    for row in requests:
        simgrid.Actor.create(row["id"], engine.host_by_name(row["host"]), serve, row)
    engine.run()
    finished = {
        "finished": len(ends),
        "cpu_s": sum(cpu_s.values()),
        "clock": simgrid.Engine.clock,
        "ends": ends,
    }
    sys.stdout.write(json.dumps(finished) + "\n")


if __name__ == "__main__":
    main()
