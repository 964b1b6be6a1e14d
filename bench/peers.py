"""The samplers that are compared: ours, the C floor, and the peers in their own words for "once a second"."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from watch import HERE, MARK, Peer

ROOT = HERE.parent
Command = Callable[[Sequence[int]], list[str]]
RUN_ID = f"bench-{os.getpid()}"

PSUTIL = f"""
import psutil, time
known = {{}}
while True:
    for one in psutil.process_iter():
        try:
            if known.get(one.pid) != one._ident:
                if {MARK!r} not in one.cmdline():
                    continue
                known[one.pid] = one._ident
            with one.oneshot():
                print(one.pid, *one.cpu_times()[:2], one.memory_info().rss, flush=False)
        except psutil.NoSuchProcess:
            pass
    print(flush=True)
    time.sleep(1)
"""


def for_processes(floor: Path) -> list[Peer]:
    """Samplers of processes: CPU time and resident memory of each, once a second."""
    collectl = _fixed("collectl", "-sZ", "-i1:1", "--procfilt", f"f{MARK}")
    return [
        Peer("tracekit proc", _fixed(sys.executable, "-I", _proc()), "python3", "python3"),
        Peer("C, kept fds (floor)", lambda pids: [str(floor), *map(str, pids)], str(floor), "gcc"),
        Peer("PCP pmlogger+pmdaproc", _fixed(str(HERE / "pcp.sh"), "proc"), "pmlogger", "pcp"),
        Peer("top -b -d 1", _fixed("top", "-b", "-d", "1", "-w", "512"), "top", "procps"),
        Peer("pidstat -u -r -p LIST", _pidstat, "pidstat", "sysstat"),
        Peer("psutil loop", _fixed(sys.executable, "-I", "-c", PSUTIL), "python3", "python3"),
        Peer("atop -a -w", _fixed("atop", "-a", "-w", "atop.raw", "1"), "atop", "atop"),
        Peer("collectl -sZ", collectl, "collectl", "collectl"),
    ]


def for_the_host() -> list[Peer]:
    """Ours whole, and samplers of the host alone: CPU, memory and network, once a second."""
    logs = ROOT / "logs" / RUN_ID
    ours = {"RUN_ID": RUN_ID, "IFACE": "lo", "NODE_ID": "bench"}
    start = _fixed("bash", str(ROOT / "tools" / "collect_sys.sh"), "start")
    three = "mpstat 1 >cpu & vmstat -Sm -t 1 >mem & exec ifstat -i lo 1 >nic"
    dool = _fixed("dool", "--time", "--cpu", "--mem", "--net", "--nocolor", "--output", "dool.csv", "1")
    few = [f"--collector.{name}" for name in ("disable-defaults", "cpu", "meminfo", "netdev", "loadavg")]
    return [
        Peer("tracekit, whole, processes too", start, "mpstat", "sysstat", None, ours, logs, 4.8),
        Peer("mpstat, vmstat, ifstat", _fixed("bash", "-c", three), "ifstat", "ifstat"),
        Peer("PCP cpu, mem, net", _fixed(str(HERE / "pcp.sh"), "host"), "pmlogger", "pcp"),
        Peer("dool csv", dool, "dool", "dool"),
        Peer("sadc 1", _fixed("sadc", "1", "sadc.raw"), "sadc", "sysstat"),
        Peer("collectl -scmn", _fixed("collectl", "-scmn", "-i1", "-oT"), "collectl", "collectl"),
        _node_exporter("node_exporter, 4 collectors", 44397, few),
        _node_exporter("node_exporter, default", 44398, []),
    ]


def clean_up() -> None:
    """Remove the run that ours recorded; its processes were killed."""
    command = [sys.executable, "-I", str(ROOT / "tools" / "clean_run.py"), RUN_ID]
    subprocess.run(command, check=False, capture_output=True)


def _fixed(*words: str) -> Command:
    return lambda _: list(words)


def _proc() -> str:
    return str(ROOT / "tools" / "collectors" / "proc.py")


def _pidstat(pids: Sequence[int]) -> list[str]:
    return ["pidstat", "-u", "-r", "-h", "-p", ",".join(map(str, pids)) or "ALL", "1"]


def _node_exporter(name: str, port: int, options: Sequence[str]) -> Peer:
    program = "prometheus-node-exporter"
    return Peer(
        name, _fixed(program, f"--web.listen-address=127.0.0.1:{port}", *options), program, program, port
    )
