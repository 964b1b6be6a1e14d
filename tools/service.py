#!/usr/bin/env python3
"""build, run, run-local or stop the reference service (app/).

build makes the image IMG from BASE; run starts a container of it, run-local the same service without
Docker. Both return when the port answers (VM_IP, else 127.0.0.1; PORT) and leave the service in the
background; its events go to logs/<RUN_ID>/. Without RUN_ID that is the live run, else a new one that the
next start-collect takes. stop ends everything they started: with PORT or RUN_ID, only what has these.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import cli
from tracekit.errors import TracekitError
from tracekit.runs import forget_awaited
from tracekit.service import docker, local
from tracekit.service.plan import Plan, authority, choose_run, make_plan
from tracekit.service.state import Started, all_started
from tracekit.settings import Settings


def _build(settings: Settings) -> None:
    docker.build(settings["IMG"], settings["BASE"])
    cli.out(f"built the image {settings['IMG']}; start it with: make run")


def _run(settings: Settings) -> None:
    plan = make_plan(settings, *choose_run(settings))
    docker.start(plan, settings["IMG"])
    _tell(plan)


def _run_local(settings: Settings) -> None:
    plan = make_plan(settings, *choose_run(settings))
    local.start(plan, os.environ)
    _tell(plan)


def _tell(plan: Plan) -> None:
    where = authority(plan.host, plan.port)
    onward = f", next hop {plan.next_url}" if plan.next_url else ""
    cli.out(f"serving RUN_ID={plan.run.run_id} node={plan.node} stage={plan.stage} on http://{where}{onward}")
    cli.out(f"raw files: logs/{plan.run.run_id}/   end it with: make stop PORT={plan.port}")


def _stop(settings: Settings) -> None:
    found = all_started()
    if "PORT" in settings.given:
        found = [one for one in found if one.port == int(settings["PORT"])]
    if "RUN_ID" in settings.given:
        found = [one for one in found if one.run.run_id == settings["RUN_ID"]]
    if not found:
        cli.out("nothing to stop: no such service was started from here")
    troubles = []
    for one in found:
        try:
            _end(one)
        except TracekitError as error:  # the others end all the same
            troubles.append(f"{one.title}: {error}")
    if troubles:
        raise TracekitError("; ".join(troubles))


def _end(one: Started) -> None:
    notes = docker.end(one) if one.kind == "docker" else local.end(one)
    one.forget()
    cli.out(f"stopped {one.title}")
    for note in notes:
        cli.warn(note)
    if all(other.run != one.run for other in all_started()):
        forget_awaited(one.run)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the one argument says."""
    verbs = {"build": _build, "run": _run, "run-local": _run_local, "stop": _stop}
    parser = cli.parser(__doc__ or "")
    parser.add_argument("verb", choices=verbs)
    verb = parser.parse_args(argv).verb
    verbs[verb](cli.load_settings())
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
