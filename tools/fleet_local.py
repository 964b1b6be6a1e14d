#!/usr/bin/env python3
"""A fleet of N hosts on this machine: network namespaces, each with an sshd, a checkout and an identity.

experiment: make them, run tools/fleet.py experiment on them with the reference service as a chain from
endpoint0 to cloud0, take them down. CMD is the load; without it vegeta's, RATE and DURATION, sent from
endpoint0. CMD finds the endpoint's address in VM_IP, and in SSH_CONFIG a file for `ssh -F` that knows the
hosts' names. hold: make them, say how to reach them, and take them down at Ctrl-C.

Needs root and sshd (package openssh-server). The hosts share the machine's CPU, memory, clock and boot_id."""

import os
import select
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import ROOT, cli
from tracekit.errors import TracekitError
from tracekit.fleet.interrupts import interrupts_noted
from tracekit.fleet.local import Made, hosts_made
from tracekit.settings import Settings

PYTHON = (sys.executable, "-I")
INSIDE = "--inside"  # in a network namespace of its own


def _load(made: Made, settings: Settings) -> str:
    """The line for bash that sends the load from the endpoint, where what vegeta measures belongs."""
    endpoint = made.hosts[0]
    there = (
        f"cd {shlex.quote(str(endpoint.checkout))} && env RUN_ID=$RUN_ID VM_IP={endpoint.address} "
        f"RATE={settings['RATE']} DURATION={settings['DURATION']} .venv/bin/python -I tools/load.py all"
    )
    return f'ssh -F "$SSH_CONFIG" {endpoint.name} "{there}"'


def _experiment(made: Made, settings: Settings) -> int:
    own = {
        "HOSTS": str(made.folder / "inventory.yml"),
        "SSH_CONFIG": str(made.folder / "ssh_config"),
        "VM_IP": made.hosts[0].address,
        "CMD": settings["CMD"] or _load(made, settings),
    }
    command = (*PYTHON, str(ROOT / "tools" / "fleet.py"), "experiment")
    process: subprocess.Popen[bytes] | None = None
    with interrupts_noted(lambda signum: process.send_signal(signum) if process else None) as heard:
        if not heard:
            # In a session of its own: it hears each signal once, from us.
            process = subprocess.Popen(command, env={**os.environ, **own}, start_new_session=True)
            return process.wait()
    return cli.FAILED


def _hold(made: Made, _settings: Settings) -> int:
    cli.out(f"{len(made.hosts)} hosts: {', '.join(f'{one.name} {one.address}' for one in made.hosts)}")
    cli.out(f"HOSTS={made.folder / 'inventory.yml'}")
    cli.out(f"from their network: nsenter --net --target {os.getpid()} make fleet-setup HOSTS=...")
    cli.out(f"a shell: nsenter --net --target {os.getpid()} ssh -F {made.folder / 'ssh_config'} NAME")
    with interrupts_noted(lambda _: None) as heard:
        while not heard:
            select.select([], [], [], 0.2)
    return cli.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Enter a network namespace, then do what the one argument says."""
    verbs = {"experiment": _experiment, "hold": _hold}
    parser = cli.parser(__doc__ or "")
    parser.add_argument("verb", choices=verbs)
    parser.add_argument(INSIDE, action="store_true", help="this is a network namespace of its own already")
    arguments = parser.parse_args(argv)
    settings = cli.load_settings()
    if os.geteuid() != 0:
        raise TracekitError("network namespaces and sshd need root")
    if not arguments.inside:
        command = ["unshare", "--net", *PYTHON, str(Path(__file__).resolve()), arguments.verb, INSIDE]
        os.execvp(command[0], command)
    with hosts_made(int(settings["N"])) as made:
        return verbs[arguments.verb](made, settings)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
