"""The variables that users type: name, default, meaning and what is allowed, each in one place.

One order for each: make's command line, the environment, run_id.env, the scenario that SCEN names, the
default here. (make hands its command line on as environment.) Nothing here reads the environment
itself; cli does.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tracekit.errors import UsageError

ENV_FILE = "run_id.env"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_IFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,14}")  # IFNAMSIZ is 16 with the closing NUL
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:@-]{0,254}")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?s?")
_TRACE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")

_PEER = re.compile(rf"(?:({NAME.pattern})=)?(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Fa-f:.]+?))(?::([0-9]{{1,5}}))?")

Check = Callable[[str], str | None]


def _matches(pattern: re.Pattern[str], wanted: str) -> Check:
    return lambda value: None if pattern.fullmatch(value) else f"must be {wanted}"


def _one_of(*allowed: str) -> Check:
    return lambda value: None if value in allowed else f"must be {' or '.join(allowed)}"


def _whole(low: int, high: int) -> Check:
    def check(value: str) -> str | None:
        ok = value.isascii() and value.isdigit() and len(value) < 19 and low <= int(value) <= high
        return None if ok else f"must be a whole number from {low} to {high}"

    return check


def _ip(value: str) -> str | None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "must be an IPv4 or IPv6 address"
    return None


def _regex(value: str) -> str | None:
    if len(value) > 4096:
        return "must have at most 4096 characters"
    try:
        re.compile(value, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    return None


def _command(value: str) -> str | None:
    return "must have at most 4096 characters" if len(value) > 4096 else None


def _path(value: str) -> str | None:
    return "must be a path of at most 4096 characters" if len(value) > 4096 else None


def _paths(value: str) -> str | None:
    return "must have at most 131,072 characters" if len(value) > 131_072 else None


def _url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        rest = (parts.username, parts.query, parts.fragment, parts.path.rstrip("/"))
        ok = parts.scheme in ("http", "https") and parts.hostname and not any(rest) and parts.port != 0
    except ValueError:
        ok = False
    return None if ok and value.isascii() and value.isprintable() else "must be like http://10.0.0.2:8080"


def _seconds(value: str) -> str | None:
    ok = _SECONDS.fullmatch(value) and float(value.rstrip("s")) > 0
    return None if ok else "must be seconds, such as 30 or 30s"


class Peer(NamedTuple):
    """Another VM of the run. name: "" where not given; port: None for the common one."""

    name: str
    address: str
    port: int | None


def peers_of(words: str) -> list[Peer]:
    """The peers in "10.0.0.2 vm3=10.0.0.3 [fd00::1]:47100". Raises ValueError with the word that is none."""
    return [_peer(word) for word in words.split()]


def _peer(word: str) -> Peer:
    found = _PEER.fullmatch(word)
    if not found:
        raise ValueError(word)
    name, bracketed, plain, port = found.groups()
    address = str(ipaddress.ip_address(bracketed or plain))
    if port and not 0 < int(port) < 65536:
        raise ValueError(word)
    return Peer(name or "", address, int(port) if port else None)


def _peers(value: str) -> str | None:
    try:
        peers_of(value)
    except ValueError:
        return "must be addresses such as 10.0.0.2, vm2=10.0.0.2 or [fd00::2]:47100, separated by spaces"
    return None


def _text(value: str) -> str | None:
    return "must have at most 65,536 characters, no NUL" if len(value) > 65_536 or "\0" in value else None


def _cores(value: str) -> str | None:
    ok = _NUMBER.fullmatch(value) and float(value) > 0
    return None if ok else "must be a number of cores above 0"


def _node_cores(value: str) -> str | None:
    parts = [part.rpartition("=") for part in value.split(",")]
    ok = all(NAME.fullmatch(name) and _cores(count) is None for name, _, count in parts)
    return None if ok else "must be like edge0=2,cloud0=8"


def _runs(value: str) -> str | None:
    ok = all(map(NAME.fullmatch, value.split()))
    return None if ok else "must be names of runs, separated by spaces"


class Setting(NamedTuple):
    """default: what holds where nothing is given. empty_ok: given but empty means not given."""

    name: str
    default: str
    help: str
    check: Check
    empty_ok: bool = True
    shown_default: str = ""


_name = _matches(NAME, "1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit")

SETTINGS: tuple[Setting, ...] = (
    Setting("RUN_ID", "", "name of the run", _name, False, "start invents one; others: the live or last run"),
    Setting("NODE_ID", "", "name of this VM in the trace", _name, False, "short host name"),
    Setting("STAGE", "cloud", "where this VM stands: endpoint, edge, cloud, ...", _name, False),
    Setting("VM_IP", "", "collect: peer, for NIC and delay; run: own address; real-*: the service's", _ip),
    Setting(
        "IFACE",
        "",
        "primary NIC",
        _matches(_IFACE, "the name of a network interface"),
        shown_default="of the route to VM_IP, else the default route",
    ),
    Setting(
        "BW_BPS", "", "bandwidth of that NIC, bits/s", _whole(0, 10**15), shown_default="as the NIC tells"
    ),
    Setting("PROC_SAMPLING", "1", "1: sample processes, 0: leave them out", _one_of("0", "1"), False),
    Setting(
        "CONTAINER",
        "",
        "sample this container's processes: a name or a full id",
        _matches(_CONTAINER, "a container name"),
    ),
    Setting("PROC_MATCH", "", "regular expression over name and command line of processes", _regex),
    Setting("PROC_REFRESH", "0", "1: look for new processes each second, 0: once", _one_of("0", "1"), False),
    Setting("PROC_INTERVAL_MS", "1000", "ms between two samples of a process", _whole(50, 3_600_000), False),
    Setting(
        "HOST_EXTRAS",
        "0",
        "1: more of the host: cores, disks, other NICs",
        _one_of("0", "1"),
        False,
    ),
    Setting("SCEN", "", "scenario: scenarios/<SCEN>.env holds values for these variables", _name),
    Setting("PORT", "8080", "port of the service", _whole(1, 65535), False),
    Setting("WORKERS", "1", "worker processes of the service", _whole(1, 256), False),
    Setting("DEFAULT_NEXT_URL", "", "next hop that the service passes each request on to", _url),
    Setting("APP_ID", "refapp", "name of the app in the trace", _name, False),
    Setting("MODULE_ID", "svc", "name of this service in the trace", _name, False),
    Setting("IMG", "svc", "image of the service", _matches(_IMAGE, "the name of an image"), False),
    Setting(
        "BASE",
        "",
        "base of that image",
        _matches(_IMAGE, "the name of an image"),
        shown_default="the Dockerfile's",
    ),
    Setting("RATE", "50", "requests a second that a load target sends", _whole(1, 1_000_000), False),
    Setting("DURATION", "30", "seconds that it sends them", _seconds, False),
    Setting("HOSTS", "", "inventory of a fleet, for Ansible", _path),
    Setting("CMD", "", "load of an experiment: a line for bash", _command),
    Setting("RAW", "0", "1: a fleet's raw files are fetched too", _one_of("0", "1"), False),
    Setting("N", "3", "hosts that fleet-local makes", _whole(1, 32), False),
    Setting("STRICT", "0", "1: parse stops at the first bad line", _one_of("0", "1"), False),
    Setting(
        "DIR",
        "",
        "data set to look at",
        _path,
        shown_default="unified_cctf/<RUN_ID> where it is merged, else logs/<RUN_ID>/cctf",
    ),
    Setting("CORES", "", "replay: cores of each node", _cores, shown_default="as recorded"),
    Setting("NODES", "", "replay: cores by node, node=cores,...", _node_cores, shown_default="CORES"),
    Setting("SLOTS", "", "replay: requests that a node serves at once", _whole(1, 1_000_000)),
    Setting(
        "POLICY",
        "",
        "replay: cores are fifo or ps",
        _one_of("fifo", "ps"),
        shown_default="PARAMS', else fifo",
    ),
    Setting(
        "DEMAND",
        "cpu",
        "replay: service takes service times where cpu_time_ms is unknown",
        _one_of("cpu", "service"),
        False,
    ),
    Setting("PARAMS", "", "parameters file: calibrate writes it, replay takes it", _path),
    Setting("TRAIN", "", "calibrate: the runs to fit on, separated by spaces", _runs),
    Setting(
        "SIM", "", "verify: simulation to hold against the run", _path, shown_default="its exports/replay"
    ),
    Setting("FLOOR", "", "verify: a repetition of the run, to stand beside", _name),
    Setting("GATES", "", "verify: file of allowed errors", _path, shown_default="scenarios/gates.json"),
    Setting("JSON", "0", "1: validate prints its report as JSON", _one_of("0", "1"), False),
    Setting("PEERS", "", "other VMs of the run, whose clocks are probed: addresses, or name=address", _peers),
    Setting("PEER_PORT", "47100", "UDP port of these probes", _whole(1, 65535), False),
    Setting("ALIGN", "0", "1: merge corrects stamps by the clocks' offsets", _one_of("0", "1"), False),
    Setting("PARQUET", "0", "1: merge writes Parquet too", _one_of("0", "1"), False),
    Setting(
        "OPENDC", "latest", "release that export-opendc writes for", _one_of("2.4e", "2.4f", "latest"), False
    ),
    Setting(
        "TASKS",
        "jobs",
        "what is a task to export-*: wrapped jobs, or processes",
        _one_of("jobs", "processes"),
        False,
    ),
    Setting(
        "CPU_MHZ", "", "clock rate, to an exporter, of a node that does not tell its own", _whole(1, 100_000)
    ),
    Setting(
        "TRACE",
        "",
        "trace that export-wfformat writes",
        _matches(_TRACE, "a trace_id"),
        shown_default="the one with the most invocations",
    ),
    Setting("IMPUTE", "0", "1: export-* fill in what the trace lacks", _one_of("0", "1"), False),
    Setting("IN", "", "merge: cctf directories, archives or patterns; adapt: files or globs", _paths),
    Setting("SOURCE", "", "adapter: nginx, envoy, slurm, ...; without it adapt lists them", _name),
    Setting("TAG", "", "adapt writes invocations.<source>-TAG.jsonl", _name),
    Setting("LOG_FORMAT", "", "log_format of nginx itself, or its name in NGINX_CONF", _text),
    Setting("NGINX_CONF", "", "nginx.conf that has it, with what it includes", _path),
    Setting("ADAPT_OPTIONS", "", "further options of the adapter, blanks in quotes", _text),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Settings:
    """values: every setting, literal. given: the names that the user gave, and where."""

    values: Mapping[str, str]
    given: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values[name]


def read_env_file(path: Path) -> dict[str, str]:
    """NAME=value lines of run_id.env as literal text: nothing is expanded or run.

    Raises UsageError naming file:line for a line that is neither that, nor a comment, nor empty."""
    values: dict[str, str] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return values
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name}: cannot be read: {error}") from error
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise UsageError(f"{path.name}:{number}: wanted NAME=value")
        if name not in BY_NAME:
            raise UsageError(f"{path.name}:{number}: {name!a} is none of {', '.join(BY_NAME)}")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[name] = value
    return values


def resolve(environ: Mapping[str, str], env_file: Path) -> Settings:
    """Each setting from the environment, else run_id.env, else the scenario, else its default; all checked.

    Scenarios stand beside env_file, in scenarios/. Raises UsageError with one line that names the variable,
    its value and what is allowed."""
    sources = [("environment", environ), (ENV_FILE, read_env_file(env_file))]
    scenario = next((source["SCEN"] for _, source in sources if "SCEN" in source), None)
    if scenario:
        _refuse_bad(BY_NAME["SCEN"], scenario, "environment")
        sources.append((f"scenarios/{scenario}.env", _read_scenario(env_file.parent / "scenarios", scenario)))
    values: dict[str, str] = {}
    given: dict[str, str] = {}
    for setting in SETTINGS:
        values[setting.name] = setting.default
        for origin, source in sources:
            if setting.name in source:
                value = source[setting.name]
                _refuse_bad(setting, value, origin)
                if value:
                    values[setting.name], given[setting.name] = value, origin
                break
    return Settings(values, given)


def _read_scenario(folder: Path, name: str) -> dict[str, str]:
    path = folder / f"{name}.env"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.env"))) or "none"
        raise UsageError(f"SCEN={name}: there is no scenarios/{name}.env (there are: {known})")
    return read_env_file(path)


def _refuse_bad(setting: Setting, value: str, origin: str) -> None:
    if not value and setting.empty_ok:
        return
    where = "" if origin == "environment" else f" in {origin}"
    if not value:
        raise UsageError(f"{setting.name} is given but empty{where}: give it a value or leave it out")
    complaint = setting.check(value)
    if complaint:
        shown = value if len(value) <= 80 else f"{value[:80]}..."
        raise UsageError(f"{setting.name}={shown!a}{where} {complaint}")
