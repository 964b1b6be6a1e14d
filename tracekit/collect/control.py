"""start, stop and status of a run.

start writes the three documents, starts the recorder in a session of its own, and returns when every
collector has given its first row. stop asks the kernel who holds the run's lock and ends that process.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from tracekit import ROOT, __version__, jsonl
from tracekit.collect import catalog, clock, identity, procfs
from tracekit.collect.inventory import write_module_inventory
from tracekit.collect.rows import mark_row
from tracekit.errors import TracekitError
from tracekit.records import RunMeta
from tracekit.runs import Run, make_state
from tracekit.settings import Settings

START_S = 15.0  # a tool's first row comes after 1 to 2 s; a loaded machine is slower
STOP_S = 15.0


# --- start


def start(run: Run, settings: Settings, environ: Mapping[str, str]) -> dict[str, Any]:
    """Start collecting, or collect again into the same run; returns node_meta.json's content.

    Raises TracekitError, with nothing left running and nothing half-made, where that cannot be done."""
    chosen = catalog.chosen(settings)
    missing = [need for collector in chosen for need in collector.missing()]
    if missing:
        raise TracekitError(f"not found: {', '.join(missing)}; `make setup` installs what is missing")
    before = jsonl.read_document(run.dir / "node_meta.json")
    settings = _with_node(settings, before)
    nic = identity.find_nic(settings)
    stopped_live = run.holder() is not None
    if stopped_live:
        stop(run)
    is_new = not run.dir.exists()
    run.dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    try:
        node_meta = _write_documents(run, settings, nic)
        if before:
            _mark_restart(run, "live" if stopped_live else "finished")
        ready = _start_recorder(run, settings, nic, environ)
    except BaseException:
        if is_new:
            _remove_new(run.dir)
        raise
    meta = jsonl.read_document(run.dir / "run_meta.json")
    if meta.get("started_ms") is None:
        # The first whole second by which every collector had given a row: from here on each owes one.
        whole_ms = ready["ready_ms"] // 1000 * 1000
        mono_ms = ready["ready_mono_ms"] - (ready["ready_ms"] - whole_ms)
        jsonl.update_document(run.dir / "run_meta.json", started_ms=whole_ms, started_mono_ms=mono_ms)
    return node_meta


def _with_node(settings: Settings, before: Mapping[str, Any]) -> Settings:
    """NODE_ID: as given, else as this run already has it, else the host's name."""
    known = before.get("node")
    node = settings["NODE_ID"] or known or identity.default_node_id()
    if known is not None and node != known:
        raise TracekitError(
            f"this run was recorded as NODE_ID={known}, not {node}: choose another RUN_ID, or NODE_ID={known}"
        )
    return Settings({**settings.values, "NODE_ID": node}, settings.given)


def _write_documents(run: Run, settings: Settings, nic: str) -> dict[str, Any]:
    quality = clock.read_quality()
    node_meta = {
        "run_id": run.run_id,
        "node": settings["NODE_ID"],
        "stage": settings["STAGE"],
        **identity.node_facts(),
        "iface": nic,
        "clock": {**quality, "start": quality, "stop": None},
    }
    run_meta = {
        **dict.fromkeys(field.name for field in msgspec.structs.fields(RunMeta)),
        **jsonl.read_document(run.dir / "run_meta.json"),  # the load generator's part, or an earlier start's
        "run_id": run.run_id,
        "stopped_ms": None,
        "stopped_mono_ms": None,
        "interval_ms": int(settings["PROC_INTERVAL_MS"]),
        "git_sha": _git_sha(),
        "tracekit_version": __version__,
    }
    jsonl.write_document(run.dir / "node_meta.json", node_meta)
    jsonl.write_document(run.dir / "link_meta.json", identity.link_facts(nic, settings))
    jsonl.write_document(run.dir / "run_meta.json", run_meta)
    write_module_inventory(run.dir)
    return node_meta


def _git_sha() -> str | None:
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _mark_restart(run: Run, state: str) -> None:
    stamp = clock.now()
    detail = f"collecting again into a {state} run"
    row = mark_row(stamp, "run", "restart", to_ms=stamp.ts_ms, reason="start-collect", detail=detail)
    with (run.dir / "marks.jsonl").open("ab", buffering=0) as marks:
        marks.write(row)


def _start_recorder(run: Run, settings: Settings, nic: str, environ: Mapping[str, str]) -> dict[str, Any]:
    state = make_state(run)
    hears, tells = os.pipe()
    with (state / "recorder.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", str(ROOT / "tools" / "lib" / "record.py"), str(tells)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={
                **environ,
                **settings.values,
                "RUN_ID": run.run_id,
                "IFACE": nic,
                **_collecting_environment(),
            },
            start_new_session=True,
            pass_fds=[tells],
        )
    os.close(tells)
    try:
        message = _hear(hears)
    except BaseException:
        _end_group(process)
        raise
    if "error" in message:
        process.wait()
        raise TracekitError(f"{message['error']}{_last_words(state / 'recorder.log')}")
    return message


def _collecting_environment() -> dict[str, str]:
    return {"LC_ALL": "C", "TZ": "UTC", "TRACEKIT_STARTERS": " ".join(map(str, _starters()))}


def _starters() -> list[int]:
    """This process and its parents up to the make that called it: what PROC_MATCH must not catch."""
    chain, found, pid = [os.getpid()], 1, os.getppid()
    while pid > 1:
        try:
            stat = procfs.read_stat(pid)
        except OSError:
            break
        chain.append(pid)
        if stat.comm == "make":
            found = len(chain)
        pid = int(stat.fields[procfs.PPID])
    return chain[:found]


