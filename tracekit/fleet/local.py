"""Hosts made on this machine: network namespaces on one bridge, each with an sshd of its own.

A host has its own network, host name, machine id, home of root, checkout and keys. It shares the kernel with
the others: CPU, memory, clock, boot_id, and /proc, where each sees every process. The caller has a network
namespace to itself; no interface and no file of the machine is changed, and all that was made ends with the
block.
"""

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tracekit import ROOT
from tracekit.collect import procfs
from tracekit.errors import TracekitError
from tracekit.fleet.localfiles import Host, plan_hosts, write_files
from tracekit.runs import state_home

BRIDGE = "hosts"
HERE = "10.0.0.254/24"
NEEDS = {"sshd": "openssh-server", "ssh-keygen": "openssh-client", "unshare": "util-linux", "ip": "iproute2"}
_SCRIPT = ROOT / "tools" / "lib" / "local_host.sh"
_READY_S = 10.0
_LOOK_S = 0.05


class Made(NamedTuple):
    """The hosts at work, and the folder with their inventory.yml and ssh_config."""

    hosts: Sequence[Host]
    folder: Path


class _Daemon(NamedTuple):
    """A host's sshd. network: a descriptor of its namespace; its number is no other's while this is open."""

    process: "subprocess.Popen[bytes]"
    network: int


@contextmanager
def hosts_made(count: int) -> Iterator[Made]:
    """The hosts, ready for ssh; after the block nothing of them is left, whatever happened in it.

    Raises TracekitError where they cannot be made."""
    missing = [f"{name} (package {package})" for name, package in NEEDS.items() if shutil.which(name) is None]
    if missing:
        raise TracekitError(f"not found: {', '.join(missing)}; install that first")
    folder = Path(tempfile.mkdtemp(prefix="tracekit-fleet."))
    hosts = plan_hosts(count, folder)
    daemons: list[_Daemon] = []
    try:
        write_files(hosts, folder)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists; a service manager makes it else
        _ip("link set lo up", f"link add {BRIDGE} type bridge")
        _ip(f"address add {HERE} dev {BRIDGE}", f"link set {BRIDGE} up")
        for number, host in enumerate(hosts):
            _raise_host(host, number, daemons)
        for host, daemon in zip(hosts, daemons, strict=True):
            _wait_until_ready(host, daemon.process)
        yield Made(hosts, folder)
    finally:
        for daemon in daemons:
            _take_down(daemon)
        for host in hosts:
            shutil.rmtree(state_home(host.checkout), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def _ip(*commands: str) -> None:
    for words in commands:
        done = subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise TracekitError(f"ip {words}: {done.stderr.strip()}")


def _raise_host(host: Host, number: int, daemons: list[_Daemon]) -> None:
    """Start it, and put the other end of a wire to the bridge into it as eth0."""
    with (host.folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", _SCRIPT, host.folder, host.name, host.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        process.wait()
        raise TracekitError(f"{host.name} cannot be made: {_last_words(host)}")
    daemons.append(_Daemon(process, os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)))
    wire = f"wire{number}"
    _ip(
        f"link add {wire} type veth peer name eth0 netns {process.pid}",
        f"link set {wire} master {BRIDGE} up",
    )
    with suppress(BrokenPipeError):
        process.stdin.write(b"go\n")
        process.stdin.close()
    process.stdout.close()


def _wait_until_ready(host: Host, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(int(_READY_S / _LOOK_S)):
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((host.address, 22)) == 0:
                return
        if process.poll() is not None:
            raise TracekitError(f"sshd of {host.name} ended at once: {_last_words(host)}")
        select.select([], [], [], _LOOK_S)
    raise TracekitError(f"sshd of {host.name} does not answer within {_READY_S:.0f} s: {_last_words(host)}")


def _last_words(host: Host) -> str:
    lines = (host.folder / "sshd.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _take_down(daemon: _Daemon) -> None:
    """End every process in the host's network, until there is none: all of them came from its sshd."""
    network = os.fstat(daemon.network).st_ino
    try:
        for _ in range(int(_READY_S / _LOOK_S)):
            if not [pid for pid in procfs.list_pids() if _kill_if_in(pid, network)]:
                return
            select.select([], [], [], _LOOK_S)
    finally:
        os.close(daemon.network)
        daemon.process.wait()


def _kill_if_in(pid: int, network: int) -> bool:
    """Whether the process lives in that network; it has been killed then."""
    with suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino == network:  # noqa: PTH116 - a pid is no path
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                return True
        finally:
            os.close(pidfd)
    return False
