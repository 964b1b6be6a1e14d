"""The service as a container: non-root, a read-only root file system, no capabilities, one published port."""

import csv
import io
import os
import select
import shutil
import stat
import subprocess
import time
from pathlib import Path

from tracekit import ROOT
from tracekit.errors import TracekitError
from tracekit.service.plan import Plan, answers, authority, prepare, refuse_taken_port
from tracekit.service.state import TOKEN, Started, new_folder, note

START_S = 60.0
USER_ID = 10001  # of the image's own user; the Dockerfile says the same
_SHARED = ("marks.jsonl", "placement_events.jsonl")  # the collector, or another container, writes them too


def build(image: str, base: str) -> None:
    """Build the image from this checkout; docker's own output goes to the terminal.

    Raises TracekitError where that fails."""
    _refuse_no_engine()
    arguments = ["--build-arg", f"BASE={base}"] if base else []
    # The host's network: a bridge often cannot reach the package index where the host can.
    command = ["docker", "build", "--network", "host", "--tag", image, *arguments, str(ROOT)]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
        raise TracekitError(f"docker could not build {image}; BASE= names another base image")


def start(plan: Plan, image: str) -> Started:
    """Start a container of the image; returns when its port answers.

    Raises TracekitError, with no container left, where it does not."""
    _refuse_no_engine()
    if _docker("image", "inspect", image).returncode:
        raise TracekitError(f"there is no image {image}: `make build` makes it")
    name = container_name(image, plan.port)
    _remove_ended(name)
    refuse_taken_port(plan.host, plan.port)
    prepare(plan)
    user = _open_directory(plan.run.dir)
    folder = new_folder(plan.run)
    created = _docker(*_run_arguments(plan, image, name, user, folder.name))
    if created.returncode:
        _remove_ended(name)  # docker leaves one that it could create and not start
        shutil.rmtree(folder)
        raise TracekitError(f"docker could not start {image}: {created.stderr.strip()}")
    started = note(folder, plan, "docker", container=created.stdout.strip(), name=name, image=image)
    try:
        _wait(plan, started)
    except BaseException:
        end(started)
        started.forget()
        raise
    return started


def container_name(image: str, port: int) -> str:
    """svc for the image svc on port 8080, svc-9090 on another."""
    name = image.rpartition("/")[2].partition(":")[0].partition("@")[0]
    return name if port == 8080 else f"{name}-{port}"


def _run_arguments(plan: Plan, image: str, name: str, user: str, token: str) -> list[str]:
    environment = {**plan.environment(), "TRACE_DIR": "/trace"}
    return [
        *("run", "--detach", "--name", name, "--label", f"{TOKEN}={token}", "--user", user),
        *("--read-only", "--tmpfs", "/tmp:rw,noexec,nosuid,nodev,size=160m,mode=1777"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "1024"),
        *("--publish", f"{authority(plan.host, plan.port)}:8080", "--mount", _mount(plan.run.dir)),
        *(word for item in environment.items() for word in ("--env", "=".join(item))),
        *(image, "--workers", str(plan.workers)),
    ]


def _mount(folder: Path) -> str:
    """The value of --mount: comma-separated, quoted as CSV is, for a path may hold a comma."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(["type=bind", f"source={folder.resolve()}", "target=/trace"])
    return out.getvalue()


def _open_directory(folder: Path) -> str:
    """Let the container's user add files to the run's directory, and change no other's; that user, uid:gid.

    Where an ordinary user starts it, the container runs as that user. Where root does, as the image's own:
    that group may write, and the sticky bit keeps it from removing or replacing what is not its own."""
    if os.getuid():
        return f"{os.getuid()}:{os.getgid()}"
    os.chown(folder, -1, USER_ID)
    folder.chmod(0o3770)
    for name in _SHARED:
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise TracekitError(f"{folder / name}: no regular file; look at it and remove it")
            os.fchown(descriptor, -1, USER_ID)
            os.fchmod(descriptor, 0o660)
        finally:
            os.close(descriptor)
    return f"{USER_ID}:{USER_ID}"


def _wait(plan: Plan, started: Started) -> None:
    container = str(started.container)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if answers(plan.host, plan.port):
            return
        state = _docker("inspect", "--format", "{{.State.Running}}", container).stdout.strip()
        if state != "true":
            lines = _docker("logs", container).stderr.strip().splitlines()
            raise TracekitError(f"the container ended at once: {lines[-1] if lines else 'it said nothing'}")
        select.select([], [], [], 0.1)
    raise TracekitError(f"the container does not answer on {plan.host}:{plan.port} within {START_S:.0f} s")


def end(started: Started) -> list[str]:
    """Stop and remove the container; returns what the user should be told."""
    _refuse_no_engine()
    container = str(started.container)
    if _docker("inspect", "--format", "{{.Id}}", container).returncode:
        return ["it had been removed already"]
    _docker("stop", "--time", "10", container)
    removed = _docker("rm", "--force", "--volumes", container)
    if removed.returncode:
        raise TracekitError(f"the container could not be removed: {removed.stderr.strip()}")
    return []


def _remove_ended(name: str) -> None:
    """A container of that name that has ended, and was ours; one that runs is in the way."""
    form = f'{{{{.State.Running}}}} {{{{index .Config.Labels "{TOKEN}"}}}}'
    state = _docker("inspect", "--type", "container", "--format", form, name)
    if state.returncode:
        return
    running, _, token = state.stdout.strip().partition(" ")
    if running == "true" or not token or token == "<no value>":
        raise TracekitError(
            f"a container {name} is there: `make stop`, or `docker rm -f {name}`, or another PORT="
        )
    _docker("rm", "--force", "--volumes", name)


def _refuse_no_engine() -> None:
    if shutil.which("docker") is None:
        raise TracekitError("docker is not there: `make run-local` needs none, or install an engine")
    done = _docker("version", "--format", "{{.Server.Version}}")
    if done.returncode:
        why = done.stderr.strip().splitlines()
        raise TracekitError(
            f"no Docker engine answers ({why[-1] if why else 'it said nothing'}): "
            "start it, or use `make run-local`, which needs none"
        )


def _docker(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
