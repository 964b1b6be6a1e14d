"""A run of two minutes made by hand: a gap, a killed collector, a clock step, hostile names, slow traces."""

from math import sin
from pathlib import Path
from typing import Any

from tests.runs import STEP, T0, Row, clock_step, cpu, make_run, mark, mem, nic, node_meta, proc
from tracekit.parse.build import build

SECONDS = 120
STEPPED = 90  # s after the start: the wall clock goes STEP forward
DIED, BACK = 30, 42  # mpstat is killed, and has rows again
LOST, FOUND = 60, 70  # nobody has samples
HOSTILE = "</script><script>alert(1)</script>"
RIGHT_TO_LEFT = '"><img src=x onerror=alert(2)> \u202eabc \u05d0\u05d1'
TRACES = 40


def _moved(second: int) -> int:
    """How far the wall clock is off at that time, ms."""
    return STEP if second > STEPPED else 0


def _sampled(second: int) -> bool:
    return not LOST <= second < FOUND


def _host() -> list[Row]:
    seconds = [second for second in range(SECONDS) if _sampled(second)]
    cpus = [
        {**cpu(second * 1000 + 20, _moved(second)), "cpu_util": round(50 + 40 * sin(second / 7), 1)}
        for second in seconds
        if not DIED <= second < BACK
    ]
    memory = [{**mem(second * 1000 + 30), "mem_free_mb": 6000 - 9 * second} for second in seconds]
    for row, second in zip(memory, seconds, strict=True):
        row["ts_ms"] += _moved(second)
    return sorted(cpus + memory, key=lambda row: row["mono_ms"])


def _nic() -> list[Row]:
    rows = []
    for second in filter(_sampled, range(SECONDS)):
        rows.append(
            {**nic(second * 1000 + 40, _moved(second)), "rx_Bps": 20_000 + 300 * second, "tx_Bps": 900}
        )
    return rows


def _processes() -> tuple[list[Row], list[Row]]:
    rows, born = [], []
    for pid, name, share in ((7, HOSTILE, 60), (8, RIGHT_TO_LEFT, 25)):
        at = {"pid": pid, "starttime": proc(0, 0, born_ms=0)["starttime"]}
        born.append({"ts_ms": T0 + 1000, "event": "seen", **at, "comm": name, "cmdline": f"{name} --serve"})
        rows += [
            {
                **proc(second * 1000, share * second, pid=pid, born_ms=0),
                "ts_ms": T0 + second * 1000 + _moved(second),
            }
            for second in filter(_sampled, range(1, SECONDS))
        ]
    return sorted(rows, key=lambda row: row["ts_ms"]), born


def _marks() -> list[Row]:
    died = mark("cpu", "died", DIED * 1000, None, reason="killed by signal 9")
    lost = mark("run", "stall", LOST * 1000, FOUND * 1000, detail="the recorder stood still")
    return [
        died,
        mark("cpu", "restart", DIED * 1000, BACK * 1000, reason="killed by signal 9"),
        {**lost, "collector": "recorder"},
        mark("proc", "ticks", 0, LOST * 1000, ticks=LOST, rows=2 * LOST),
        {**mark("proc", "ticks", FOUND * 1000, STEPPED * 1000, ticks=STEPPED - FOUND), "rows": 40},
        clock_step(STEPPED * 1000, (STEPPED + 1) * 1000, STEP),
        {**clock_step(STEPPED * 1000, (STEPPED + 1) * 1000, STEP), "collector": "recorder"},
        {**mark("recorder", "cost", 0, None), "detail": "recorder 300 ms, collectors 900 ms of CPU"},
    ]


def served(number: int, **more: Any) -> Row:
    """The number-th request: it waits number ms for its service of 10 ms."""
    enqueue, trace = T0 + 2000 + 500 * number, f"{number:032x}"
    times = {"ts_enqueue": enqueue, "ts_start": enqueue + number, "ts_end": enqueue + number + 10}
    took = {"queue_time_ms": float(number), "service_time_ms": 10.0, "rt_ms": number + 10.0}
    ids = {"trace_id": trace, "span_id": f"{number:016x}", "parent_id": f"c{number:015x}"}
    told = {"method": "GET", "path": f"/item/{number}", "status": 200, "queue_source": "x-request-start"}
    return {**times, **took, **ids, **told, "module_id": HOSTILE, "instance_id": RIGHT_TO_LEFT, **more}


def _called(number: int) -> Row:
    """Its call to the next hop: from 2 to 8 ms after its service began."""
    start = served(number)["ts_start"]
    ids = {"trace_id": f"{number:032x}", "span_id": f"d{number:015x}", "parent_id": f"{number:016x}"}
    return {"ts_enqueue": start + 2, "ts_end": start + 8, **ids, "peer": HOSTILE, "status": 200}


def _client(number: int) -> Row:
    """The request as the client saw it: sent 1 ms before, answered 1 ms after."""
    one = served(number)
    at = {"ts_enqueue": one["ts_enqueue"] - 1, "ts_end": one["ts_end"] + 1, "latency_ms": number + 12.0}
    return {
        **at,
        "trace_id": one["trace_id"],
        "span_id": one["parent_id"],
        "path": one["path"],
        "status": 200,
    }


def _placement() -> list[Row]:
    instance = {"node_id": "vm1", "app_id": "a", "module_id": HOSTILE, "instance_id": RIGHT_TO_LEFT}
    return [{"ts": T0 + 1000, **instance, "event": "start"}, {"ts": T0 + 80_000, **instance, "event": "stop"}]


def troubled(folder: Path) -> Path:
    """The run's directory, parsed."""
    rows, born = _processes()
    counted = [
        {"ts_ms": T0 + 1000 * at, "node_id": "vm1", "metric": "in_flight", "value": at % 3}
        for at in range(60)
    ]
    files: dict[str, list[Row] | bytes] = {
        "resources.jsonl": _host(),
        "links.jsonl": _nic(),
        "proc_metrics.jsonl": rows,
        "proc_inventory.jsonl": born,
        "marks.jsonl": _marks(),
        "events.1.jsonl": [served(number) for number in range(1, TRACES + 1)],
        "calls.1.jsonl": [_called(number) for number in range(1, TRACES + 1)],
        "events_client.jsonl": [_client(number) for number in range(1, TRACES + 1)],
        "placement_events.jsonl": _placement(),
        "system_stats.1.jsonl": counted,
    }
    machine = {"cpu_cores": 4, "mem_mb": 8000, "cpu_model": HOSTILE}
    documents: dict[str, Row | bytes | None] = {"node_meta.json": node_meta(folder.name, **machine)}
    run_dir = make_run(folder, files, stopped_ms=SECONDS * 1000, documents=documents)
    meta = (
        (run_dir / "run_meta.json")
        .read_text()
        .replace(f'"stopped_ms":{T0 + SECONDS * 1000}', f'"stopped_ms":{T0 + SECONDS * 1000 + STEP}')
    )
    (run_dir / "run_meta.json").write_text(meta)
    build(run_dir)
    return run_dir
