"""The adapters of Apache and Caddy against real ones on loopback, and clients that know their own times."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from clients import Request, Server, Truth, assert_times, by_name, get, traffic, usual_requests
from conftest import ROOT, Checkout, need
from loopback import answers, backend, free_port, log_lines, wait_for

PAGE = (ROOT / "docs" / "adapters.md").read_text()
FORMAT = next(line for line in PAGE.splitlines() if line.startswith("LogFormat ") and "begin:usec" in line)
MODULES = Path("/usr/lib/apache2/modules")
APACHE = """
ServerRoot {dir}
ServerName test
PidFile {dir}/pid
DefaultRuntimeDir {dir}
ErrorLog {dir}/error.log
Listen 127.0.0.1:{listen}
{modules}
{user}
StartServers 1
{format}
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\" %D" timed
CustomLog {dir}/apache.log tracekit
CustomLog {dir}/timed.log timed
ProxyTimeout 30
ProxyPass /late http://127.0.0.1:{port}/late timeout=1
ProxyPass / http://127.0.0.1:{port}/
"""
CADDY = """
{{
  admin off
  auto_https off
  log {{
    output stderr
  }}
}}
http://:{listen} {{
  bind 127.0.0.1
  log {{
    output file {dir}/caddy.log
  }}
  handle /static {{
    respond hello
  }}
  handle /late {{
    reverse_proxy 127.0.0.1:{port} {{
      transport http {{
        response_header_timeout 100ms
      }}
    }}
  }}
  handle {{
    reverse_proxy 127.0.0.1:{port}
  }}
}}
"""


class Served(NamedTuple):
    """What a server wrote of what its clients know."""

    source: str
    folder: Path
    truths: dict[str, Truth]

    @property
    def log(self) -> Path:
        return self.folder / f"{self.source}.log"


def apache(folder: Path, listen: int, port: int) -> list[str]:
    program = shutil.which("apache2", path=f"{os.environ['PATH']}:/usr/sbin")
    need(program, "Apache (package apache2-bin)")
    wanted = ("mpm_event", "authz_core", "unixd", "proxy", "proxy_http")
    there = [name for name in wanted if (MODULES / f"mod_{name}.so").exists()]  # others are built in
    modules = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in there)
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    conf = APACHE.format(dir=folder, listen=listen, port=port, modules=modules, user=user, format=FORMAT)
    (folder / "apache.conf").write_text(conf)
    return [str(program), "-f", str(folder / "apache.conf"), "-D", "FOREGROUND"]


def caddy(folder: Path, listen: int, port: int) -> list[str]:
    program = shutil.which("caddy")
    need(program, "caddy (package caddy)")
    (folder / "Caddyfile").write_text(CADDY.format(dir=folder, listen=listen, port=port))
    return [str(program), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(scope="module", params=[apache, caddy], ids=["apache", "caddy"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    source = request.param.__name__
    folder, listen = tmp_path_factory.mktemp(source), free_port()
    with backend() as port:
        command = request.param(folder, listen, port)
        env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        with (folder / "messages").open("w") as messages:
            process = subprocess.Popen(command, stderr=messages, env=env)
        try:
            wait_for(lambda: answers(listen), f"{source} listens")
            requests = usual_requests(20) | {"late": Request([get("/late?ms=1500")])}
            requests["quote"] = Request([get('/quote"q"/x')])  # bytes beyond ASCII are refused
            truths = traffic(listen, requests, Server(process.pid))
            log_lines(folder / f"{source}.log", len(requests))
        finally:
            process.terminate()
            process.wait()
    yield Served(source, folder, truths)


def adapted(checkout: Checkout, served: Served, log: Path, *options: str) -> list[dict[str, Any]]:
    words = f"SOURCE={served.source} TAG={log.stem} RUN_ID=web NODE_ID=n1".split()
    done = checkout.make("adapt", *words, f"IN='{log}'", f"ADAPT_OPTIONS={' '.join(options)}")
    assert done.returncode == 0, done.stderr
    file = checkout.logs("web") / f"invocations.{served.source}-{log.stem}.jsonl"
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def test_every_request_is_there_once_at_the_time_of_its_client(checkout: Checkout, served: Served) -> None:
    rows = by_name(adapted(checkout, served, served.log))
    assert sum(map(len, rows.values())) == len(served.truths)
    late = {"slowhead"}  # the clock starts when the request's line is complete
    if served.source == "apache":
        late.add("gone")  # it does not look whether its client is still there
        assert rows["gone"][0]["rt_ms"] >= 900
    assert_times(rows, {name: truth for name, truth in served.truths.items() if name not in late})


def test_what_the_clients_sent_and_got_is_in_the_records(checkout: Checkout, served: Served) -> None:
    rows = {name: found[0] for name, found in by_name(adapted(checkout, served, served.log)).items()}
    upload = rows["upload"]
    assert (upload["method"], upload["bytes_in"], upload["bytes_out"]) == ("POST", 1000, 2)
    assert (rows["head"]["bytes_in"], rows["head"]["bytes_out"], rows["delete"]["bytes_in"]) == (0, 0, 0)
    assert [rows[name]["status"] for name in ("failing", "plain7")] == [503, 200]
    assert rows["late"]["status"] in (502, 504)
    assert (rows["plain7"]["query"], rows["plain7"]["bytes_out"]) == ("bytes=70", 70)
    assert rows["quote"]["path"] == '/quote"q"/x'
    assert rows["traced"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert rows["traced"]["parent_id"] == "00f067aa0ba902b7"
    assert rows["zerotrace"]["parent_id"] is None
    assert len({row["span_id"] for row in rows.values()}) == len(rows)
