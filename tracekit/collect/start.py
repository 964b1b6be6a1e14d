"""Starting a run: write its documents, start its recorder in a session of its own, wait for first rows."""

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from tracekit import ROOT, __version__, jsonl
from tracekit.collect import catalog, clock, identity, procfs
from tracekit.collect.appender import append_once
from tracekit.collect.catalog import Collector
from tracekit.collect.child import wait_for_end
from tracekit.collect.rows import mark_row
from tracekit.collect.runmeta import run_meta_so_far, service_as_given
from tracekit.collect.stop import STOP_S, end_recorder, stop_alone
from tracekit.errors import TracekitError
from tracekit.inventory import write_module_inventory
from tracekit.runs import Run, make_state
from tracekit.settings import Settings

_OWN_NEEDS = (("ip", "iproute2"), ("ping", "iputils-ping"))
_OF_THE_NODE = {"NODE_ID": "node", "STAGE": "stage", "IFACE": "iface"}
ROOM_BYTES = 1 << 16
START_S = 15.0  # a tool's first row comes after 1 to 2 s; a loaded machine is slower


def start(run: Run, settings: Settings, environ: Mapping[str, str]) -> tuple[dict[str, Any], bool]:
    """Start collecting, or collect again into the same run: node_meta.json's content; whether it was live.

    Raises TracekitError, with nothing left running and nothing half-made, where that cannot be done."""
    chosen = catalog.chosen(settings)
    _refuse_missing(chosen)
    with run.alone():
        return _start_alone(run, settings, environ)


def _start_alone(run: Run, settings: Settings, environ: Mapping[str, str]) -> tuple[dict[str, Any], bool]:
    before = jsonl.read_document(run.dir / "node_meta.json")
    settings = _as_recorded(settings, before, jsonl.read_document(run.dir / "run_meta.json"))
    nic = identity.find_nic(settings)
    _refuse_full_disk(run.dir)
    was_live = _stop_live(run)
    with _undone_by_failure(run):
        stopped_ms = jsonl.read_document(run.dir / "run_meta.json").get("stopped_ms")
        node_meta = _write_documents(run, settings, nic)
        ready = _start_recorder(run, settings, nic, environ)
        if before:
            _mark_restart(run, stopped_ms, ready["ready_ms"], "live" if was_live else "finished")
        if jsonl.read_document(run.dir / "run_meta.json").get("started_ms") is None:
            # The first whole second by which every collector had given a row: from here on each owes one.
            whole_ms = ready["ready_ms"] // 1000 * 1000
            mono_ms = ready["ready_mono_ms"] - (ready["ready_ms"] - whole_ms)
            jsonl.update_document(run.dir / "run_meta.json", started_ms=whole_ms, started_mono_ms=mono_ms)
    return node_meta, was_live


def _refuse_full_disk(folder: Path) -> None:
    """A start that finds no room must find out before it stops or starts anything."""
    is_new = not folder.exists()
    probe = folder / f".room.{os.getpid()}.tmp"
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        with jsonl.replacing(probe) as stream:
            stream.write(b"\0" * ROOM_BYTES)
    except OSError as error:
        raise TracekitError(f"{folder}: cannot be written ({error.strerror}); mend that first") from error
    finally:  # also where the start is interrupted
        with suppress(OSError):
            probe.unlink(missing_ok=True)
            if is_new:
                folder.rmdir()


def _refuse_missing(chosen: Sequence[Collector]) -> None:
    missing = [need for collector in chosen for need in collector.missing()]
    missing += [f"{name} (package {package})" for name, package in _OWN_NEEDS if shutil.which(name) is None]
    if missing:
        raise TracekitError(f"not found: {', '.join(missing)}; `make setup` installs what is missing")


def _stop_live(run: Run) -> bool:
    """Stop the run's collectors if they are at work; whether they were."""
    if run.holder() is None:
        return False
    try:
        stop_alone(run)
    except TracekitError:
        if run.holder() is not None:
            raise
        # What it complains of is in the marks already, and the run goes on now.
    return True


