#!/usr/bin/env python3
"""The collectors of N VMs as one. HOSTS names an Ansible inventory: fleet/inventory.example.yml.

setup: push this checkout to every host and install there what is missing. start: every host's collectors, at
one common second. stop: them, and the services that start has started. collect: parse on every host, fetch
each cctf to fetched/<RUN_ID>/<host>, merge them into unified_cctf/<RUN_ID>, validate that. experiment: all of
these, and between start and stop the line CMD for bash, here, with RUN_ID in its environment.

A host that fails is named, and the others go on; the exit code is 1 then, and where CMD fails. Without
RUN_ID, start and experiment invent one; stop and collect take the last one started from here.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.errors import UsageError
from tracekit.fleet import verbs
from tracekit.fleet.experiment import Experiment, run
from tracekit.fleet.interrupts import interrupts_noted
from tracekit.fleet.plays import LOCAL, Fleet, Outcome
from tracekit.settings import Settings


def _fleet(settings: Settings) -> Fleet:
    if not settings["HOSTS"]:
        raise UsageError("give HOSTS=, an inventory; fleet/inventory.example.yml shows how one looks")
    return Fleet(Path(settings["HOSTS"]), verbs.given_for_all(settings), cli.out, cli.warn)


def _start(fleet: Fleet, settings: Settings, heard: Sequence[int]) -> int:
    unheard = [name for name in ("NODE_ID", "VM_IP") if settings.given.get(name) == "environment"]
    if unheard:
        cli.warn(f"{' and '.join(unheard)}: passed on to no host, for the inventory says it of each")
    run_id = verbs.begun_run(settings)
    cli.out(f"RUN_ID={run_id}")
    outcome = verbs.start(fleet, run_id, cli.out)
    if heard:
        outcome.add(verbs.stop(fleet, run_id))
    return _tell(outcome)


def _chosen(settings: Settings) -> str:
    run_id = verbs.chosen_run(settings)
    cli.out(f"RUN_ID={run_id}")
    return run_id


def _experiment(fleet: Fleet, settings: Settings, heard: Sequence[int]) -> int:
    if not settings["CMD"]:
        raise UsageError("give CMD=, the load: a line for bash, which has RUN_ID in its environment")
    run_id = verbs.begun_run(settings)
    cli.out(f"RUN_ID={run_id}")
    outcome, command_code = run(
        fleet, Experiment(run_id, settings["CMD"], os.environ, settings["RAW"]), heard, cli.out
    )
    code = _tell(outcome)
    if command_code:
        cli.warn(f"the command ended with exit code {command_code} (exit {cli.FAILED})")
        return cli.FAILED
    return cli.DONE if code == cli.REJECTED else code  # it has been said


def _tell(outcome: Outcome) -> int:
    """The last lines: who failed, and why. The exit code."""
    hosts = outcome.hosts - {LOCAL}
    for host, reason in sorted(outcome.failed.items()):
        cli.warn(f"failed: {host}: {reason}")
    if outcome.merged and outcome.merged != hosts:
        cli.warn(f"the merged trace is partial, without {', '.join(sorted(hosts - outcome.merged))}")
    if outcome.failed:
        cli.warn(f"{len(hosts - outcome.failed.keys())} of {len(hosts)} hosts went well (exit {cli.FAILED})")
        return cli.FAILED
    cli.out(f"{len(hosts)} of {len(hosts)} hosts went well")
    if outcome.rejected:
        cli.warn(f"exit {cli.REJECTED}: lines were rejected on {', '.join(sorted(outcome.rejected))}")
        return cli.REJECTED
    return cli.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the one argument says."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("verb", choices=("setup", "start", "stop", "collect", "experiment"))
    verb = parser.parse_args(argv).verb
    settings = cli.load_settings()
    fleet = _fleet(settings)
    with interrupts_noted(lambda _: cli.warn("interrupted: what is being done ends first")) as heard:
        if verb == "setup":
            return _tell(verbs.set_up(fleet))
        if verb == "start":
            return _start(fleet, settings, heard)
        if verb == "stop":
            return _tell(verbs.stop(fleet, _chosen(settings)))
        if verb == "collect":
            return _tell(verbs.collect(fleet, _chosen(settings), cli.out, settings["RAW"]))
        return _experiment(fleet, settings, heard)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
