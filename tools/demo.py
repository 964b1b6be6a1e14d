#!/usr/bin/env python3
"""Serve the reference service on this machine, drive it for 15 s, and show the trace.

It calls the commands that a user would call. The load is open loop (vegeta), real work on every endpoint in
turn; each request has a trace that the server continues, so what the client waited is split into
network, queue and service. The requests stay on this machine: the NIC that is watched is the loopback."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tracekit import ROOT, cli
from tracekit.errors import TracekitError
from tracekit.load.attack import vegeta
from tracekit.settings import Settings
from tracekit.summary import cpu_of_service

OWN = {"RATE": "100", "DURATION": "15"}  # where the user gives none
PLAIN_S = 15
PLAIN = (
    ("/hash/sha256", b"x" * 65_536),
    ("/blob/gzip", b"trace " * 10_000),
    ("/json/validate", b'{"a":[1,2]}'),
)
PYTHON = (sys.executable, "-I")


def _port(settings: Settings) -> str:
    """PORT where given, else one that is free."""
    if "PORT" in settings.given:
        return settings["PORT"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Demo:
    """One run, and the environment that each of its commands has."""

    def __init__(self, settings: Settings) -> None:
        self.run_id = settings["RUN_ID"] or time.strftime("demo-%Y%m%dT%H%M%SZ", time.gmtime())
        port = _port(settings)
        self._environ = {
            **os.environ,
            "RUN_ID": self.run_id,
            "PORT": port,
            "VM_IP": "",
            "DEFAULT_NEXT_URL": "",
            "DIR": "",
            **{name: settings[name] if name in settings.given else own for name, own in OWN.items()},
            "IFACE": settings["IFACE"] or "lo",
            "CONTAINER": "",
            "WORKERS": "1",
            "PROC_SAMPLING": "1",
            "JSON": "0",
            "PROC_MATCH": f"app/serve.py .*--port {port}\\b",
        }

    def call(self, *command: str) -> int:
        """The exit code of a command."""
        return subprocess.run(command, cwd=ROOT, env=self._environ, check=False).returncode

    def drive(self) -> int:
        """Serve, collect and load; whatever was started is ended. The code of the first step that fails."""
        code = self.call(*PYTHON, "tools/service.py", "run-local")
        if code:
            return code
        try:
            code = self.call("bash", "tools/collect_sys.sh", "start")
            if code:
                return code
            try:
                code = self._load()
            finally:
                code = self.call("bash", "tools/collect_sys.sh", "stop") or code
        finally:
            code = self.call(*PYTHON, "tools/service.py", "stop") or code
        return code

    def _load(self) -> int:
        """Drive the service by vegeta; where that is not to be had, ask one thing after another."""
        try:
            vegeta()
        except TracekitError:
            cli.out("no vegeta here: one request after another instead, with no record of the client's")
            ended = time.monotonic() + PLAIN_S
            while time.monotonic() < ended:
                for path, body in PLAIN:
                    with urlopen(f"http://127.0.0.1:{self._environ['PORT']}{path}", body) as answer:
                        answer.read()
                    time.sleep(1 / int(OWN["RATE"]))
            return cli.DONE
        return self.call(*PYTHON, "tools/load.py", "all")

    def show(self) -> int:
        """Parse, validate and show. The code of the first step that fails."""
        code = self.call(*PYTHON, "tools/parse_sys.py")
        if code not in (cli.DONE, cli.REJECTED):
            return code
        code = self.call(*PYTHON, "tools/validate.py")
        if code:
            return code
        cli.out()
        return self.call(*PYTHON, "tools/show.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code of the first step that fails."""
    cli.parser(__doc__ or "").parse_args(argv)
    demo = Demo(cli.load_settings())
    cli.out("demo: the reference service on this machine, and load on each of its endpoints")
    code = demo.drive() or demo.show()
    if code == cli.DONE:
        processes_s, requests_s = cpu_of_service(ROOT / "logs" / demo.run_id / "cctf")
        cli.out(
            f"Service    its process used {processes_s:.2f} s of CPU, {requests_s:.2f} s of it inside "
            "requests; the rest is the HTTP server"
        )
    return code


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
