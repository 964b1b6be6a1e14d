"""The files of the hosts on this machine: keys, sshd's and ssh's settings, identity, the inventory."""

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tracekit import ROOT

PORT = 8080  # each host has an address of its own


class Host(NamedTuple):
    """One host: its place in the chain, its address and the next one's, its folder."""

    name: str
    stage: str
    address: str
    next_address: str | None
    folder: Path

    @property
    def checkout(self) -> Path:
        """Where the fleet's files are pushed to."""
        return self.folder / "tracekit"


def plan_hosts(count: int, folder: Path) -> list[Host]:
    """A chain: endpoint0 passes on to edge0, edge1, ..., the last one to cloud0. One host is cloud0 alone."""
    stages = ["endpoint", *["edge"] * (count - 2), "cloud"][-count:]
    addresses = [f"10.0.0.{number}" for number in range(1, count + 1)]
    places = zip(stages, addresses, [*addresses[1:], None], strict=True)
    hosts = []
    for number, (stage, address, after) in enumerate(places):
        name = f"{stage}{number - 1 if stage == 'edge' else 0}"
        hosts.append(Host(name, stage, address, after, folder / name))
    return hosts


def write_files(hosts: Sequence[Host], folder: Path) -> None:
    """All that the hosts and their users need: folder/inventory.yml, folder/ssh_config, a folder a host."""
    _make_key(folder / "login_key")
    known = []
    for host in hosts:
        (host.folder / "home").mkdir(parents=True)
        _make_key(host.folder / "host_key")
        known.append(f"{host.name} {(host.folder / 'host_key.pub').read_text()}")
        (host.folder / "machine-id").write_text(f"{secrets.token_hex(16)}\n")
        (host.folder / "passwd").write_text(_with_home(Path("/etc/passwd").read_text(), host.folder / "home"))
        (host.folder / "shadow").touch(mode=0o600)
        (host.folder / "shadow").write_text("root:*:1::::::\nsshd:!:1::::::\n")  # a login by key only
        (host.folder / "sshd_config").write_text(_sshd_config(host, folder))
    (folder / "known_hosts").write_text("".join(known))
    (folder / "ssh_config").write_text(_ssh_config(hosts, folder))
    (folder / "inventory.yml").write_text(json.dumps(_inventory(hosts, folder), indent=2))  # JSON is YAML


def _make_key(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tracekit", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _with_home(passwd: str, home: Path) -> str:
    return re.sub(
        r"^(root:[^:]*:0:0:[^:]*:)[^:]*", lambda found: found[1] + str(home), passwd, flags=re.MULTILINE
    )


def _sshd_config(host: Host, folder: Path) -> str:
    return f"""\
ListenAddress {host.address}
HostKey "{host.folder}/host_key"
AuthorizedKeysFile "{folder}/login_key.pub"
AllowUsers root
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
UseDNS no
PidFile none
Subsystem sftp internal-sftp
SetEnv "PATH={os.environ["PATH"]}"
"""


def _ssh_config(hosts: Sequence[Host], folder: Path) -> str:
    addresses = "".join(
        f"Host {one.name}\n  HostName {one.address}\n  HostKeyAlias {one.name}\n" for one in hosts
    )
    return f"""\
{addresses}Host *
  User root
  IdentityFile "{folder}/login_key"
  IdentitiesOnly yes
  UserKnownHostsFile "{folder}/known_hosts"
  GlobalKnownHostsFile none
"""


def _inventory(hosts: Sequence[Host], folder: Path) -> dict[str, object]:
    """All share this checkout's .venv and the machine's packages, so that their set-up has nothing to do.

    Every process is in sight of every host: the checkout's path tells whose a service is."""
    own = {
        one.name: {
            "node_id": one.name,
            "stage": one.stage,
            "iface": "eth0",
            "proc_match": f"{re.escape(str(one.checkout))}/app/serve",
            "checkout": str(one.checkout),
            "ansible_remote_tmp": f"{one.folder}/home/.ansible",
            "serve_on": one.address,
            "serve_port": PORT,
            "module_id": f"svc-{one.name}",
            **({"vm_ip": one.next_address} if one.next_address else {}),
            **({"serve_next": f"http://{one.next_address}:{PORT}"} if one.next_address else {}),
        }
        for one in hosts
    }
    shared = {
        "venv": str(ROOT / ".venv"),
        "ansible_python_interpreter": str(Path(sys.executable).resolve()),  # its path has no space, ROOT may
        "ansible_ssh_common_args": f"-F {shlex.quote(str(folder / 'ssh_config'))}",
        "proc_refresh": 1,
        "peers": " ".join(one.address for one in hosts) if len(hosts) > 1 else "",
    }
    return {"all": {"vars": shared, "hosts": own}}
