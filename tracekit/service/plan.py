"""What is to be started: which run, which node, where; and the checks before anything is."""

import errno
import ipaddress
import select
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from tracekit import jsonl
from tracekit.collect import identity
from tracekit.errors import TracekitError, UsageError
from tracekit.inventory import write_module_inventory
from tracekit.runs import Run, await_start, awaited_run, live_runs, new_run
from tracekit.settings import Settings

OPEN_S = 0.2  # a port behind which nobody serves closes a connection before that


class Plan(NamedTuple):
    """A service to start. host: the address to publish it on; invented: the next start takes this run."""

    run: Run
    invented: bool
    node: str
    stage: str
    app_id: str
    module_id: str
    host: str
    port: int
    workers: int
    next_url: str
    scen: str

    def environment(self) -> dict[str, str]:
        """What app/ takes from its environment; the launcher adds TRACE_DIR and KV_PATH."""
        return {
            "RUN_ID": self.run.run_id,
            "NODE_ID": self.node,
            "STAGE": self.stage,
            "APP_ID": self.app_id,
            "MODULE_ID": self.module_id,
            "DEFAULT_NEXT_URL": self.next_url,
        }


def make_plan(settings: Settings, run: Run, invented: bool) -> Plan:
    """The service that the settings describe, for this run. Raises UsageError where it would call itself."""
    node = jsonl.read_document(run.dir / "node_meta.json")
    host, port = settings["VM_IP"] or "127.0.0.1", int(settings["PORT"])
    next_url = settings["DEFAULT_NEXT_URL"]
    if next_url and _leads_to(next_url, host, port):
        raise UsageError(f"DEFAULT_NEXT_URL={next_url} is this service itself: name the next hop's address")
    return Plan(
        run=run,
        invented=invented,
        node=settings["NODE_ID"] or str(node.get("node") or identity.default_node_id()),
        stage=settings["STAGE"] if "STAGE" in settings.given else str(node.get("stage") or settings["STAGE"]),
        app_id=settings["APP_ID"],
        module_id=settings["MODULE_ID"],
        host=host,
        port=port,
        workers=int(settings["WORKERS"]),
        next_url=next_url,
        scen=settings["SCEN"],
    )


def _leads_to(url: str, host: str, port: int) -> bool:
    parts = urlsplit(url)
    return parts.hostname in (host, "localhost") and (parts.port or 80) == port


def choose_run(settings: Settings) -> tuple[Run, bool]:
    """RUN_ID where given, else the live run, else an invented one (True), which the next start takes.

    Raises UsageError where several runs are live."""
    if settings["RUN_ID"]:
        return Run(settings["RUN_ID"]), False
    live = live_runs()
    if len(live) > 1:
        names = ", ".join(run.run_id for run in live)
        raise UsageError(f"{len(live)} runs are live ({names}): say which with RUN_ID=")
    return (live[0], False) if live else (awaited_run() or new_run(), True)


def prepare(plan: Plan) -> None:
    """The run's directory, and the app's module in its inventory."""
    plan.run.dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    if plan.invented:
        await_start(plan.run)
    module = {"module_id": plan.module_id, "name": plan.module_id, "type": "http"}
    write_module_inventory(plan.run.dir, plan.app_id, [module])


def authority(host: str, port: int | str) -> str:
    """host:port as URLs and docker have it: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refuse_taken_port(host: str, port: int) -> None:
    """Raises TracekitError where nothing can be served there, with the way out."""
    try:
        with _socket(host) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        ways_out = {
            errno.EADDRINUSE: f"end what serves there (`make stop PORT={port}` if it is ours), "
            "or choose another PORT=",
            errno.EADDRNOTAVAIL: "give this VM's own address as VM_IP=, or none for 127.0.0.1",
            errno.EACCES: "choose a PORT= from 1024 on",
        }
        way_out = ways_out.get(error.errno or 0, "choose another PORT= or VM_IP=")
        raise TracekitError(f"port {port} on {host}: {error.strerror}; {way_out}") from error


def answers(host: str, port: int) -> bool:
    """Whether somebody serves there: a connection is taken, and stays open. Nothing is asked for."""
    with _socket(host) as probe:
        probe.settimeout(2)
        if probe.connect_ex((host, port)) != 0:
            return False
        readable, _, _ = select.select([probe], [], [], OPEN_S)
        return not readable


def _socket(host: str) -> socket.socket:
    is_v6 = ipaddress.ip_address(host).version == 6
    return socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