@contextmanager
def _undone_by_failure(run: Run) -> Iterator[None]:
    """A start that fails leaves nothing running, and the documents as they were, or no directory."""
    folder = run.dir
    is_new = not folder.exists()
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    kept = {path: path.read_bytes() for path in folder.glob("*.json") if path.is_file()}
    try:
        yield
    except BaseException:
        end_recorder(run)
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(run.state, ignore_errors=True)
            raise
        for path in set(folder.glob("*.json")) - kept.keys():
            with suppress(OSError):
                path.unlink()
        for path, content in kept.items():
            with suppress(OSError), jsonl.replacing(path) as stream:
                stream.write(content)
        raise


def _as_recorded(settings: Settings, node: Mapping[str, Any], run: Mapping[str, Any]) -> Settings:
    """What the run was begun with holds for all of it: a row would mean another thing before and after.

    Raises TracekitError where another value is given now, or the monotonic clock has begun anew."""
    if not identity.is_of_this_boot(node):
        raise TracekitError("this run was recorded in another boot of the machine: choose another RUN_ID")
    values = dict(settings.values)
    if not values["NODE_ID"] and not node:
        values["NODE_ID"] = identity.default_node_id()
    recorded = {name: node.get(key) for name, key in _OF_THE_NODE.items()}
    recorded["PROC_INTERVAL_MS"] = run.get("interval_ms")
    for name, value in recorded.items():
        if value is None:
            continue
        if name in settings.given and settings[name] != str(value):
            raise TracekitError(
                f"this run was recorded with {name}={value}, not {settings[name]}: "
                f"choose another RUN_ID, or {name}={value}"
            )
        values[name] = str(value)
    return Settings(values, settings.given)


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
        **run_meta_so_far(run),  # the load generator's part, or an earlier start's
        **service_as_given(settings),
        "run_id": run.run_id,
        "stopped_ms": None,
        "stopped_mono_ms": None,
        "interval_ms": int(settings["PROC_INTERVAL_MS"]),
        "git_sha": identity.git_sha(),
        "tracekit_version": __version__,
    }
    jsonl.write_document(run.dir / "node_meta.json", node_meta)
    jsonl.write_document(run.dir / "link_meta.json", identity.link_facts(nic, settings))
    jsonl.write_document(run.dir / "run_meta.json", run_meta)
    write_module_inventory(run.dir)
    return node_meta


def _mark_restart(run: Run, stopped_ms: int | None, ready_ms: int, state: str) -> None:
    span = {"from_ms": stopped_ms, "to_ms": ready_ms}
    detail = f"collecting again into a {state} run"
    row = mark_row(clock.now(), "run", "restart", **span, reason="start-collect", detail=detail)
    append_once(run.dir / "marks.jsonl", row)


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
        _end_recorder_process(process)
        raise
    if "error" in message:
        _end_recorder_process(process)
        raise TracekitError(f"{message['error']}{_last_words(state / 'recorder.log')}")
    return message


def _collecting_environment() -> dict[str, str]:
    return {"LC_ALL": "C", "TZ": "UTC", "TRACEKIT_STARTERS": " ".join(map(str, _starters()))}


_CALLERS = {"make", "sh", "bash", "dash"}


def _starters() -> list[int]:
    """This process and its parents up to the make that called it: what PROC_MATCH must not catch.

    A make further up, of a program that calls us, is none of ours, and nor is what that program starts."""
    chain, found, pid = [os.getpid()], 1, os.getppid()
    while pid > 1:
        try:
            stat = procfs.read_stat(pid)
        except OSError:
            break
        if stat.comm not in _CALLERS:
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


def _end_recorder_process(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    if wait_for_end(process, STOP_S) is None:
        process.kill()
        process.wait()
