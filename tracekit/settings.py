"""The variables that users type: name, default, meaning and what is allowed, each in one place.

One order for each: make's command line, the environment, run_id.env, the default here. (make hands
its command line on as environment.) Nothing here reads the environment itself; cli does.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tracekit.errors import UsageError

ENV_FILE = "run_id.env"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_IFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,14}")  # IFNAMSIZ is 16 with the closing NUL
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")

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


def _path(value: str) -> str | None:
    return "must be a path of at most 4096 characters" if len(value) > 4096 else None


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
    Setting("VM_IP", "", "peer whose route gives the NIC and whose ping gives the delay", _ip),
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
    Setting("DIR", "", "cctf directory to validate or show", _path, shown_default="logs/<RUN_ID>/cctf"),
    Setting("JSON", "0", "1: validate prints its report as JSON", _one_of("0", "1"), False),
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
    """Each setting from the environment, else run_id.env, else its default; all checked.

    Raises UsageError with one line that names the variable, its value and what is allowed."""
    from_file = read_env_file(env_file)
    values: dict[str, str] = {}
    given: dict[str, str] = {}
    for setting in SETTINGS:
        values[setting.name] = setting.default
        for origin, source in (("environment", environ), (ENV_FILE, from_file)):
            if setting.name in source:
                value = source[setting.name]
                _refuse_bad(setting, value, origin)
                if value:
                    values[setting.name], given[setting.name] = value, origin
                break
    return Settings(values, given)


def _refuse_bad(setting: Setting, value: str, origin: str) -> None:
    if not value and setting.empty_ok:
        return
    where = f" in {ENV_FILE}" if origin == ENV_FILE else ""
    if not value:
        raise UsageError(f"{setting.name} is given but empty{where}: give it a value or leave it out")
    complaint = setting.check(value)
    if complaint:
        shown = value if len(value) <= 80 else f"{value[:80]}..."
        raise UsageError(f"{setting.name}={shown!a}{where} {complaint}")