def _hear(pipe: int) -> dict[str, Any]:
    with os.fdopen(pipe, "rb") as stream:
        readable, _, _ = select.select([stream], [], [], START_S)
        if not readable:
            return {"error": f"not every collector gave a row within {START_S:.0f} s"}
        line = stream.readline()
    return dict(msgspec.json.decode(line)) if line else {"error": "the recorder ended at once"}


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _remove_new(folder: Path) -> None:
    """Take away what a failed start made; nothing else can be in a directory that it made."""
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


# --- stop


def stop(run: Run) -> list[str]:
    """End the run's recorder and with it every collector; returns what the user should be told.

    Raises TracekitError where there is no such run, or something of it lives on or was lost."""
    if not run.dir.is_dir() and run.holder() is None:
        raise TracekitError(f"no such run: logs/{run.run_id} does not exist")
    stamp = clock.now()
    was_live = _end_recorder(run)
    state = jsonl.read_document(run.state / "run.json") if (run.state / "run.json").exists() else {}
    strays = _end_strays(state)
    meta_path = run.dir / "run_meta.json"
    is_open = (
        run.dir.is_dir() and meta_path.exists() and jsonl.read_document(meta_path).get("stopped_ms") is None
    )
    if is_open:
        jsonl.update_document(meta_path, stopped_ms=stamp.ts_ms, stopped_mono_ms=stamp.mono_ms)
        _note_clock(run.dir / "node_meta.json")
    troubles = _troubles(state, was_live, is_open, strays)
    if troubles:
        raise TracekitError(f"run {run.run_id} is stopped, but {'; '.join(troubles)}")
    if not was_live:
        return ["was already stopped"]
    return [f"{name} did not end at SIGTERM and was killed" for name in state.get("killed", [])]


def _troubles(state: Mapping[str, Any], was_live: bool, is_open: bool, strays: list[str]) -> list[str]:
    troubles = [f"{name} had outlived its recorder and was killed" for name in strays]
    if state.get("error") and is_open:
        troubles.append(str(state["error"]))
    elif is_open and not was_live:
        troubles.append("its recorder had died before; the rest of the run is a gap")
    if was_live:
        collectors = state.get("collectors", {})
        troubles += [
            f"{name} could not be kept running ({one['down']})"
            for name, one in collectors.items()
            if one["down"]
        ]
        troubles += [f"{file} could not be written ({why})" for file, why in state.get("failing", {}).items()]
    return troubles


def _end_recorder(run: Run) -> bool:
    """TERM, and KILL where that does not help. Whether there was a recorder to end."""
    pid = run.holder()
    if pid is None:
        return False
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if run.holder() != pid:  # it ended, and the pid may be a stranger's by now
            return False
        for signum, seconds in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signum)
            if select.select([pidfd], [], [], seconds)[0]:
                return True
    finally:
        os.close(pidfd)
    raise TracekitError(f"the recorder (pid {pid}) of run {run.run_id} does not end, not even by SIGKILL")


def _end_strays(state: Mapping[str, Any]) -> list[str]:
    """Kill the collectors that outlived a killed recorder: same pid, same start time, its own session."""
    killed = []
    for name, one in state.get("collectors", {}).items():
        pid = one.get("pid")
        if isinstance(pid, int) and pid > 1 and procfs.starttime(pid) == one.get("starttime"):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
                killed.append(str(name))
    return killed


def _note_clock(path: Path) -> None:
    node_meta = jsonl.read_document(path)
    if node_meta:
        quality = clock.read_quality()
        node_meta["clock"] = {**quality, "start": node_meta.get("clock", {}).get("start"), "stop": quality}
        jsonl.write_document(path, node_meta)


# --- status


def status(run: Run) -> list[str]:
    """Lines for a person: the run, and of each collector its state, rows and lag."""
    pid = run.holder()
    state = jsonl.read_document(run.state / "run.json") if (run.state / "run.json").exists() else {}
    lines = [f"run {run.run_id}: {f'live (recorder pid {pid})' if pid else 'stopped'}"]
    lines += [f"  {'collector':<10} {'state':<24} {'rows':>10}  last row"] if state else []
    for name, one in state.get("collectors", {}).items():
        file = run.dir / one["writes"][0]
        rows, last_ms = _rows_of(file, one["series"])
        is_alive = pid is not None and procfs.starttime(one["pid"] or 0) == one["starttime"]
        how = f"down: {one['down']}" if one["down"] else "running" if is_alive else "ended"
        ago = f"{(time.time() * 1000 - last_ms) / 1000:.1f} s ago" if last_ms else "-"
        lines.append(f"  {name:<10} {how:<24} {rows:>10}  {ago}")
    lines += [f"  {file}: cannot be written ({why})" for file, why in state.get("failing", {}).items()]
    if state.get("error"):
        lines.append(f"  {state['error']}")
    messages = run.dir / "procmon.err"
    if messages.exists() and messages.stat().st_size:
        lines += [
            f"  {line}" for line in messages.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
        ]
    return lines


_FIELD_OF = {"cpu": b'"cpu_util"', "mem": b'"mem_free_mb"'}  # two collectors share resources.jsonl


def _rows_of(file: Path, series: str) -> tuple[int, int | None]:
    """How many rows of the series the file holds, and the ts_ms of the last one."""
    wanted = _FIELD_OF.get(series, b"{")
    count, last = 0, b""
    try:
        with file.open("rb") as lines:
            for line in lines:
                if wanted in line:
                    count, last = count + 1, line
    except OSError:
        return 0, None
    try:
        return count, int(msgspec.json.decode(last, type=dict)["ts_ms"]) if last else None
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return count, None
